"""The process of a run is killed: what it knew is written later, and its run gets an end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from isthmus.spec import JobSpec
from isthmus.stack.doctor import examine
from isthmus.tracking import RunLog, end_lost_runs, find_run
from isthmus.tracking import spool as spool_module
from isthmus.tracking.spool import spool_folder

_KILLED = """
import os, signal, sys
from pathlib import Path
from isthmus.spec import JobSpec, Settings
from isthmus.tracking import RunLog
from isthmus.tracking import run as run_module
from isthmus.tracking.spool import Spool
from isthmus.progress.reporter import EpochReport

settings = Settings.from_environment({}, Path(sys.argv[1]))
spec = JobSpec.model_validate_json(sys.argv[2])

def die(*arguments, **options):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def kill_in(settings, spec: JobSpec, program: str) -> None:
    """Runs a program that starts a run of the job and kills itself."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            _KILLED + textwrap.dedent(program),
            str(settings.home.parent),
            spec.model_dump_json(),
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def the_run(client, spec: JobSpec):
    """The newest run of the job."""
    experiment = client.get_experiment_by_name(spec.name)
    return client.search_runs([experiment.experiment_id])[0]


def _steps(client, run_id: str, key: str = "train/loss") -> list[int]:
    return [point.step for point in client.get_metric_history(run_id, key)]


def test_epochs_that_only_the_checkpoint_knows_of_are_written_once_on_resume(
    settings, client, spec, epoch
):
    kill_in(
        settings,
        spec,
        """
        import time
        log = RunLog.start(spec, settings)
        for number in range(1, 7):
            log.on_epoch(EpochReport(number, {"loss": 10 / number}, {"loss": 1.0}, 1e-3, 5.0))
            if number == 3:
                while not log._writer._is_empty() or log._writer._in_flight:
                    time.sleep(0.05)
        die()
        """,
    )
    run = the_run(client, spec)
    assert _steps(client, run.info.run_id) == [1, 2, 3], "the rest was lost with the process"
    log = RunLog.resume(run.info.run_id, settings)
    history = [epoch(number) for number in range(1, 7)]
    log.on_resume(history)
    log.on_resume(history)  # a worker was replaced too
    log.on_start(epochs=8, rows=80, first_epoch=7)
    for number in (7, 8):
        log.on_epoch(epoch(number))
    log.finish()
    for key in ("train/loss", "validation/loss", "learning_rate", "rows_per_s"):
        assert _steps(client, run.info.run_id, key) == list(range(1, 9))


def test_epochs_that_wait_on_disk_are_not_written_twice(settings, client, spec, epoch):
    # MLflow is away while the first attempt ends, and while the second begins.
    with pytest.MonkeyPatch.context() as store:
        store.setattr("isthmus.tracking.writer.check_reachable", _away)
        store.setattr("isthmus.tracking.replay.check_reachable", _away)
        log = RunLog.start(spec, settings)
        for number in (1, 2):
            log.on_epoch(epoch(number))
        log.close()
        second = RunLog.resume(log.run_id, settings)
        second.on_resume([epoch(number) for number in (1, 2, 3)])
    second.finish()
    assert _steps(client, log.run_id) == [1, 2, 3]


def _away(uri: str) -> None:
    raise ConnectionError(f"{uri} is away")


@pytest.mark.parametrize(
    "moment",
    [
        # MLflow has the run, and its answer has not come.
        """
        Spool.move = die
        RunLog.start(spec, settings)
        """,
        # The run's folder is there, and nothing was written yet.
        """
        run_module.RunWriter = die
        RunLog.start(spec, settings)
        """,
    ],
    ids=["before MLflow's answer", "before the first writing"],
)
def test_a_run_whose_process_was_killed_just_after_it_was_made_can_be_resumed(
    settings, client, spec, epoch, moment
):
    kill_in(settings, spec, moment)
    run = the_run(client, spec)
    assert run.info.status == "RUNNING"
    found = find_run(run.info.run_id, settings)
    assert JobSpec.model_validate(found.job) == spec
    assert found.status == "KILLED"
    log = RunLog.resume(run.info.run_id, settings)
    assert client.get_run(run.info.run_id).info.status == "RUNNING"
    log.on_epoch(epoch(1))
    log.finish()
    again = find_run(run.info.run_id, settings)
    assert (again.status, again.attempt) == ("FINISHED", 2)
    assert JobSpec.model_validate(again.job) == spec
    assert not spool_folder(settings, run.info.run_id).exists()


def test_a_run_that_nobody_works_on_is_ended_when_runs_are_looked_at(
    settings, client, spec, monkeypatch
):
    monkeypatch.setattr(spool_module, "_NEW_S", 0.0)
    living = RunLog.start(spec, settings)
    began_ms = int(time.time() * 1000)
    kill_in(settings, spec, "log = RunLog.start(spec, settings); log._writer._flush(); die()")
    killed_ms = int(time.time() * 1000)
    run_id = the_run(client, spec).info.run_id
    assert end_lost_runs(settings) == 1
    run = client.get_run(run_id)
    assert run.info.status == "KILLED"
    assert began_ms <= run.info.end_time <= killed_ms, "it ended when its process was last heard of"
    assert run.data.tags["isthmus.status"] == "interrupted"
    assert run.data.tags["isthmus.resumable"] == "true"
    assert client.get_run(living.run_id).info.status == "RUNNING", "its process lives"
    living.finish()
    assert end_lost_runs(settings) == 0


def test_the_doctor_ends_runs_that_nobody_works_on_and_says_so(settings, client, spec, monkeypatch):
    monkeypatch.setattr(spool_module, "_NEW_S", 0.0)
    kill_in(settings, spec, "log = RunLog.start(spec, settings); die()")
    said = [each.said for each in examine(settings) if each.subject == "MLflow"]
    assert said[0].endswith("; 1 run whose process was killed ended now")
    assert the_run(client, spec).info.status == "KILLED"


def _waiting(settings) -> list[Path]:
    return list(spool_folder(settings, "").iterdir())


def test_a_lost_trial_cannot_be_resumed(settings, client, spec, monkeypatch):
    monkeypatch.setattr(spool_module, "_NEW_S", 0.0)
    kill_in(
        settings,
        spec,
        "log = RunLog.start(spec, settings, tags={'isthmus.kind': 'trial'}); die()",
    )
    end_lost_runs(settings)
    run = the_run(client, spec)
    assert run.info.status == "KILLED"
    assert run.data.tags["isthmus.resumable"] == "false"


def test_a_folder_whose_run_mlflow_never_made_is_removed(settings, client, spec, monkeypatch):
    monkeypatch.setattr(spool_module, "_NEW_S", 0.0)
    kill_in(
        settings,
        spec,
        """
        from mlflow.tracking import MlflowClient
        MlflowClient.create_run = die
        RunLog.start(spec, settings)
        """,
    )
    (folder,) = (each for each in _waiting(settings) if each.name.startswith("new-"))
    assert end_lost_runs(settings) == 0
    assert not folder.exists()


def test_a_store_that_cannot_be_reached_keeps_nobody_from_looking(folder_settings, monkeypatch):
    assert end_lost_runs(folder_settings) == 0
    assert not folder_settings.home.exists(), "nothing was made by looking"
    gone = folder_settings.model_copy(update={"tracking_uri": "http://127.0.0.1:9"})
    folder = spool_folder(gone, "0" * 32)
    folder.mkdir(parents=True)
    os.utime(folder, (1, 1))
    assert end_lost_runs(gone) == 0
    assert folder.exists()
