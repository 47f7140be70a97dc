"""What each Ray Train worker does: trains its share, and reports checkpoints to Ray."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray import train as ray_train
from ray.train import torch as ray_torch

from isthmus.training.checkpoints import Progress
from isthmus.training.scaled_rows import ScaledRows
from isthmus.training.storage import CheckpointStorage
from isthmus.training.strategies import WorkerContext
from isthmus.training.worker_loop import WorkerTask, train_worker


def run_worker(config: dict[str, Any]) -> None:
    """Trains until the last epoch, early stopping, or the driver's wish to stop.

    Args:
        config: `task`: Ray's reference to the `WorkerTask`; `rows`: to the `ScaledRows`, which lie
            once on each host; `sender`: the line to the driver; `storage`: where checkpoints of
            a run that did not begin on Ray are.
    """
    task: WorkerTask = ray.get(config["task"])
    rows: ScaledRows = ray.get(config["rows"][0])
    ray_context = ray_train.get_context()
    context = WorkerContext(
        rank=ray_context.get_world_rank(),
        workers=ray_context.get_world_size(),
        local_rank=ray_context.get_local_rank(),
        workers_here=ray_context.get_local_world_size(),
        device=ray_torch.get_device(),
        is_in_ray=True,
    )
    sender = config["sender"] if context.rank == 0 else None
    with _last_checkpoint(config["storage"]) as folder:
        train_worker(task, rows, context, sender, _report, folder)


def _report(folder: Path | None, progress: Progress) -> None:
    """Gives Ray a checkpoint; every worker calls this, and those without a folder wait for it."""
    checkpoint = ray_train.Checkpoint.from_directory(folder) if folder else None
    ray_train.report({"epoch": progress.epochs}, checkpoint=checkpoint)


@contextmanager
def _last_checkpoint(storage: CheckpointStorage) -> Iterator[Path | None]:
    """Yields the folder of the checkpoint to go on from: Ray's own, or one from before Ray."""
    checkpoint = ray_train.get_checkpoint()
    if checkpoint is None:
        with storage.last() as folder:
            yield folder
        return
    with checkpoint.as_directory() as name:
        yield Path(name)
