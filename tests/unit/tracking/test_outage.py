"""A real server that goes away in the middle of a run and comes back."""

from __future__ import annotations

import pytest

from isthmus.errors import RegistryError
from isthmus.spec import Settings
from isthmus.tracking import RunLog, find_run, open_store
from isthmus.tracking import writer as writer_module
from tests.servers.mlflow_server import stoppable_mlflow_server  # noqa: F401


@pytest.mark.slow
def test_a_server_that_goes_away_costs_neither_the_training_nor_a_record(
    stoppable_mlflow_server,  # noqa: F811
    spec,
    plan,
    epoch,
    report_of,
    tmp_path,
    monkeypatch,
):
    monkeypatch.setattr(writer_module, "_INTERVAL_S", 0.05)
    server = stoppable_mlflow_server
    settings = Settings.from_environment({"MLFLOW_TRACKING_URI": server.uri}, tmp_path)
    rows = {"train": 80, "validation": 10, "test": 10}

    through = RunLog.start(spec, settings)
    ended = RunLog.start(spec, settings)
    page = f"{server.uri}/#/experiments/{through.experiment_id}/runs/{through.run_id}"
    assert through.url == f"{page}?workflowType=machine_learning"
    for log in (through, ended):
        log.log_data("ab" * 32, rows, plan, spec.data)
        log.on_epoch(epoch(1))
    server.stop()
    for log in (through, ended):
        log.on_epoch(epoch(2))
        log.log_report(report_of("images", (1, 8, 8)))
    ended.finish()  # while the server is away: kept on disk
    assert list((settings.home / "spool").glob(f"*/{ended.run_id}/pending.json"))
    with pytest.raises(RegistryError, match="does not answer"):
        RunLog.start(spec, settings)

    server.start()
    server.wait()
    through.on_epoch(epoch(3))
    through.finish()
    assert find_run(ended.run_id, settings).status == "FINISHED"

    client = open_store(settings)
    for log, steps in ((through, [1, 2, 3]), (ended, [1, 2])):
        assert client.get_run(log.run_id).info.status == "FINISHED"
        history = client.get_metric_history(log.run_id, "train/loss")
        assert [point.step for point in history] == steps
        assert len(client.list_artifacts(log.run_id, "figures")) == 4
    assert not list((settings.home / "spool").glob("*/*"))
