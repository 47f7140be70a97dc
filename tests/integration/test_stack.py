"""The local stack on its real servers: trained against, killed, started again, taken down."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from isthmus.stack.local import Stack
from tests.project import JOB
from tests.servers.stack import StackServers

pytestmark = pytest.mark.slow


@pytest.fixture
def user(stack: StackServers, here: Path, monkeypatch: pytest.MonkeyPatch) -> StackServers:
    """Somebody in an empty folder who has exported what `isthmus stack env` prints."""
    for name, value in stack.environment.items():
        monkeypatch.setenv(name, value)
    return stack


@pytest.fixture(scope="module", autouse=True)
def _whole_again(stack: StackServers) -> Iterator[None]:
    yield
    stack.start("postgres", "s3", "mlflow")


def pids(servers: StackServers) -> dict[str, int]:
    return {
        status.service.name: status.pid
        for status in Stack(servers.folder).status()
        if status.pid is not None and status.state == "up"
    }


def test_a_job_leaves_its_pair_in_s3_and_its_run_in_postgres(user, isthmus):
    import boto3
    import psycopg2

    from isthmus.stack.place import State
    from isthmus.stack.postgres import database_uri

    done = isthmus(
        *("train", JOB, "--set", "training.epochs=1", "--set", "training.workers=1"),
        *("--set", "name=stacked"),
    )
    assert done.code == 0, done
    listed = boto3.client("s3").list_objects_v2(Bucket="isthmus", Prefix="mlflow/")
    stored = {Path(each["Key"]).name for each in listed["Contents"]}
    assert {"pair.json", "encoder.safetensors", "decoder.safetensors"} <= stored
    uri = database_uri(State(user.folder).place()).replace("+psycopg2", "")
    with psycopg2.connect(uri) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM model_versions WHERE name LIKE 'stacked-%'")
        assert cursor.fetchone() == (2,)
    assert not (Path.cwd() / "mlflow.db").exists()
    assert "stacked" in isthmus("models").out


@pytest.mark.parametrize("service", ["postgres", "s3", "mlflow"])
def test_a_service_that_was_killed_comes_back_alone_and_keeps_its_data(user, isthmus, service):
    before = pids(user)
    killed = psutil.Process(before[service])
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    shown = isthmus("stack", "status", "--folder", user.folder)
    assert shown.code == 1
    (line,) = (line for line in shown.out.splitlines() if line.startswith(service))
    assert "down" in line

    assert isthmus("stack", "up", "--folder", user.folder, "--only", "mlflow").code == 0
    after = pids(user)
    assert {name for name in before if after[name] != before[name]} == {service}
    assert isthmus("models").code == 0
    assert isthmus("stack", "status", "--folder", user.folder).code == 0
