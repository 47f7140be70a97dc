"""The driver of a search: starts Ray Tune, forwards the trials' events, keeps the best weights."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Any

import pyarrow
import pyarrow.fs
import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from isthmus.errors import TrainingError
from isthmus.launch.background import Background
from isthmus.launch.cluster_resources import uses_gpus
from isthmus.launch.event_actor import ActorLine, open_mailbox
from isthmus.progress.result import FitResult
from isthmus.resources import cpus
from isthmus.search.events import TrialBoard
from isthmus.search.proposals import Proposals
from isthmus.search.trial import TrialTask, run_trial, rungs
from isthmus.search.trials import Candidate, SearchReporter, TrialRecord, Trials, Values
from isthmus.spec import TrainingSpec, TuningSpec

_logger = logging.getLogger(__name__)
# How long one wait for events lasts; Ctrl-C and news from Ray Tune's thread are handled after it.
_PATIENCE_S = 0.1
_QUIET = {
    # Turns off Tune's tables, log files and signal handler, because the driver has its own.
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    # Saves the search's state rarely, because searches are never restored.
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
}


@dataclass(frozen=True)
class SearchResult:
    """The result of a search.

    Attributes:
        trials: All trials, in order.
        best: The trial with the lowest value; `None` if no trial has a value.
        result: The training result of the best trial, with its best weights.
        is_interrupted: Whether Ctrl-C ended the search.
    """

    trials: tuple[TrialRecord, ...]
    best: TrialRecord | None
    result: FitResult
    is_interrupted: bool


def search(
    tuning: TuningSpec,
    training: TrainingSpec,
    candidate: Callable[[int, Values], Candidate],
    *,
    storage_path: str,
    run_name: str,
    reporter: SearchReporter,
) -> SearchResult:
    """Runs trials on the connected Ray cluster until all have ended, or until Ctrl-C.

    Args:
        tuning: The search space, the number of trials, and the metric.
        training: The job's training options, some of which a trial may replace.
        candidate: Returns what a trial trains, given its number and values; called in another
            thread. An `IsthmusError` that it raises is the reason why that trial failed.
        storage_path: The local folder or `s3://` URL that workers store their checkpoints in.
        run_name: The beginning of the names of the search's folders there.
        reporter: Receives the progress, in this thread.

    Raises:
        ClusterError: If the cluster has too few resources for a trial.
        TrainingError: If Ray Tune itself failed.
    """
    plan = _SearchPlan.of(tuning, training)
    board = open_mailbox(TrialBoard)

    def make_task(number: int, made: Candidate, rows: Any) -> TrialTask:
        return TrialTask(
            plan=made.plan,
            training=made.training,
            rows=rows,
            metric=tuning.measured,
            rungs=plan.rungs,
            has_workers=plan.has_workers,
            trials_here=min(plan.trials_at_once, cpus()),
            storage_path=storage_path,
            run_name=f"{run_name}-{number}",
        )

    line = ActorLine(board)
    trials = Trials(board, line, candidate, make_task, reporter)
    proposals = Proposals(tuning, trials.accept, trials.end)
    folder = f"{run_name}-search"
    tuner = _tuner(plan, tuning, training, proposals, board, storage_path, folder)
    try:
        is_interrupted = _run(tuner, proposals, trials, line)
    finally:
        line.close()
        # No longer needed: the driver has the best weights, and MLflow the metrics of the trials.
        own = (f"{run_name}-{trial.number}" for trial in trials.records if plan.has_workers)
        _remove(storage_path, folder, *own)
    best, result = trials.best()
    return SearchResult(trials.records, best, result, is_interrupted)


@dataclass(frozen=True)
class _SearchPlan:
    """The size of a search on the connected cluster.

    Attributes:
        trials_at_once: The number of trials that run at the same time.
        has_workers: Whether trials train through Ray Train, in workers of their own.
        resources: The resources that Ray Tune reserves for a trial; Ray Train reserves those of the
            workers.
        epochs: The number of epochs of the longest trial.
        grace_epochs: The first epoch after which a trial may be stopped.
        rungs: The epochs after which a trial may be stopped.
    """

    trials_at_once: int
    has_workers: bool
    resources: dict[str, float]
    epochs: int
    grace_epochs: int
    rungs: frozenset[int]

    @classmethod
    def of(cls, tuning: TuningSpec, training: TrainingSpec) -> _SearchPlan:
        workers = _largest("training.workers", training.most_workers, tuning)
        on_gpus = uses_gpus(training.model_copy(update={"workers": workers}))
        there = ray.cluster_resources().get("GPU" if on_gpus else "CPU", 1)
        room = max(1, int(there) // workers)
        wanted = tuning.trials if tuning.concurrent == "auto" else tuning.concurrent
        epochs = _largest("training.epochs", training.epochs, tuning)
        grace = ceil(epochs / 10) if tuning.grace_epochs == "auto" else tuning.grace_epochs
        is_halving = tuning.scheduler == "asha"
        return cls(
            trials_at_once=min(room, wanted),
            has_workers=workers > 1,
            # Ray Tune must reserve something, and the CPUs are for the workers.
            resources={"memory": 1 << 20} if workers > 1 else {"CPU": 1, "GPU": int(on_gpus)},
            epochs=epochs,
            grace_epochs=grace,
            rungs=frozenset(rungs(epochs, grace, tuning.reduction_factor) if is_halving else ()),
        )


def _largest(name: str, own: int, tuning: TuningSpec) -> int:
    searched = tuning.search.get(name)
    return max(searched.values) if searched else own


def _tuner(
    plan: _SearchPlan,
    tuning: TuningSpec,
    training: TrainingSpec,
    proposals: Proposals,
    board: Any,
    storage_path: str,
    folder: str,
) -> tune.Tuner:
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    # Ray Tune would warn that the files which `_QUIET` turns off are missing.
    logging.getLogger("ray.tune.analysis.experiment_analysis").setLevel(logging.ERROR)
    scheduler: TrialScheduler = FIFOScheduler()
    if plan.rungs:
        scheduler = ASHAScheduler(
            time_attr="epoch",
            max_t=plan.epochs,
            grace_period=plan.grace_epochs,
            reduction_factor=tuning.reduction_factor,
        )
    return tune.Tuner(
        tune.with_resources(tune.with_parameters(run_trial, board=board), plan.resources),
        tune_config=tune.TuneConfig(
            metric="value",
            mode="min",
            num_samples=tuning.trials,
            search_alg=proposals,
            scheduler=scheduler,
            max_concurrent_trials=plan.trials_at_once,
            reuse_actors=True,  # starting a process takes seconds, and a small trial trains for one
        ),
        run_config=tune.RunConfig(
            name=folder,
            storage_path=storage_path,
            verbose=0,
            stop=proposals.stopper(),
            failure_config=tune.FailureConfig(max_failures=training.max_failures),
        ),
    )


def _run(tuner: tune.Tuner, proposals: Proposals, trials: Trials, line: ActorLine) -> bool:
    """Runs Ray Tune to its end; returns whether Ctrl-C ended it."""
    tuning = Background(tuner.fit, line.wake)

    def stop() -> None:
        proposals.is_over = trials.is_interrupted = True
        line.request_stop()

    try:
        tuning.attend(partial(trials.deliver, _PATIENCE_S), stop)
        tuning.result()
    except tune.TuneError as error:
        trials.close("failed", "Ray Tune failed")
        _logger.exception("Ray Tune failed")
        raise TrainingError(f"Ray Tune failed: {str(error).strip().splitlines()[-1]}") from error
    trials.close("interrupted" if proposals.is_over else "failed", None)
    return proposals.is_over


def _remove(storage_path: str, *folders: str) -> None:
    """Deletes folders of the search, and ignores those that cannot be deleted."""
    for folder in folders:
        with suppress(OSError, pyarrow.ArrowException):
            filesystem, root = pyarrow.fs.FileSystem.from_uri(storage_path)
            filesystem.delete_dir(f"{root}/{folder}")
