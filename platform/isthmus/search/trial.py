"""The process of one trial: trains like any other job, and reports to Ray Tune.

A trial reports to Ray Tune only at the epochs where the scheduler decides, and at its end: each
report waits for the driver, which would take most of the time of a small epoch. All other events go
to the driver's board.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ray
import torch
from pytorch_lightning import Trainer
from ray import tune
from safetensors.torch import save
from torch import Tensor

from isthmus.errors import TrainingError, in_one_line
from isthmus.launch.ray_trainer import fit
from isthmus.progress.checkpoints import Progress
from isthmus.progress.events import RowsDone, Started
from isthmus.progress.reporter import EpochReport
from isthmus.search.events import Kept, TrialSender
from isthmus.spec import ModelPlan, TrainingSpec
from isthmus.strategies.context import WorkerContext
from isthmus.training.epoch_end import EpochEndCallback
from isthmus.training.worker_loop import train_worker
from isthmus.training.worker_task import WorkerTask

_logger = logging.getLogger(__name__)
# How long a stopped trial may take to end before Ray Tune kills its process.
_STOPPING_TIMEOUT_S = 120


@dataclass(frozen=True)
class TrialTask:
    """The task that a trial receives.

    Attributes:
        plan: The autoencoder to build.
        training: The training options.
        rows: Ray's reference to the `ScaledRows`.
        metric: The search's metric, by its name among the validation losses.
        rungs: The epochs after which the trial may be stopped.
        has_workers: Whether it trains through Ray Train, in workers of its own.
        trials_here: The most trials that may run on this machine at the same time.
        storage_path: The folder or URL that the trial's own workers store their checkpoints in.
        run_name: The name of their folder there.
    """

    plan: ModelPlan
    training: TrainingSpec
    rows: Any
    metric: str
    rungs: frozenset[int]
    has_workers: bool
    trials_here: int
    storage_path: str
    run_name: str


def run_trial(config: dict[str, Any], board: Any) -> None:
    """Trains one trial; Ray Tune calls this in a process that may have run other trials before.

    Args:
        config: Holds the trial's number as `trial`.
        board: The handle of the `TrialBoard`.
    """
    os.environ.setdefault("TUNE_FUNCTION_THREAD_TIMEOUT_S", str(_STOPPING_TIMEOUT_S))
    number = config["trial"]
    (reference,) = ray.get(board.task.remote(number))
    task: TrialTask = ray.get(reference)
    sender = TrialSender(board, number)
    try:
        if task.has_workers:
            _train_with_workers(task, sender)
        else:
            _train_here(task, sender)
    except TrainingError as error:
        ray.get(sender.send(error))
    except Exception as error:  # Ray Tune would retry it, and it would fail in the same way
        _logger.exception("trial %d failed", number)
        ray.get(sender.send(TrainingError(in_one_line(error))))


def value_of(metric: str, report: EpochReport) -> float:
    """Returns the metric of one epoch.

    Raises:
        TrainingError: If there is no such metric, or its value is not finite.
    """
    if metric == "reconstruction" and metric not in report.validation:
        metric = "loss"  # the loss of some variants is the reconstruction loss alone
    if metric not in report.validation:
        known = ", ".join(f"validation/{name}" for name in report.validation)
        raise TrainingError(f"there is no validation/{metric} here; set tuning.metric to {known}")
    value = report.validation[metric]
    if not math.isfinite(value):
        raise TrainingError(f"validation/{metric} became {value}")
    return value


# -- one process ------------------------------------------------------------------------------


class TrialCallback(EpochEndCallback):
    """Reports the progress of a trial in this process; saves to the driver, not to disk."""

    SAVES_WITHIN_EPOCHS = False

    def __init__(self, task: TrialTask, trial: TrialSender, *args: Any) -> None:
        super().__init__(*args)
        self._task = task
        self._trial = trial

    def save_is_due(self) -> bool:
        """Returns whether the trial may be stopped after this epoch."""
        return self.progress.epochs in self._task.rungs

    def save(self, trainer: Trainer) -> None:
        """Sends the best weights, and reports to Ray Tune, which may end the trial here."""
        kept = _kept(self._task, self.progress, self.checkpoints.best)
        ray.get(self._trial.send(kept))
        if self.progress.finished or self.save_is_due():
            _report(kept.value, self.progress.epochs, is_finished=self.progress.finished)


def _train_here(task: TrialTask, sender: TrialSender) -> None:
    gpus = ray.get_gpu_ids() and task.training.device != "cpu"
    context = WorkerContext(
        rank=0,
        workers=1,
        local_rank=0,
        workers_here=task.trials_here,
        device=torch.device("cuda:0" if gpus else "cpu"),
    )
    worker = WorkerTask(task.plan, task.training, measures_error=True)
    rows = ray.get(task.rows)
    train_worker(
        worker,
        rows,
        context,
        sender,
        _keep_nothing,
        make_callback=partial(TrialCallback, task, sender),
    )


def _keep_nothing(folder: Path | None, progress: Progress) -> None:
    """Stores nothing, because trials are not resumed."""


# -- workers of its own -----------------------------------------------------------------------


class _Relay:
    """Forwards the events of a trial's workers, and stops the workers for Ray Tune or the user."""

    def __init__(self, task: TrialTask, sender: TrialSender) -> None:
        self.is_ended = False
        self._is_stopping = False
        self._task = task
        self._sender = sender
        self._history: list[EpochReport] = []

    def on_start(self, epochs: int, rows: int, first_epoch: int) -> None:
        self._sender.send(Started(epochs, rows, first_epoch))

    def on_rows(self, epoch: int, done: int) -> None:
        if self.is_ended:
            return
        self._sender.send(RowsDone(epoch, done))
        self._heed_the_driver()

    def on_epoch(self, report: EpochReport) -> None:
        if self.is_ended:
            return
        self._sender.send(report)
        self._history.append(report)
        if report.epoch in self._task.rungs:
            self._ask(report.epoch)
        self._heed_the_driver()

    def _ask(self, epoch: int) -> None:
        best = min(self._history, key=lambda report: report.validation["loss"])
        try:
            _report(value_of(self._task.metric, best), epoch, is_finished=False)
        except SystemExit:  # Ray Tune ends a trial in this way
            self.is_ended = True
            raise KeyboardInterrupt from None  # `fit` then stops its workers

    def _heed_the_driver(self) -> None:
        # Once: a second one would not wait for the workers to stop.
        if self._sender.stop_was_requested() and not self._is_stopping:
            self._is_stopping = True
            raise KeyboardInterrupt


def _train_with_workers(task: TrialTask, sender: TrialSender) -> None:
    relay = _Relay(task, sender)
    result = fit(
        task.plan,
        task.training,
        task.rows,
        storage_path=task.storage_path,
        run_name=task.run_name,
        reporter=relay,
        measures_error=True,
    )
    if result.state is not None:
        kept = _kept(task, result.progress, result.state)
        ray.get(sender.send(kept))
        if result.progress.finished and not relay.is_ended:
            _report(kept.value, result.progress.epochs, is_finished=True)
    if relay.is_ended:
        raise SystemExit


# -- both -------------------------------------------------------------------------------------


def _kept(task: TrialTask, progress: Progress, best: Mapping[str, Tensor]) -> Kept:
    weights = save({name: tensor.contiguous().cpu() for name, tensor in best.items()})
    value = value_of(task.metric, progress.best)
    return Kept(value, weights, asdict(progress))


def _report(value: float, epoch: int, *, is_finished: bool) -> None:
    tune.report({"value": value, "epoch": epoch, "is_finished": is_finished})


def rungs(epochs: int, grace_epochs: int, reduction_factor: int) -> Sequence[int]:
    """Returns the epochs at which successive halving decides: `grace_epochs`, then ever later ones.

    Source: Li et al. 2018, arXiv:1810.05934, algorithm 2.
    """
    found = [grace_epochs]
    while found[-1] * reduction_factor < epochs:
        found.append(found[-1] * reduction_factor)
    return [epoch for epoch in found if epoch < epochs]
