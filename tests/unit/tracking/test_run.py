from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest
import yaml

from isthmus.errors import UsageError
from isthmus.progress.reporter import Reporters
from isthmus.spec import DataSpec, JobSpec
from isthmus.tracking import RunLog

ROWS = {"train": 80, "validation": 10, "test": 10}


def _artifact(client, run_id: str, path: str) -> str:
    return Path(client.download_artifacts(run_id, path)).read_text(encoding="utf-8")


def _curve(client, run_id: str, key: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in client.get_metric_history(run_id, key)]


def test_a_run_says_what_was_trained_with_nothing_left_open(settings, client, spec, plan):
    data = DataSpec.model_validate(
        {**spec.data.model_dump(), "kind": "images", "scaling": "minmax", "key": "x"}
    )
    log = RunLog.start(spec, settings, tags={"team": "vision"})
    log.log_storage("s3://bucket/runs")
    log.log_data("ab" * 32, ROWS, plan, data)
    log.finish()
    run = client.get_run(log.run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == log.name
    assert log.name.startswith(f"{spec.name}-")
    assert client.get_experiment(run.info.experiment_id).name == spec.name
    expected_params = {
        "name": spec.name,
        "variant.name": "vae",
        "variant.beta": "2.0",
        "net.name": "conv",
        "latent_dim": "4",
        "row_shape": "[1, 8, 8]",
        "data.kind": "images",
        "data.scaling": "minmax",
        "data.key": "x",
        "data.fingerprint": "ab" * 32,
        "rows.train": "80",
        "training.epochs": "100",
        "training.early_stopping.patience": "10",
    }
    assert expected_params.items() <= run.data.params.items()
    expected_tags = {
        "isthmus.job": spec.name,
        "isthmus.variant": "vae",
        "isthmus.net": "conv",
        "isthmus.attempt": "1",
        "isthmus.status": "finished",
        "isthmus.storage_path": "s3://bucket/runs",
        "team": "vision",
    }
    assert expected_tags.items() <= run.data.tags.items()
    assert "4 in a latent" in run.data.tags["mlflow.note.content"]
    assert JobSpec.model_validate(yaml.safe_load(_artifact(client, log.run_id, "job.yaml"))) == spec
    assert run.inputs.dataset_inputs[0].dataset.digest == "ab" * 16


def test_a_run_says_what_it_was_made_with(settings, client, spec):
    log = RunLog.start(spec, settings)
    log.finish()
    made_with = json.loads(_artifact(client, log.run_id, "environment.json"))
    assert made_with["libraries"]["mlflow"]
    assert made_with["cpu_cores"] >= 1
    assert "torch" in client.get_run(log.run_id).data.tags["isthmus.libraries"]


def test_each_epoch_is_a_point_on_each_curve(settings, client, spec, epoch):
    log = RunLog.start(spec, settings)
    for number in (1, 2, 3):
        log.on_epoch(epoch(number))
    log.finish()
    assert set(client.get_run(log.run_id).data.metrics) == {
        *("train/loss", "train/kl", "validation/loss", "validation/kl"),
        *("learning_rate", "rows_per_s"),
    }
    assert _curve(client, log.run_id, "train/loss") == [(1, 10.0), (2, 5.0), (3, 10 / 3)]


def test_an_epoch_that_is_heard_of_twice_is_written_once(settings, client, spec, epoch):
    log = RunLog.start(spec, settings)
    for number in (1, 2, 2, 1, 3):
        log.on_epoch(epoch(number))
    log.finish()
    assert [step for step, _ in _curve(client, log.run_id, "validation/loss")] == [1, 2, 3]


def test_a_loss_that_is_not_a_number_is_written_as_such(settings, client, spec, epoch):
    log = RunLog.start(spec, settings)
    log.on_epoch(epoch(1, float("nan")))
    log.on_epoch(epoch(2, float("inf")))
    log.finish()
    values = [value for _, value in _curve(client, log.run_id, "train/loss")]
    assert np.isnan(values[0])
    assert values[1] > 1e300


def test_a_resumed_run_goes_on_without_writing_again(settings, client, spec, plan, epoch):
    first = RunLog.start(spec, settings)
    first.log_data("ab" * 32, ROWS, plan, spec.data)
    for number in (1, 2, 3):
        first.on_epoch(epoch(number))
    first.interrupt()
    run = client.get_run(first.run_id)
    assert run.info.status == "KILLED"
    assert run.data.tags["isthmus.resumable"] == "true"
    assert run.data.tags["isthmus.status"] == "interrupted"

    second = RunLog.resume(first.run_id, settings)
    assert second.run_id == first.run_id
    assert second.attempt == 2
    assert client.get_run(first.run_id).info.status == "RUNNING"
    second.log_data("ab" * 32, ROWS, plan, spec.data)
    for number in (2, 3, 4):
        second.on_epoch(epoch(number))
    second.finish()
    run = client.get_run(first.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["isthmus.attempt"] == "2"
    assert run.data.tags["isthmus.resumable"] == "false"
    assert [step for step, _ in _curve(client, first.run_id, "train/loss")] == [1, 2, 3, 4]


def test_a_failed_run_carries_its_error_until_it_is_resumed(settings, client, spec):
    log = RunLog.start(spec, settings)
    with pytest.raises(ZeroDivisionError) as caught:
        _ = 1 / 0
    log.fail(caught.value)
    run = client.get_run(log.run_id)
    assert run.info.status == "FAILED"
    assert run.data.tags["isthmus.status"] == "failed"
    assert run.data.tags["isthmus.error"] == "division by zero"
    assert "Traceback" in _artifact(client, log.run_id, "error.txt")
    RunLog.resume(log.run_id, settings).finish()
    assert "isthmus.error" not in client.get_run(log.run_id).data.tags


def test_a_run_that_is_over_stays_as_it_ended(settings, client, spec):
    log = RunLog.start(spec, settings)
    log.finish()
    log.fail(ValueError("too late"))
    log.close()
    assert client.get_run(log.run_id).info.status == "FINISHED"


def test_a_run_that_is_being_written_is_not_resumed_beside(settings, client, spec):
    log = RunLog.start(spec, settings)
    log._writer.close()
    with_lock = RunLog.resume(log.run_id, settings)
    with pytest.raises(UsageError, match="is being written by another process"):
        RunLog.resume(log.run_id, settings)
    with_lock.finish()


def test_the_summary_leaves_the_curves_alone(settings, client, spec, epoch):
    log = RunLog.start(spec, settings)
    log.on_epoch(epoch(1))
    log.log_summary(
        {"train/loss": 3.0, "test/reconstruction_mse": 0.25, "test/pca_mse": 0.5, "seconds": 9.0}
    )
    log.finish()
    run = client.get_run(log.run_id)
    assert _curve(client, log.run_id, "train/loss") == [(1, 10.0)]
    # A figure has one name, and one that is no measurement of test rows is no chart.
    assert set(run.data.metrics) == {
        *("train/loss", "train/kl", "validation/loss", "validation/kl"),
        *("learning_rate", "rows_per_s"),
        *("test/reconstruction_mse", "test/pca_mse"),
    }
    assert run.data.tags["isthmus.seconds"] == "9"
    assert "**0.25**" in run.data.tags["mlflow.note.content"]


def test_the_report_is_four_figures(settings, client, spec, report_of):
    log = RunLog.start(spec, settings)
    log.log_report(report_of("images", (1, 8, 8)))
    log.finish()
    figures = {each.path for each in client.list_artifacts(log.run_id, "figures")}
    names = ("loss", "reconstructions", "latent_space", "errors")
    assert figures == {f"figures/{name}.png" for name in names}


def test_a_figure_that_cannot_be_drawn_does_not_fail_the_run(
    settings, client, spec, report_of, caplog
):
    report = report_of("images", (1, 8, 8))
    object.__setattr__(report, "latents", None)
    log = RunLog.start(spec, settings)
    log.log_report(report)
    log.finish()
    assert client.get_run(log.run_id).info.status == "FINISHED"
    assert "latent_space.png of run" in caplog.text
    assert "could not be logged: TypeError: " in caplog.text  # the cause
    figures = {each.path for each in client.list_artifacts(log.run_id, "figures")}
    assert {"figures/loss.png", "figures/reconstructions.png", "figures/errors.png"} == figures


def test_runs_in_threads_of_one_process_do_not_meet(settings, client, spec, epoch):
    import mlflow

    before = mlflow.get_tracking_uri()
    logs: list[RunLog] = []

    def train(loss: float) -> None:
        log = RunLog.start(spec, settings)
        logs.append(log)
        for number in range(1, 6):
            log.on_epoch(epoch(number, loss))
        log.finish()

    threads = [threading.Thread(target=train, args=(loss,)) for loss in (1.0, 2.0, 3.0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    losses = [{value for _, value in _curve(client, log.run_id, "train/loss")} for log in logs]
    assert sorted(losses, key=min) == [{1.0}, {2.0}, {3.0}]
    assert mlflow.active_run() is None
    assert mlflow.get_tracking_uri() == before


def test_a_run_log_is_a_reporter(settings, client, spec, epoch):
    log = RunLog.start(spec, settings)
    reporters = Reporters(log)
    reporters.on_start(epochs=1, rows=80, first_epoch=1)
    reporters.on_rows(epoch=1, done=40)
    reporters.on_epoch(epoch(1))
    log.finish()
    assert _curve(client, log.run_id, "train/loss") == [(1, 10.0)]


def test_long_values_are_shortened(settings, client, spec, plan):
    data = spec.data.model_copy(update={"columns": tuple(f"column {i}" for i in range(2000))})
    log = RunLog.start(spec, settings)
    log.log_data("ab" * 32, ROWS, plan, data)
    log.finish()
    value = client.get_run(log.run_id).data.params["data.columns"]
    assert value.startswith('["column 0", ')
    assert value.endswith("…")
    assert len(value) <= 500


def test_nothing_is_left_in_the_spool_of_a_run_that_was_written(settings, client, spec):
    log = RunLog.start(spec, settings)
    log.finish()
    assert not list((settings.home / "spool").glob(f"*/{log.run_id}"))
