"""The function of each Ray Train worker, which trains and reports checkpoints to Ray."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray import train as ray_train
from ray.train import torch as ray_torch

from isthmus.loaders.scaled_rows import ScaledRows
from isthmus.progress.checkpoints import Progress
from isthmus.progress.storage import CheckpointStorage
from isthmus.progress.uploads import copy_checkpoint, upload_patiently
from isthmus.training.strategies import WorkerContext
from isthmus.training.worker_loop import WorkerTask, train_worker


def run_worker(config: dict[str, Any]) -> None:
    """Trains until the last epoch, early stopping, or the driver's request to stop.

    Args:
        config: `task`: a reference to the `WorkerTask`; `rows`: a list with one to the
            `ScaledRows`, which are stored once per host; `sender`: the channel to the driver;
            `storage`: the run's storage, which also has the checkpoints of a run that did not
            begin on Ray.
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
        report = partial(_report, config["storage"])
        train_worker(task, rows, context, sender, report, folder)


def _report(storage: CheckpointStorage, folder: Path | None, progress: Progress) -> None:
    """Gives Ray a checkpoint to upload while training goes on; every worker must call this."""
    checkpoint = None
    if folder is not None:
        # The folder is removed when this returns; Ray removes the copy once it is stored.
        copy = Path(tempfile.mkdtemp(prefix="isthmus-upload-"))
        copy_checkpoint(folder, copy)
        checkpoint = ray_train.Checkpoint.from_directory(copy)
    ray_train.report(
        {"epoch": progress.epochs},
        checkpoint=checkpoint,
        checkpoint_upload_mode=ray_train.CheckpointUploadMode.ASYNC,
        checkpoint_upload_fn=partial(upload_patiently, storage),
    )


@contextmanager
def _last_checkpoint(storage: CheckpointStorage) -> Iterator[Path | None]:
    """Yields the folder of the checkpoint to resume from: Ray's, or one saved without Ray."""
    checkpoint = ray_train.get_checkpoint()
    if checkpoint is None:
        with storage.last() as folder:
            yield folder
        return
    with checkpoint.as_directory() as name:
        yield Path(name)
