"""What travels with a submitted job: code, data and addresses, and what does not."""

from __future__ import annotations

import logging
import sqlite3
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from isthmus.cluster import local_data, submit
from isthmus.cluster.client import Cluster, find_cluster
from isthmus.cluster.wheel import build_wheel
from isthmus.data.prepared import storing
from isthmus.errors import DataError, UsageError
from isthmus.jobs.preparation import prepare
from isthmus.jobs.specs import check_job, load_job_file
from isthmus.plugins import files as plugin_files
from isthmus.spec import Settings
from tests.own_plugins import write_example

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
    assert "isthmus_pipelines/jobs/digits.yaml" in names
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


def sent(here, data):
    """The data of a job as they are sent from a folder, and the job's folder on the cluster."""
    folder = here / "job"
    folder.mkdir(exist_ok=True)
    return local_data.sent_along(check_job({"name": "a", "data": data}).data, folder), folder


def test_small_local_data_travel_and_large_ones_are_refused_with_where_to_put_them(
    here, monkeypatch
):
    (here / "rows.csv").write_text("a,b\n1,2\n")
    moved, folder = sent(here, "rows.csv")
    assert moved.path == "data/rows.csv"
    assert (folder / "data" / "rows.csv").read_text() == "a,b\n1,2\n"
    monkeypatch.setattr(local_data, "LARGEST_LOCAL_DATA_BYTES", 4)
    with pytest.raises(DataError, match=r"rows\.csv: .* put it on S3"):
        sent(here, "rows.csv")
    for path in ("s3://bucket/rows.csv", "sklearn:digits"):
        away, _ = sent(here, path)
        assert away.path == path


def test_the_files_of_a_jobs_plugins_travel_and_are_found_there(
    here, tmp_path_factory, monkeypatch
):
    spec = load_job_file(write_example(here).name)
    folder = tmp_path_factory.mktemp("cluster")
    moved = local_data.plugins_sent_along(spec.plugins, folder)
    assert moved == ("plugins/swirl.py",)
    content = spec.model_copy(update={"plugins": moved}).model_dump(mode="json")
    (folder / "job.yaml").write_text(yaml.safe_dump(content))
    monkeypatch.chdir(folder)
    monkeypatch.setattr(plugin_files, "_table", plugin_files._Table())  # another process
    assert load_job_file("job.yaml").variant == spec.variant
    (here / "swirl.py").unlink()
    monkeypatch.chdir(here)
    with pytest.raises(UsageError, match=r"swirl\.py: no such file"):
        local_data.plugins_sent_along(spec.plugins, folder)


def test_all_that_a_job_reads_travels(here, tmp_path_factory, monkeypatch):
    """A second view of the same name, a folder with labels by its folders, a glob of tables."""
    rows = np.random.default_rng(0).random((60, 4)).astype(np.float32)
    for number, folder in enumerate(("first", "second")):
        (here / folder).mkdir()
        np.save(here / folder / "rows.npy", rows + 0.1 * number)
    for kind in ("cats", "dogs"):
        (here / "photos" / kind).mkdir(parents=True)
        for number in range(20):
            pixels = np.random.default_rng(number).integers(0, 255, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(here / "photos" / kind / f"{number}.png")
    (here / "photos" / ".hidden").mkdir()
    (here / "photos" / ".hidden" / "note.png").write_text("nothing that is read")
    (here / "tables" / "new").mkdir(parents=True)
    for name in ("a.csv", "new/a.csv"):
        np.savetxt(here / "tables" / name, rows, delimiter=",", header="a,b,c,d", comments="")
    jobs = {
        "pairs": ({"path": "first/rows.npy", "paired_path": "second/rows.npy"}, "noise2noise"),
        "labels": ({"path": "photos", "labels": "folder", "keep_labels": ["cats"]}, "plain"),
        "glob": ({"path": "tables/**/*.csv"}, "plain"),
    }
    elsewhere = tmp_path_factory.mktemp("cluster")
    for name, (data, variant) in jobs.items():
        spec = check_job({"name": name, "data": data, "variant": variant})
        (elsewhere / name).mkdir()
        moved = local_data.sent_along(spec.data, elsewhere / name)
        expected = prepare(spec)
        monkeypatch.chdir(elsewhere / name)
        found = prepare(spec.model_copy(update={"data": moved}))
        monkeypatch.chdir(here)
        assert found.fingerprint == expected.fingerprint
        assert found.split_sizes == expected.split_sizes
    assert not (elsewhere / "labels" / "data" / "photos" / ".hidden").exists()


def test_a_head_of_this_machine_reads_every_file_where_it_lies(here):
    data = check_job(
        {
            "name": "a",
            "variant": "noise2noise",
            "data": {"path": "rows/*.csv", "paired_path": "~/b.csv"},
        }
    ).data
    moved = local_data.absolute(data)
    assert moved.path == str(here / "rows" / "*.csv")
    assert moved.paired_path == str(Path("~/b.csv").expanduser())


def test_a_second_view_that_is_not_here_is_refused(here):
    np.save(here / "rows.npy", np.zeros((4, 4)))
    data = {"path": "rows.npy", "paired_path": "gone.npy"}
    with pytest.raises(DataError, match=r"gone\.npy: no such file"):
        local_data.sent_along(
            check_job({"name": "a", "variant": "noise2noise", "data": data}).data, here / "job"
        )


def write_database(path: Path) -> sqlite3.Connection:
    """A table of rows that are still in the log beside the file while the connection is open."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE readings (a REAL, b REAL)")
    rows = np.random.default_rng(0).random((90, 2)).tolist()
    connection.executemany("INSERT INTO readings VALUES (?, ?)", rows)
    connection.commit()
    return connection


def test_a_sqlite_database_travels_with_rows_that_are_not_in_its_file_yet(
    here, tmp_path_factory, monkeypatch
):
    connection = write_database(here / "p 1.db")
    data = {"path": "sqlite:///p 1.db", "query": "SELECT a, b FROM readings"}
    spec = check_job({"name": "a", "data": data})
    folder = tmp_path_factory.mktemp("cluster")
    moved = local_data.sent_along(spec.data, folder)
    expected = prepare(spec).split_sizes
    connection.close()
    (here / "p 1.db").unlink()
    monkeypatch.chdir(folder)
    assert prepare(spec.model_copy(update={"data": moved})).split_sizes == expected
    monkeypatch.chdir(here)
    with pytest.raises(DataError, match=r"p 1\.db: no such file"):
        local_data.sent_along(spec.data, folder)
    assert local_data.absolute(spec.data).path == f"sqlite:///{here / 'p 1.db'}"


SERVER = "postgresql://{}@127.0.0.1:1/plant"


def write_server_job(here: Path, user: str) -> Path:
    path = SERVER.format(user)
    (here / "job.yaml").write_text(f"name: a\ndata: {{path: '{path}', query: SELECT 1}}\n")
    return here / "job.yaml"


def test_a_password_in_the_url_of_a_database_is_not_lost_without_a_word(here, isthmus):
    write_server_job(here, "ann:s3cret")
    done = isthmus("submit", "job.yaml", "--address", "http://127.0.0.1:1")
    assert "the password in the URL does not travel with a job; give --env PGPASSWORD" in done.err
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert "s3cret" not in done.err


def test_a_database_that_is_not_reached_from_here_is_told_not_checked(here, caplog, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", "s3cret")
    with caplog.at_level(logging.WARNING):
        submit.checked_job(write_server_job(here, "ben"), [])
    told, unchecked = caplog.messages
    assert "PGPASSWORD is set here and does not travel" in told
    assert "refused" in unchecked
    assert "the query is not checked" in unchecked
    caplog.clear()
    submit.checked_job(write_server_job(here, "ben:s3cret"), [], ["PGPASSWORD"])
    assert len(caplog.messages) == 1
    assert "s3cret" not in caplog.text


WRONG_DATA = {
    "a wrong column": ("{path: rows.csv, columns: [a, bb]}", 'no column "bb"'),
    "a wrong category": ("{path: rows.csv, categories: [colour]}", "colour"),
    "a wrong label": ("{path: rows.csv, labels: b, keep_labels: [7.x]}", "no row is labelled 7.x"),
    "no such database": ("{path: 'sqlite:///p.db', query: SELECT 1}", "no such file: p.db"),
    "no such file": ("{path: row.csv}", 'did you mean "rows.csv"'),
}


@pytest.mark.parametrize(("data", "said"), WRONG_DATA.values(), ids=WRONG_DATA.keys())
@pytest.mark.parametrize("to", [("--address", "http://127.0.0.1:1"), ("--local",)], ids=str)
def test_a_fault_in_the_data_is_told_before_anything_is_started_or_sent(
    here, isthmus, data, said, to
):
    (here / "rows.csv").write_text("a,b\n" + "1,2\n3,4\n5,7\n" * 30)
    (here / "job.yaml").write_text(f"name: a\ndata: {data}\n")
    done = isthmus("submit", "job.yaml", *to)
    assert done.code == 3, done
    assert said in done.err
    assert len(done.err.splitlines()) == 1
    assert list(here.glob(".isthmus/*")) == []


def test_of_a_table_too_large_to_travel_the_columns_are_checked(here, monkeypatch):
    (here / "rows").mkdir()
    for name in ("a.csv", "b.csv"):
        (here / "rows" / name).write_text("a,b\n1,2\n")
    (here / "job.yaml").write_text("name: a\ndata: {path: rows, columns: [a, bb]}\n")
    monkeypatch.setattr(submit, "LARGEST_LOCAL_DATA_BYTES", 1)
    monkeypatch.setattr(storing, "_MOST_BYTES_IN_MEMORY", 0)
    with pytest.raises(DataError, match='no column "bb"'):
        submit.checked_job(here / "job.yaml", [])
    assert submit.checked_job(here / "job.yaml", ["data.columns=[a]"]).data.columns == ("a",)


def test_the_cluster_is_the_one_named_else_the_environments(here, monkeypatch):
    settings = Settings.from_environment()
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://env.example:8265")
    assert find_cluster(None, settings).address == "http://env.example:8265"
    assert find_cluster("http://named.example:8265/", settings).address == (
        "http://named.example:8265"
    )
