from __future__ import annotations

import logging
import socket
import time
from pathlib import Path

import pytest

from isthmus.errors import UsageError
from isthmus.tracking import RunLog, find_run
from isthmus.tracking import writer as writer_module
from isthmus.tracking.backlog import Backlog, DatasetUse, MetricPoint
from isthmus.tracking.replay import replay
from isthmus.tracking.spool import Spool, spool_folder
from isthmus.tracking.writer import RunWriter


@pytest.fixture
def dead_uri() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def _full() -> Backlog:
    return Backlog(
        params={"a": "1"},
        tags={"b": "2"},
        metrics=[MetricPoint("loss", float("nan"), 1_700_000_000_000, 1)],
        datasets=[DatasetUse("digits", "abc", "local", "{}", "{}")],
        ending=("FINISHED", 1_700_000_000_001),
        artifacts=["figures/loss.png"],
    )


def test_a_backlog_comes_back_from_disk_as_it_was(tmp_path):
    spool = Spool(tmp_path / "run")
    spool.keep(_full())
    assert repr(spool.read()) == repr(_full())


def test_of_two_backlogs_the_later_word_counts():
    earlier = Backlog(tags={"status": "running", "x": "1"}, artifacts=["a"], ending=("FAILED", 1))
    later = Backlog(tags={"status": "finished"}, artifacts=["a", "b"], ending=("FINISHED", 2))
    both = earlier.before(later)
    assert both.tags == {"status": "finished", "x": "1"}
    assert both.artifacts == ["a", "b"]
    assert both.ending == ("FINISHED", 2)
    assert not Backlog()


def test_what_cannot_be_written_waits_on_disk_and_is_said_once(
    tmp_path, dead_uri, monkeypatch, caplog
):
    monkeypatch.setattr(writer_module, "_INTERVAL_S", 0.01)
    spool = Spool(tmp_path / "run-1")
    writer = RunWriter(None, "run-1", dead_uri, spool)
    with caplog.at_level(logging.WARNING, logger="isthmus"):
        writer.add(metrics=[MetricPoint("loss", 1.0, 1, 1)])
        while not (tmp_path / "run-1" / "pending.json").exists():
            time.sleep(0.01)
        writer.add(metrics=[MetricPoint("loss", 0.5, 2, 2)])
        time.sleep(0.2)
        assert len(caplog.records) == 1
        assert "Training goes on" in caplog.text
        began_s = time.monotonic()
        assert not writer.close()
        assert time.monotonic() - began_s < 5
    assert len(caplog.records) == 2
    assert str(tmp_path / "run-1") in caplog.records[1].getMessage()
    kept = Spool(tmp_path / "run-1").read()
    assert [point.step for point in kept.metrics] == [1, 2]


def test_what_waited_is_written_when_a_run_starts(settings, client, spec, new_experiment):
    run = client.create_run(new_experiment(f"{spec.name}-other"))
    run_id = run.info.run_id
    spool = Spool(spool_folder(settings, run_id))
    spool.stage("figures/loss.png").write_bytes(b"png")
    spool.keep(_full())
    spool.release(remove=False)
    RunLog.start(spec, settings).finish()
    written = client.get_run(run_id)
    assert written.info.status == "FINISHED"
    assert written.data.params == {"a": "1"}
    assert [each.path for each in client.list_artifacts(run_id, "figures")] == ["figures/loss.png"]
    assert not spool_folder(settings, run_id).exists()


def test_what_waited_is_written_before_its_run_is_looked_at(settings, client, spec, new_experiment):
    log = RunLog.start(spec, settings)
    log.finish()
    spool = Spool(spool_folder(settings, log.run_id))
    spool.keep(Backlog(tags={"isthmus.storage_path": "/later"}, ending=("KILLED", 5)))
    spool.release(remove=False)
    found = find_run(log.run_id, settings)
    assert found.status == "KILLED"
    assert found.storage_path == "/later"


def test_points_that_are_sent_twice_are_stored_once(
    settings, client, spec, new_experiment, tmp_path
):
    run = client.create_run(new_experiment(spec.name))
    points = [MetricPoint("loss", 1.0 / step, 1000 + step, step) for step in range(1, 2501)]
    for _ in range(2):
        Backlog(metrics=list(points)).send(client, run.info.run_id, tmp_path)
    history = client.get_metric_history(run.info.run_id, "loss")
    assert len(history) == 2500


def test_what_mlflow_refuses_for_good_is_dropped_and_the_rest_written(
    settings, client, spec, new_experiment, tmp_path, caplog
):
    run_id = client.create_run(new_experiment(spec.name)).info.run_id
    client.log_param(run_id, "a", "another value")
    backlog = Backlog(params={"a": "1"}, tags={"b": "2"})
    backlog.send(client, run_id, tmp_path)
    assert not backlog
    assert "refused parameters a" in caplog.text
    assert client.get_run(run_id).data.tags["b"] == "2"


def test_the_records_of_a_deleted_run_do_not_wait_for_ever(settings, client):
    spool = Spool(spool_folder(settings, "0" * 32))
    spool.keep(Backlog(tags={"a": "1"}))
    spool.release(remove=False)
    replay(client, settings)
    assert not spool_folder(settings, "0" * 32).exists()


def test_a_spool_that_a_living_process_holds_is_left_alone(settings, client):
    spool = Spool(spool_folder(settings, "1" * 32))
    spool.keep(Backlog(tags={"a": "1"}))
    assert replay(client, settings) == 0
    spool.release(remove=True)


def test_a_home_that_cannot_be_written_to_is_one_clear_line_and_no_run(
    settings, client, spec, tmp_path: Path
):
    home = tmp_path / "home"
    home.write_text("a file where the folder should be")
    with pytest.raises(UsageError, match="set ISTHMUS_HOME"):
        RunLog.start(spec, settings.model_copy(update={"home": home}))
    assert client.get_experiment_by_name(spec.name) is None


def test_what_neither_mlflow_nor_the_disk_takes_is_not_said_to_wait_there(
    tmp_path, dead_uri, monkeypatch, caplog
):
    monkeypatch.setattr(writer_module, "_INTERVAL_S", 0.01)
    spool = Spool(tmp_path / "run-1")
    # The file of the next records is on a disk that is always full.
    (tmp_path / "run-1" / "pending.partial").symlink_to("/dev/full")
    monkeypatch.setattr(Path, "unlink", lambda path, missing_ok=False: None)
    writer = RunWriter(None, "run-1", dead_uri, spool)
    with caplog.at_level(logging.WARNING, logger="isthmus"):
        writer.add(metrics=[MetricPoint("loss", 1.0, 1, 1)])
        time.sleep(0.3)
        assert not writer.close()
    first, last = caplog.messages
    assert "wait in memory, for the disk does not take them (No space left on device)" in first
    assert "the last records of run run-1 are lost, but for what its checkpoint knows" in last
    assert not any(record.exc_info for record in caplog.records)
