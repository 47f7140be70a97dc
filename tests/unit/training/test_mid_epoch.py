"""A checkpoint of the middle of an epoch, from which training goes on as if nothing had been."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import (
    LearningRateMonitor,
    ModelCheckpoint,
    ModelSummary,
    RichProgressBar,
)

from isthmus.progress.checkpoints import LAST, Progress, read_best
from isthmus.progress.events import Logged, Resumed
from isthmus.progress.reporter import EpochReport, StepReport
from isthmus.progress.result import FitResult
from isthmus.strategies.context import WorkerContext
from isthmus.training import epoch_end as epoch_end_module
from isthmus.training import step_groups as step_groups_module
from isthmus.training.worker_loop import WorkerTask, train_worker
from tests.distributed.small_jobs import RecordingSender, plan, rows, same_weights, training

SINGLE = {"trainer": {"enable_model_summary": False}}
ALONE = WorkerContext(0, 1, 0, 1, torch.device("cpu"))


class Lost(Exception):
    """The process, just after a checkpoint."""


@pytest.fixture(autouse=True)
def _agrees_at_each_batch(monkeypatch: pytest.MonkeyPatch, torch_as_before: None) -> None:
    """Groups and agreements are of single batches, so that an epoch of five has a middle."""
    monkeypatch.setattr(step_groups_module, "_GROUP_S", 0.0)
    monkeypatch.setattr(epoch_end_module, "_AGREE_S", 0.0)


def run(
    folder: Path, options: dict[str, Any], lost_after: int | None = None, resume: bool = False
) -> FitResult:
    """Trains, or goes on with it; `lost_after` is the number of the last checkpoint."""
    variant = options.get("variant", "denoising")
    spec = {name: value for name, value in options.items() if name != "variant"}
    kept = 0

    def keep(made: Path | None, progress: Progress) -> None:
        nonlocal kept
        assert made is not None
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(made, folder)
        kept += 1
        if kept == lost_after:
            raise Lost

    task = WorkerTask(plan(variant), training(checkpoint_interval_s=0, **spec))
    train_worker(task, rows(), ALONE, None, keep, folder if resume else None)
    return FitResult.read(folder)


@pytest.mark.parametrize("lost_after", [1, 3, 7, 12])
@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="groups"),
        pytest.param(SINGLE, id="single-steps"),
        pytest.param({"variant": "aae"}, id="adversary"),
        pytest.param({"accumulate_batches": 2, **SINGLE}, id="parts"),
        pytest.param(
            {"weight_average_decay": 0.9, "schedule": "cosine", "warm_up_epochs": 1}, id="average"
        ),
        pytest.param(
            {"weight_average_decay": 0.9, "schedule": "linear", **SINGLE}, id="average-single"
        ),
        pytest.param({"variant": "vae"}, id="annealed"),
        pytest.param({"variant": "batchtopk", **SINGLE}, id="buffers"),
    ],
)
def test_a_run_resumed_in_the_middle_of_an_epoch_matches_the_uninterrupted_one(
    options: dict[str, Any], lost_after: int, tmp_path: Path
) -> None:
    whole = run(tmp_path / "whole", {**options, "epochs": 3})
    with pytest.raises(Lost):
        run(tmp_path / "lost", {**options, "epochs": 3}, lost_after)
    lost = FitResult.read(tmp_path / "lost")
    # Each of the five steps of an epoch has its checkpoint; that of the last is the epoch's.
    assert lost.progress.epochs == lost_after // 5
    assert lost.progress.rows_done == 64 * (lost_after % 5)
    resumed = run(tmp_path / "lost", {**options, "epochs": 3}, resume=True)
    assert resumed.progress.finished
    assert same_weights(whole, resumed)
    for found, expected in zip(resumed.progress.history, whole.progress.history, strict=True):
        assert found.validation == expected.validation
        assert found.train == pytest.approx(expected.train, rel=1e-6)


def as_an_earlier_version_wrote_it(folder: Path) -> None:
    """Renames a checkpoint's weights: variants were LightningModules, and nothing held them."""
    checkpoint = torch.load(folder / LAST, weights_only=True)
    for key in {"state_dict", "current_model_state"} & checkpoint.keys():
        assert all(name.startswith("autoencoder.") for name in checkpoint[key])
        checkpoint[key] = {
            name.removeprefix("autoencoder."): each for name, each in checkpoint[key].items()
        }
    torch.save(checkpoint, folder / LAST)
    # The best weights had the names then that they have now.
    assert not any(name.startswith("autoencoder.") for name in read_best(folder))


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="groups"),
        pytest.param({"variant": "aae"}, id="adversary"),
        pytest.param({"weight_average_decay": 0.9, **SINGLE}, id="average"),
    ],
)
def test_a_run_that_an_earlier_version_stopped_goes_on_as_if_nothing_had_been(
    options: dict[str, Any], tmp_path: Path
) -> None:
    whole = run(tmp_path / "whole", {**options, "epochs": 3})
    with pytest.raises(Lost):
        run(tmp_path / "lost", {**options, "epochs": 3}, lost_after=7)
    as_an_earlier_version_wrote_it(tmp_path / "lost")
    resumed = run(tmp_path / "lost", {**options, "epochs": 3}, resume=True)
    assert resumed.progress.finished
    assert same_weights(whole, resumed)


@pytest.mark.parametrize(("first", "then"), [({}, SINGLE), (SINGLE, {})], ids=["to", "from"])
def test_a_run_that_leaves_the_fast_path_or_takes_it_goes_on_counting_its_steps(
    first: dict[str, Any], then: dict[str, Any], tmp_path: Path
) -> None:
    """What is annealed by the step must not begin anew."""
    options = {"variant": "vae", "epochs": 3}
    whole = run(tmp_path / "whole", options)
    with pytest.raises(Lost):
        run(tmp_path / "lost", {**options, **first}, lost_after=7)
    resumed = run(tmp_path / "lost", {**options, **then}, resume=True)
    for found, expected in zip(resumed.progress.history, whole.progress.history, strict=True):
        assert found.train == pytest.approx(expected.train, rel=1e-3)


@pytest.mark.parametrize("parts", [1, 2])
def test_a_run_stopped_after_groups_of_several_steps_goes_on_with_callbacks(
    parts: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_groups_module, "_GROUP_S", 1e3)  # groups of 1, 1, 4 and 13 of 19 steps
    options = {"epochs": 3, "global_batch_size": 16, "accumulate_batches": parts}
    whole = run(tmp_path / "whole", options)
    with pytest.raises(Lost):
        run(tmp_path / "lost", options, lost_after=3)
    lost = FitResult.read(tmp_path / "lost")
    assert (lost.progress.epochs, lost.progress.rows_done) == (0, 16 * 6)
    resumed = run(tmp_path / "lost", {**options, **SINGLE}, resume=True)
    assert resumed.progress.finished
    for found, expected in zip(resumed.progress.history, whole.progress.history, strict=True):
        assert found.train == pytest.approx(expected.train, rel=1e-4)
        assert found.validation == pytest.approx(expected.validation, rel=1e-4)


class LogsItsOwn(Callback):
    """Logs a number of its own beside the losses, under names that begin as theirs do."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for name in ("train/gradient_norm", "epoch_time", "validation/psnr"):
            pl_module.log(name, 1.0)


def test_numbers_that_callbacks_log_under_names_like_those_of_the_losses_are_kept() -> None:
    sender = RecordingSender()
    task = WorkerTask(plan("vae"), training(epochs=2), callbacks=(LogsItsOwn(),))
    train_worker(task, rows(), ALONE, sender, lambda *_: None)
    logged = [each.metrics for each in sender.sent if isinstance(each, Logged)]
    assert logged == [{"train/gradient_norm": 1.0, "epoch_time": 1.0}] * 2
    reports = [each for each in sender.sent if isinstance(each, EpochReport)]
    assert [each.validation["psnr"] for each in reports] == [1.0, 1.0]


def test_what_callbacks_log_reaches_the_driver_and_what_is_reported_does_not_twice() -> None:
    sender = RecordingSender()
    options = {"epochs": 2, "schedule": "linear", "trainer": {"log_every_n_steps": 1}}
    task = WorkerTask(plan("vae"), training(**options), callbacks=(LearningRateMonitor("step"),))
    train_worker(task, rows(), ALONE, sender, lambda *_: None)
    logged = [each for each in sender.sent if isinstance(each, Logged)]
    assert [each.step for each in logged] == list(range(10))
    assert all(list(each.metrics) == ["lr-AdamW"] for each in logged)
    rates = [each.metrics["lr-AdamW"] for each in logged]
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize(
    "callback", [RichProgressBar(), ModelSummary()], ids=["progress bar", "summary"]
)
def test_a_callback_that_shows_training_may_be_added_and_the_log_says_what_it_costs(
    callback: Callback, caplog: pytest.LogCaptureFixture
) -> None:
    kept: list[int] = []
    task = WorkerTask(plan("plain"), training(epochs=1), callbacks=(callback,))
    with caplog.at_level(logging.INFO, logger="isthmus"):
        train_worker(task, rows(), ALONE, None, lambda _, progress: kept.append(progress.epochs))
    assert kept[-1] == 1
    assert "takes each step by itself, because callbacks may look at each" in caplog.text


def test_checkpoints_that_a_user_adds_are_in_a_folder_of_each_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        task = WorkerTask(plan("plain"), training(epochs=1), callbacks=(ModelCheckpoint(),))
        train_worker(task, rows(), ALONE, None, lambda *_: None)
    assert len(list(tmp_path.glob("isthmus/*/checkpoints/*.ckpt"))) == 2
    assert len(list(tmp_path.glob("isthmus/*"))) == 2


def test_a_checkpoint_that_is_due_waits_until_the_one_before_it_is_stored() -> None:
    kept: list[int] = []
    task = WorkerTask(plan("plain"), training(checkpoint_interval_s=0, epochs=3))
    train_worker(
        task,
        rows(),
        ALONE,
        None,
        lambda _, progress: kept.append(progress.epochs),
        is_storing=lambda: bool(kept),  # the first is never stored
    )
    assert kept == [0, 3], "the last one is kept all the same"


def test_a_finished_run_that_is_resumed_tells_the_epochs_that_the_log_may_lack(
    tmp_path: Path,
) -> None:
    run(tmp_path / "run", {"epochs": 2})
    sender = RecordingSender()
    task = WorkerTask(plan("denoising"), training(epochs=2))
    train_worker(task, rows(), ALONE, sender, lambda *_: None, tmp_path / "run")
    (resumed,) = sender.sent
    assert isinstance(resumed, Resumed)
    assert [report.epoch for report in resumed.history] == [1, 2]


def test_the_driver_is_told_the_loss_of_an_unfinished_epoch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(epoch_end_module, "_TELL_S", 0.0)
    sender = RecordingSender()
    task = WorkerTask(plan("plain"), training(epochs=1))
    train_worker(task, rows(), ALONE, sender, lambda *_: None)
    told = [each for each in sender.sent if isinstance(each, StepReport)]
    assert [(each.epoch, each.step, each.steps, each.done) for each in told] == [
        (1, step, 5, 64 * step) for step in range(1, 5)
    ]
    (epoch,) = (each for each in sender.sent if isinstance(each, EpochReport))
    assert told[-1].loss == pytest.approx(epoch.train["loss"], rel=0.2)
