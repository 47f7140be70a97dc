"""`isthmus tune` on real digits: trials through Ray Tune, runs in MLflow, the best registered."""

from __future__ import annotations

import signal

import pytest

import isthmus as package
from isthmus.spec import Settings
from isthmus.tracking import open_store

pytestmark = [pytest.mark.distributed, pytest.mark.slow]

JOB = """
name: digits
data: sklearn:digits
variant: {name: denoising, level: 0.3}
net: {name: dense, hidden: [32]}
latent_dim: 16
training: {epochs: 6, global_batch_size: 64, threads_per_worker: 1}
"""


def runs_of(settings: Settings, name: str):
    """The search's run, and those of its trials in order."""
    client = open_store(settings)
    experiment = client.get_experiment_by_name(name)
    runs = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time"])
    (parent,) = [run for run in runs if run.data.tags.get("isthmus.kind") == "search"]
    children = [
        run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id
    ]
    return client, parent, sorted(children, key=lambda run: int(run.data.tags["isthmus.trial"]))


def curve(client, run_id: str, name: str) -> list[float]:
    return [point.value for point in client.get_metric_history(run_id, name)]


def test_the_best_of_the_trials_is_registered_and_trains_again_to_the_same_losses(
    here, isthmus, ray_session
):
    (here / "job.yaml").write_text(JOB)
    done = isthmus(
        *("tune", "job.yaml", "--trials", "4", "--set", "tuning.grace_epochs=2"),
        *("--search", "training.learning_rate=log_uniform:1e-4:1e-2"),
        *("--search", "latent_dim=choice:8,16"),
    )
    assert done.code == 0, done.err
    settings = Settings.from_environment()
    client, parent, children = runs_of(settings, "digits")
    assert len(children) == 4
    values = {}
    for child in children:
        assert child.info.status == "FINISHED"
        end = child.data.tags["isthmus.trial_end"]
        losses = curve(client, child.info.run_id, "validation/mse")
        assert len(losses) == 6 if end == "done" else len(losses) in (2, 6)
        values[child.info.run_name] = child.data.metrics["best/validation_mse"]
        assert values[child.info.run_name] == pytest.approx(min(losses), rel=0.2)
    best = next(
        run for run in children if run.info.run_name == parent.data.tags["isthmus.best_trial"]
    )
    assert values[best.info.run_name] == min(values.values())
    assert parent.info.status == "FINISHED"
    for name in ("training.learning_rate", "latent_dim"):
        assert parent.data.params[name] == best.data.params[name]

    (version,) = package.versions("digits")
    assert version.metrics["test/reconstruction_mse"] == pytest.approx(
        parent.data.metrics["test/reconstruction_mse"]
    )
    again = next(line for line in done.out.splitlines() if line.startswith("Again: isthmus "))
    assert isthmus(*again.removeprefix("Again: isthmus ").split()).code == 0
    trained = client.search_runs(
        [parent.info.experiment_id], "tags.`isthmus.variant` = 'denoising'", max_results=1
    )[0]
    assert "isthmus.kind" not in trained.data.tags
    mine = curve(client, best.info.run_id, "validation/loss")
    assert curve(client, trained.info.run_id, "validation/loss")[: len(mine)] == mine


def test_what_does_not_go_together_is_a_failed_trial_with_its_reason(here, ray_session):
    result = package.tune(
        {
            "name": "mixed",
            "data": "sklearn:digits",
            "net": {"name": "dense", "hidden": [16]},
            "training": {"epochs": 1, "threads_per_worker": 1},
            "tuning": {
                "search": {
                    "variant": {"choice": ["plain", "denoising"]},
                    "variant.level": {"choice": [0.1, 0.2]},
                }
            },
        }
    )
    assert [trial.state for trial in result.trials].count("failed") == 2
    assert [trial.state for trial in result.trials].count("done") == 2
    reasons = {trial.reason for trial in result.trials if trial.state == "failed"}
    assert all("variant.level: no such field" in str(reason) for reason in reasons)
    assert result.pair is not None
    _, _, children = runs_of(Settings.from_environment(), "mixed")
    failed = [run for run in children if run.info.status == "FAILED"]
    assert len(failed) == 2
    assert "no such field" in failed[0].data.tags["isthmus.error"]
    assert failed[0].data.params["variant.level"] in ("0.1", "0.2")


class PressesCtrlC:
    """A reporter that interrupts once two epochs are done."""

    def __init__(self) -> None:
        self.ends: list[str] = []
        self.is_pressed = False

    def on_trial(self, trial) -> None:
        pass

    def on_trial_epoch(self, trial, report) -> None:
        if report.epoch == 2 and not self.is_pressed:
            self.is_pressed = True
            signal.raise_signal(signal.SIGINT)

    def on_trial_end(self, trial) -> None:
        self.ends.append(trial.state)


def test_ctrl_c_ends_the_trials_and_leaves_nothing_to_resume(here, isthmus, ray_session):
    (here / "job.yaml").write_text(JOB)
    listener = PressesCtrlC()
    result = package.tune(
        here / "job.yaml",
        overrides=["training.epochs=100000", "training.early_stopping=null"],
        search=["latent_dim=choice:4,8,16"],
        reporter=listener,
    )
    assert (result.status, result.pair) == ("interrupted", None)
    assert set(listener.ends) == {"interrupted"}
    _, parent, children = runs_of(Settings.from_environment(), "digits")
    assert {run.info.status for run in (parent, *children)} == {"KILLED"}
    assert package.models() == []
    resumed = isthmus("train", "--resume", result.run_id)
    assert (resumed.code, "start it again with isthmus tune" in resumed.err) == (2, True)


def test_a_wrong_name_is_one_line_and_leaves_no_run(here, isthmus):
    (here / "job.yaml").write_text(JOB)
    done = isthmus("tune", "job.yaml", "--search", "training.lerning_rate=choice:0.1")
    assert done.code == 2, done
    assert len(done.err.strip().splitlines()) == 1
    assert 'did you mean "learning_rate"?' in done.err
    assert not (here / "mlflow.db").exists()
