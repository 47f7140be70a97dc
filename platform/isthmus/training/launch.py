"""The driver's side of training: starts Ray Train, passes events on, fetches the best weights."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchConfig, TorchTrainer
from torch import Tensor

from isthmus.errors import ClusterError, TrainingError
from isthmus.spec import ModelPlan, TrainingSpec
from isthmus.training import checkpoints
from isthmus.training.background import Background
from isthmus.training.checkpoints import Progress
from isthmus.training.events import RowsDone, Started, open_mailbox
from isthmus.training.reporter import EpochReport, Reporter
from isthmus.training.worker import ScaledRows, WorkerTask, run_worker

_logger = logging.getLogger(__name__)
_POLL_S = 0.1
_COLLECTIVE_TIMEOUT_S = 1800


@dataclass(frozen=True)
class FitResult:
    """What training came to.

    Attributes:
        state: The weights of the best epoch, on the CPU; `None` if none was saved yet.
        progress: How far training is; `finished` is false if it was interrupted.
    """

    state: dict[str, Tensor] | None
    progress: Progress


def fit(
    plan: ModelPlan,
    training: TrainingSpec,
    rows: ScaledRows | ray.ObjectRef,
    *,
    storage_path: str,
    run_name: str,
    reporter: Reporter,
    measures_error: bool = False,
) -> FitResult:
    """Trains on the Ray that is connected, until done or until Ctrl-C.

    Training that was interrupted goes on where it was if it is called again with the same
    `storage_path` and `run_name`.

    Args:
        plan: The autoencoder to build.
        training: How.
        rows: Scaled rows, which go to Ray's object store; or Ray's reference to those that are
            there.
        storage_path: Where checkpoints go: a folder, or `s3://`.
        run_name: The run's folder in it.
        reporter: Hears of the progress, in this thread.
        measures_error: Whether validation also gives `mse`, which any two jobs can be compared by.

    Raises:
        TrainingError: If training diverged, or workers were lost more often than allowed.
        ClusterError: If the cluster has too little for the workers asked for.
    """
    mailbox = open_mailbox()
    task = WorkerTask(
        plan=plan,
        training=training,
        rows=rows if isinstance(rows, ray.ObjectRef) else ray.put(rows),
        mailbox=mailbox,
        measures_error=measures_error,
    )
    trainer = TorchTrainer(
        run_worker,
        # As a reference, so that Ray's controller need not load torch to read it.
        train_loop_config={"task": ray.put(task)},
        torch_config=TorchConfig(timeout_s=_COLLECTIVE_TIMEOUT_S),
        scaling_config=ScalingConfig(num_workers=training.workers, use_gpu=uses_gpus(training)),
        run_config=RunConfig(
            name=run_name,
            storage_path=storage_path,
            checkpoint_config=CheckpointConfig(num_to_keep=1),
            failure_config=FailureConfig(max_failures=training.max_failures),
        ),
    )
    outcome = Background(trainer.fit)
    courier = _Courier(mailbox, reporter)
    while not outcome.is_there.is_set():
        try:
            outcome.is_there.wait(_POLL_S)
            courier.deliver()
        except KeyboardInterrupt:
            if courier.stopping:
                raise  # the second Ctrl-C: at once
            courier.request_stop()
    courier.deliver()
    if courier.error is not None:
        raise courier.error
    return _read_result(_result_of(outcome))


def _result_of(outcome: Background[Any]) -> Any:
    try:
        return outcome.result()
    except TrainingFailedError as error:
        _logger.exception("training failed")
        raise TrainingError(_one_line(error)) from error


class _Courier:
    """Brings the workers' events to the reporter, each epoch once and in order."""

    def __init__(self, mailbox: Any, reporter: Reporter) -> None:
        self.stopping = False
        self.error: TrainingError | None = None
        self._mailbox = mailbox
        self._reporter = reporter
        self._is_started = False
        self._epochs_told = 0

    def request_stop(self) -> None:
        self.stopping = True
        if not self._is_started:
            raise KeyboardInterrupt  # there is nothing yet to bring to an end
        self._mailbox.request_stop.remote()

    def deliver(self) -> None:
        for event in ray.get(self._mailbox.drain.remote()):
            match event:
                case Started():
                    self._is_started = True
                    self._reporter.on_start(event.epochs, event.rows, event.first_epoch)
                case RowsDone():
                    self._reporter.on_rows(event.epoch, event.done)
                case EpochReport() if event.epoch > self._epochs_told:
                    # A worker that was replaced goes through some epochs again.
                    self._epochs_told = event.epoch
                    self._reporter.on_epoch(event)
                case TrainingError():
                    self.error = event


def uses_gpus(training: TrainingSpec) -> bool:
    """Whether each worker gets a GPU.

    Raises:
        ClusterError: If the cluster has too little for the workers asked for.
    """
    resources = ray.cluster_resources()
    gpus, cpus = int(resources.get("GPU", 0)), int(resources.get("CPU", 0))
    if training.device == "gpu" and gpus < training.workers:
        raise ClusterError(
            f"training.device=gpu needs {training.workers} GPUs, one for each worker, and Ray sees "
            f"{gpus}; lower training.workers, or set training.device: cpu"
        )
    if training.workers > cpus:
        raise ClusterError(
            f"training.workers={training.workers} needs as many CPUs and Ray sees {cpus}; lower "
            "training.workers or add nodes to the cluster"
        )
    return training.device != "cpu" and gpus >= training.workers


def _read_result(result: Any) -> FitResult:
    if result is None or result.checkpoint is None:
        return FitResult(state=None, progress=Progress())
    with result.checkpoint.as_directory() as name:
        folder = Path(name)
        return FitResult(checkpoints.read_best(folder), checkpoints.read_progress(folder))


def _one_line(error: TrainingFailedError) -> str:
    """The last line of the first lost worker's own traceback: what a person can act on."""
    failures = getattr(error, "worker_failures", None) or {}
    cause = next(iter(failures.values()), error)
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return f"a worker failed: {lines[-1] if lines else type(cause).__name__}"
