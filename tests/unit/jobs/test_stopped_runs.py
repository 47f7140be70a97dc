"""A run that is too long is ended well: with fewer epochs, or with what it has."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import isthmus
from isthmus.errors import UsageError
from isthmus.spec import Settings
from isthmus.tracking import find_run, open_store

LONG = 2000


@pytest.fixture
def settings(here: Path) -> Settings:
    rows = np.random.default_rng(0).standard_normal((1500, 2)) @ np.ones((2, 5))
    np.save("rows.npy", rows.astype(np.float32))
    return Settings.from_environment({}, here)


def job(**training: Any) -> dict[str, Any]:
    options = {"epochs": LONG, "early_stopping": None, "checkpoint_interval_s": 0, **training}
    return {"name": "m", "data": "rows.npy", "latent_dim": 1, "training": options}


def epochs_in(file: Path) -> int:
    """The finished epochs of a checkpoint, whose folder is named by them."""
    return int(file.parent.name.split("_")[1])


class CtrlC:
    """Presses Ctrl-C after some epochs."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_start(self, epochs: int, rows: int, first_epoch: int) -> None:
        pass

    def on_rows(self, epoch: int, done: int) -> None:
        pass

    def on_epoch(self, report: Any) -> None:
        if report.epoch == self.epochs:
            signal.raise_signal(signal.SIGINT)


def stopped(settings: Settings, **training: Any) -> isthmus.api.TrainResult:
    result = isthmus.train(job(**training), settings=settings, reporter=CtrlC(3))
    assert result.status == "interrupted"
    return result


def test_ctrl_c_in_the_middle_and_the_pair_of_the_best_epoch_so_far_is_registered(settings):
    result = stopped(settings)
    finished = isthmus.finish(result.run_id[:8], settings=settings)
    assert finished.status == "finished"
    assert 3 <= finished.epochs < LONG
    assert finished.metrics["epochs"] == finished.epochs
    pair = isthmus.load(str(finished.pair), settings=settings)
    assert pair.manifest.run_id == result.run_id
    rows = np.load("rows.npy")
    spread = np.square(rows - rows.mean(axis=0)).mean()
    assert np.square(pair.reconstruct(rows) - rows).mean() < spread  # it has learned something
    run = open_store(settings).get_run(result.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["test/reconstruction_mse"] > 0
    for again in (isthmus.finish, isthmus.resume):
        with pytest.raises(UsageError, match="is finished; there is nothing to"):
            again(result.run_id, settings=settings)


def test_a_process_that_was_killed_leaves_a_run_whose_checkpoint_is_registered(settings, here):
    Path("job.yaml").write_text(yaml.safe_dump(job()))
    command = "import isthmus; isthmus.train('job.yaml')"
    environment = {name: each for name, each in os.environ.items() if "ISTHMUS" not in name}
    process = subprocess.Popen([sys.executable, "-c", command], env=environment)
    try:
        checkpoints = here / ".isthmus" / "runs"
        while not any(epochs_in(each) for each in checkpoints.glob("*/*/progress.json")):
            assert process.poll() is None
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    (folder,) = checkpoints.iterdir()
    finished = isthmus.finish(folder.name, settings=settings)
    assert finished.status == "finished"
    assert finished.epochs >= 1
    assert isthmus.load("m/1", settings=settings).manifest.run_id == folder.name


class LateCtrlC(CtrlC):
    """Presses Ctrl-C three seconds later."""

    def on_epoch(self, report: Any) -> None:
        if report.epoch == self.epochs:
            time.sleep(3)
        super().on_epoch(report)


def test_a_run_that_was_stopped_and_resumed_tells_the_seconds_of_all_attempts(settings):
    began_s, pause_s = time.monotonic(), 2
    result = isthmus.train(job(), settings=settings, reporter=LateCtrlC(1))
    time.sleep(pause_s)  # in which nobody trained
    reporter = LateCtrlC(find_epochs(result, settings) + 1)
    again = isthmus.resume(result.run_id, settings=settings, reporter=reporter)
    assert again.status == "interrupted"
    finished = isthmus.finish(result.run_id, settings=settings)
    assert 6 <= finished.metrics["seconds"] <= time.monotonic() - began_s - pause_s
    tags = open_store(settings).get_run(result.run_id).data.tags
    assert float(tags["isthmus.seconds"]) == pytest.approx(finished.metrics["seconds"], rel=1e-5)


def test_a_run_without_a_finished_epoch_has_nothing_to_register(settings, monkeypatch):
    from isthmus.progress.checkpoints import Progress
    from isthmus.progress.result import FitResult

    result = stopped(settings)
    monkeypatch.setattr(FitResult, "read", lambda folder: FitResult(None, Progress()))
    with pytest.raises(UsageError, match=r"no checkpoint of a finished epoch.*--resume"):
        isthmus.finish(result.run_id, settings=settings)
    assert find_run(result.run_id, settings).status == "KILLED"


def test_members_that_were_not_trained_are_left_out(settings):
    np.save("rows.npy", np.load("rows.npy")[:300])  # so few that six members calibrate crosswise
    result = stopped(settings)
    finished = isthmus.finish(result.run_id, settings=settings)
    pair = isthmus.load(str(finished.pair), settings=settings)
    assert pair.manifest.detector.members == 1
    assert pair.manifest.detector.calibrated_by == "shared"


def test_a_resumed_run_may_have_fewer_epochs_and_another_schedule(settings):
    result = stopped(settings)
    done = find_epochs(result, settings)
    changes = [f"training.epochs={done + 20}", "training.schedule=linear"]
    resumed = isthmus.resume(result.run_id, settings=settings, overrides=changes)
    assert (resumed.status, resumed.epochs) == ("finished", done + 20)
    client = open_store(settings)
    curve = client.get_metric_history(result.run_id, "learning_rate")
    rates = {point.step: point.value for point in curve}
    assert rates[done] == pytest.approx(1e-3)  # it was constant
    # From then on it is the line from the first epoch to the last.
    assert rates[done + 10] == pytest.approx(1e-3 * 10 / (done + 20), rel=0.05)
    assert rates[done + 20] == pytest.approx(0.0, abs=1e-5)
    manifest = isthmus.load(str(resumed.pair), settings=settings).manifest
    assert manifest.spec["training"]["epochs"] == done + 20
    assert find_run(result.run_id, settings).job["training"]["schedule"] == "linear"


def find_epochs(result: Any, settings: Settings) -> int:
    from isthmus.progress.storage import CheckpointStorage

    with CheckpointStorage(settings.storage_path, result.run_id).last() as folder:
        from isthmus.progress.checkpoints import read_progress

        assert folder is not None
        return read_progress(folder).epochs


def test_a_schedule_that_is_taken_away_leaves_the_full_learning_rate(settings):
    result = stopped(settings, schedule="cosine", epochs=40)
    changes = ["training.schedule=constant"]
    resumed = isthmus.resume(result.run_id, settings=settings, overrides=changes)
    curve = open_store(settings).get_metric_history(resumed.run_id, "learning_rate")
    assert max(curve, key=lambda point: point.step).value == pytest.approx(1e-3)


REFUSED = {
    "latent_dim=3": "the pair is to be that of the job that began",
    "data.path=other.npy": "its weights have learned from these rows",
    "training.learning_rate=0.1": "its optimizer and its order of rows rest on it",
    "training.epochs=1": "done .* epochs already; use more, or .*isthmus train --finish",
}


def test_what_a_resumed_run_cannot_change_is_refused_by_name_with_the_reason(settings):
    result = stopped(settings)
    for change, reason in REFUSED.items():
        with pytest.raises(UsageError, match=reason) as caught:
            isthmus.resume(result.run_id, settings=settings, overrides=[change])
        assert change.partition("=")[0] in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1
    assert find_run(result.run_id, settings).status == "KILLED"


def test_the_commands_say_how_a_run_is_ended(settings, isthmus):
    assert isthmus("train", "--finish", "heron").code == 2
    both = isthmus("train", "--finish", "a", "--resume", "b")
    assert (both.code, "--finish RUN" in both.err) == (2, True)
    assert "trains no further" in isthmus("train", "--finish", "a", "--set", "latent_dim=2").err


def test_a_run_goes_on_from_its_checkpoints_when_the_command_is_typed_in_another_folder(
    settings, tmp_path_factory
):
    result = stopped(settings)
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    there = settings.model_copy(update={"storage_path": str(elsewhere)})
    seen: list[int] = []

    class Starts(CtrlC):
        def on_start(self, epochs: int, rows: int, first_epoch: int) -> None:
            seen.append(first_epoch)

    isthmus.resume(
        result.run_id, settings=there, reporter=Starts(5), overrides=["training.epochs=6"]
    )
    assert seen[0] > 3
    assert not list(elsewhere.iterdir())
