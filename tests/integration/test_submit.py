"""Jobs sent to a Ray head of this machine's own: the real Jobs API, the code as a wheel."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from isthmus.cluster.client import Cluster, find_cluster
from isthmus.cluster.head import find_head, start_head, stop_head
from isthmus.spec import Settings
from isthmus.tracking import open_store
from tests.own_plugins import write_example
from tests.project import JOB

pytestmark = [pytest.mark.distributed, pytest.mark.slow]


# Of Ray's agent and of Ray's client server: any other Ray on the machine holds them.
_RAY_DEFAULT_PORTS = (52365, 10001)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """The settings of a folder whose own head runs, beside whatever else is Ray's here."""
    settings = Settings.from_environment({}, tmp_path_factory.mktemp("submitting"))
    with ExitStack() as held:
        for port in _RAY_DEFAULT_PORTS:
            listener = held.enter_context(socket.socket())
            with suppress(OSError):  # a Ray of somebody else's holds it already
                listener.bind(("127.0.0.1", port))
                listener.listen()
        start_head(settings)
        try:
            yield settings
        finally:
            stop_head(settings)
            assert find_head(settings) is None


@pytest.fixture
def cluster(home: Settings, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.chdir(home.home.parent)
    return find_cluster(None, home)


def test_a_submitted_job_registers_a_pair_made_by_the_code_that_was_sent(
    home, cluster, isthmus, tmp_path_factory
):
    folder = tmp_path_factory.mktemp("own")  # which the job does not run in
    write_example(folder)
    own = ("--set", f"plugins={folder / 'swirl.py'}", "--set", "net=two_layers")
    small = ("--set", "training.epochs=2", "--set", "training.workers=1")
    sent = isthmus("submit", JOB, *small, *own, "-f")
    assert sent.code == 0, sent
    assert "digits/1 is registered" in sent.out
    listed = isthmus("jobs")
    assert "succeeded" in listed.out
    (version,) = open_store(home).search_model_versions("name='digits-encoder'")
    run = open_store(home).get_run(version.run_id)
    assert "+code." in run.data.tags["isthmus.version"]
    assert version.tags["isthmus.net"].startswith("two_layers@")


def checkpoints(home: Settings) -> set[Path]:
    """The checkpoints of the runs of jobs on the head, which is on this machine."""
    return set(Path(home.storage_path).glob("*/checkpoint_*"))


@pytest.mark.timeout(600)
def test_a_cancelled_job_ends_after_its_epoch_and_its_run_can_be_resumed(home, cluster, isthmus):
    long = ["training.epochs=100000", "training.early_stopping=null", "training.workers=1"]
    long += ["training.checkpoint_interval_s=0"]
    before = checkpoints(home)
    sent = isthmus("submit", JOB, *(word for each in long for word in ("--set", each)))
    assert sent.code == 0, sent
    job_id = sent.out.split()[0]
    deadline = time.monotonic() + 400  # with what runs beside it on two cores
    # Sooner than the first line about an epoch, which comes after half a minute.
    while checkpoints(home) <= before:
        assert time.monotonic() < deadline, isthmus("logs", job_id).out
        time.sleep(0.2)
    cancelled = isthmus("cancel", job_id)
    assert (cancelled.code, cancelled.out) == (0, f"{job_id}: stopped\n")
    log = isthmus("logs", job_id).out
    assert "isthmus train --resume" in log
    assert "Stopped after epoch" in log
    assert "Traceback" not in log
    again = isthmus("cancel", job_id)
    assert again.code == 2
    assert "has ended already" in again.err


def test_what_is_wrong_is_told_before_anything_is_sent(cluster, isthmus, tmp_path):
    job = tmp_path / "job.yaml"
    job.write_text("name: a\ndata: x.csv\nvariant: vea\n")
    wrong = isthmus("submit", job)
    assert wrong.code == 2
    assert 'did you mean "vae"?' in wrong.err
    unknown = isthmus("logs", "nothing-123")
    assert unknown.code == 2
    assert 'no job "nothing-123"' in unknown.err


def test_a_head_is_started_once_and_is_protected_by_its_token(home, cluster):
    assert start_head(home) == find_head(home)
    assert (home.home / "ray-head.json").stat().st_mode & 0o077 == 0
    from isthmus.cluster.running import list_jobs
    from isthmus.errors import ClusterError

    with pytest.raises(ClusterError, match="wants a token"):
        list_jobs(Cluster(cluster.address, token="wrong"))
    assert Path(find_head(home).folder).exists()
