"""What each Ray Train worker does: trains its share, and reports checkpoints to Ray."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray import train as ray_train
from ray.train import torch as ray_torch

from isthmus.training.share import Place, ScaledRows, WorkerTask, train_share
from isthmus.training.storage import CheckpointStorage


def run_worker(config: dict[str, Any]) -> None:
    """Trains until the last epoch, early stopping, or the driver's wish to stop.

    Args:
        config: `task`: Ray's reference to the `WorkerTask`; `rows`: to the `ScaledRows`, which lie
            once on each host; `sender`: the line to the driver; `storage`: where checkpoints of
            a run that did not begin on Ray would be.
    """
    task: WorkerTask = ray.get(config["task"])
    rows: ScaledRows = ray.get(config["rows"][0])
    context = ray_train.get_context()
    place = Place(
        rank=context.get_world_rank(),
        workers=context.get_world_size(),
        workers_here=context.get_local_world_size(),
        device=ray_torch.get_device(),
    )
    sender = config["sender"] if place.rank == 0 else None
    with _last_checkpoint(config["storage"]) as folder:
        train_share(task, rows, place, sender, _report, folder)


def _report(folder: Path | None, epochs: int) -> None:
    """Gives Ray a checkpoint; every worker calls this, and only the first has a folder."""
    checkpoint = ray_train.Checkpoint.from_directory(folder) if folder else None
    ray_train.report({"epoch": epochs}, checkpoint=checkpoint)


@contextmanager
def _last_checkpoint(storage: CheckpointStorage) -> Iterator[Path | None]:
    """The folder of the checkpoint to go on from: Ray's own, or one from before Ray."""
    checkpoint = ray_train.get_checkpoint()
    if checkpoint is None:
        with storage.last() as folder:
            yield folder
        return
    with checkpoint.as_directory() as name:
        yield Path(name)
