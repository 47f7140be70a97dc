"""The driver's side of training: starts Ray Train, forwards events, fetches the best weights."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray.train import (
    CheckpointConfig,
    DataConfig,
    FailureConfig,
    RunConfig,
    ScalingConfig,
    TrainingFailedError,
)
from ray.train.torch import TorchConfig, TorchTrainer
from torch import Tensor

from isthmus.errors import ClusterError, TrainingError
from isthmus.launch.background import Background
from isthmus.launch.cluster_resources import counts_nodes_again, uses_gpus
from isthmus.launch.courier import accompany
from isthmus.launch.event_actor import ActorLine, open_mailbox
from isthmus.launch.ray_worker import run_worker
from isthmus.loaders.scaled_rows import ScaledRows, is_distributed
from isthmus.loaders.shard_batches import SHARD
from isthmus.progress.reporter import Reporter
from isthmus.progress.result import FitResult
from isthmus.progress.storage import CheckpointStorage
from isthmus.resources import free_memory_bytes, in_units
from isthmus.spec import ModelPlan, TrainingSpec
from isthmus.training.worker_task import WorkerTask

if TYPE_CHECKING:
    from pytorch_lightning import Callback

_logger = logging.getLogger(__name__)
_COLLECTIVE_TIMEOUT_S = 1800


def fit(
    plan: ModelPlan,
    training: TrainingSpec,
    rows: ScaledRows | ray.ObjectRef,
    *,
    storage_path: str,
    run_name: str,
    reporter: Reporter,
    measures_error: bool = False,
    callbacks: tuple[Callback, ...] = (),
    weights: Mapping[str, Tensor] | None = None,
) -> FitResult:
    """Trains on the connected Ray until the end or Ctrl-C.

    If training was interrupted, a call with the same `storage_path` and `run_name` resumes it.

    Args:
        plan: The autoencoder to build.
        training: The job's training options.
        rows: Scaled rows, which are put into Ray's object store, or a reference to rows that are
            there already.
        storage_path: The local folder or `s3://` URL that checkpoints are stored in.
        run_name: The name of the run's folder in it.
        reporter: Receives the progress, in this thread.
        measures_error: Whether validation also logs `mse`, by which any two jobs can be compared.
        callbacks: Further Lightning callbacks.
        weights: The weights that training starts with; `None` if it draws them.

    Raises:
        TrainingError: If training diverged, or workers were lost more often than allowed.
        ClusterError: If the cluster has too few resources for the workers and for Ray Data.
    """
    task = WorkerTask(plan, training, measures_error, callbacks, weights)
    with closing(ActorLine(open_mailbox())) as line, counts_nodes_again(training):
        trainer = TorchTrainer(
            run_worker,
            train_loop_config={
                # References, so that Ray's controller need not import torch to unpickle them; the
                # one to the rows is in a list, so that the controller does not fetch them either.
                "task": ray.put(task),
                "rows": [rows if isinstance(rows, ray.ObjectRef) else put_rows(rows)],
                "sender": line.sender,
                "storage": CheckpointStorage(storage_path, run_name),
            },
            torch_config=TorchConfig(timeout_s=_COLLECTIVE_TIMEOUT_S),
            scaling_config=ScalingConfig(
                num_workers=_workers(training), use_gpu=uses_gpus(training)
            ),
            **_datasets(rows, training),
            run_config=RunConfig(
                name=run_name,
                storage_path=storage_path,
                checkpoint_config=CheckpointConfig(num_to_keep=1),
                failure_config=FailureConfig(max_failures=training.max_failures),
            ),
        )
        outcome = Background(trainer.fit, line.wake)
        accompany(outcome, line, reporter)
    return _read_result(_result_of(outcome), CheckpointStorage(storage_path, run_name))


def _workers(training: TrainingSpec) -> int | tuple[int, int]:
    """Returns the number of workers, or its range in Ray Train's form."""
    if isinstance(training.workers, int):
        return training.workers
    return training.workers.min, training.workers.max


def _datasets(rows: ScaledRows | ray.ObjectRef, training: TrainingSpec) -> dict[str, Any]:
    """Returns the trainer's arguments for training rows from Ray Data; none for other rows.

    Raises:
        ClusterError: If the workers would leave Ray Data no CPU to read with.
    """
    if not isinstance(rows, ScaledRows) or not is_distributed(rows.train):
        return {}
    cpus, workers = int(ray.cluster_resources().get("CPU", 0)), training.most_workers
    if cpus <= workers:
        raise ClusterError(
            f"training.workers={workers} takes all of the cluster's {cpus} CPUs, and Ray Data "
            f"needs one to read {rows.train.spec.shown_path}; lower training.workers or add a node"
        )
    from ray.data import ExecutionOptions

    # Otherwise a worker's rows would depend on which of Ray Data's tasks ends first.
    options = ExecutionOptions(preserve_order=True)
    return {
        "datasets": {SHARD: rows.train.open()},
        "dataset_config": DataConfig(execution_options=options),
    }


def put_rows(rows: ScaledRows) -> Any:
    """Puts rows into Ray's object store, such that workers on any machine can read them.

    Raises:
        ClusterError: If there is no room for the copies that this makes.
    """
    nodes = [node for node in ray.nodes() if node["Alive"]]
    kept, in_files = rows.sizes_bytes()
    # Other machines cannot read a file of this one, so its rows are read and copied once more.
    read = in_files if len(nodes) > 1 else 0
    here = ray.get_runtime_context().get_node_id()
    # The object store writes to the disk what exceeds its own size.
    store = sum(node["Resources"].get("object_store_memory", 0) for node in nodes
                if node["NodeID"] == here)  # fmt: skip
    needed, free = read + min(kept + read, store), free_memory_bytes()
    if needed > free:
        raise ClusterError(
            f"the training rows take {in_units(needed)} of memory to be sent to the workers, and "
            f"{in_units(free)} are free; give fewer rows or more memory, or, of a table, several "
            "files, which Ray Data reads"
        )
    return ray.put(rows.in_memory() if read else rows)


def _result_of(outcome: Background[Any]) -> Any:
    try:
        return outcome.result()
    except TrainingFailedError as error:
        _logger.exception("training failed")
        raise TrainingError(_one_line(error)) from error


def _read_result(result: Any, storage: CheckpointStorage) -> FitResult:
    if result is None or result.checkpoint is None:
        # A run that was resumed, and had nothing left to do, has the checkpoint it began with.
        with storage.last() as folder:
            return FitResult.read(folder)
    with result.checkpoint.as_directory() as name:
        return FitResult.read(Path(name))


def _one_line(error: TrainingFailedError) -> str:
    """Returns a message with the last line of the first lost worker's own traceback."""
    failures = getattr(error, "worker_failures", None) or {}
    cause = next(iter(failures.values()), error)
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return f"a worker failed: {lines[-1] if lines else type(cause).__name__}"
