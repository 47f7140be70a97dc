"""What travels with a submitted job: code, data and addresses, and what does not."""

from __future__ import annotations

import subprocess
import sys
import zipfile

import pytest

from isthmus.cluster import submit
from isthmus.cluster.client import Cluster, find_cluster
from isthmus.cluster.wheel import build_wheel
from isthmus.errors import DataError, UsageError
from isthmus.jobs.specs import check_job
from isthmus.spec import Settings

REMOTE = Cluster("http://ray.example:8265")
LOCAL = Cluster("http://127.0.0.1:8265", "token", is_local=True)


def test_equal_code_makes_an_equal_wheel_that_wants_nothing_installed(tmp_path):
    first, second = (tmp_path / name for name in ("first", "second"))
    first.mkdir()
    second.mkdir()
    wheels = [build_wheel(first), build_wheel(second)]
    assert wheels[0].name == wheels[1].name
    assert wheels[0].read_bytes() == wheels[1].read_bytes()
    with zipfile.ZipFile(wheels[0]) as archive:
        names = archive.namelist()
        metadata = archive.read(next(n for n in names if n.endswith("METADATA"))).decode()
    assert "isthmus/py.typed" in names
    assert "pipelines/jobs/digits.yaml" in names
    assert "Requires-Dist" not in metadata


@pytest.mark.slow
def test_pip_installs_the_wheel_and_python_imports_what_was_sent(tmp_path):
    wheel, target = build_wheel(tmp_path), tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--target"]
    subprocess.run([*pip, str(target), str(wheel)], check=True)
    code = (
        f"import sys; sys.path.insert(0, {str(target)!r}); import isthmus; print(isthmus.__file__)"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.startswith(str(target))


def test_addresses_travel_but_neither_secrets_nor_what_only_this_machine_can_see(here, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.example:5000")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:8333")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    settings = Settings.from_environment()
    sent = submit._variables(REMOTE, settings, ["AWS_SECRET_ACCESS_KEY", "A=b=c"])
    assert sent["MLFLOW_TRACKING_URI"] == "http://mlflow.example:5000"
    assert "AWS_ENDPOINT_URL" not in sent
    assert (sent["AWS_SECRET_ACCESS_KEY"], sent["A"]) == ("secret", "b=c")
    assert "AWS_SECRET_ACCESS_KEY" not in submit._variables(REMOTE, settings, [])
    with pytest.raises(UsageError, match="--env NOTHING"):
        submit._variables(REMOTE, settings, ["NOTHING"])


def test_a_job_on_a_cluster_without_servers_is_refused_not_lost(here, monkeypatch):
    sent = submit._variables(REMOTE, Settings.from_environment(), [])
    with pytest.raises(UsageError, match="MLFLOW_TRACKING_URI is not set on the cluster"):
        Settings.from_environment(sent)
    whole = {**sent, "MLFLOW_TRACKING_URI": "http://mlflow:5000", "ISTHMUS_STORAGE": "s3://b/runs"}
    assert Settings.from_environment(whole).tracking_uri == "http://mlflow:5000"


def test_a_head_of_this_machine_gets_this_folders_stores(here):
    settings = Settings.from_environment()
    sent = submit._variables(LOCAL, settings, [])
    assert Settings.from_environment(sent, here / "elsewhere") == settings


def test_small_local_data_travel_and_large_ones_are_refused_with_where_to_put_them(
    here, monkeypatch
):
    (here / "rows.csv").write_text("a,b\n1,2\n")
    (here / "job").mkdir()
    spec = check_job({"name": "a", "data": "rows.csv"})
    moved = submit._with_its_data(spec, here / "job")
    assert moved.data.path == "data/rows.csv"
    assert (here / "job" / "data" / "rows.csv").read_text() == "a,b\n1,2\n"
    monkeypatch.setattr(submit, "_LARGEST_LOCAL_DATA_BYTES", 4)
    with pytest.raises(DataError, match=r"put it on S3"):
        submit._with_its_data(spec, here / "job")
    for path in ("s3://bucket/rows.csv", "sklearn:digits"):
        away = check_job({"name": "a", "data": path})
        assert submit._with_its_data(away, here / "job") == away


def test_the_cluster_is_the_one_named_else_the_environments(here, monkeypatch):
    settings = Settings.from_environment()
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://env.example:8265")
    assert find_cluster(None, settings).address == "http://env.example:8265"
    assert find_cluster("http://named.example:8265/", settings).address == (
        "http://named.example:8265"
    )
