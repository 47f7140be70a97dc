"""The function of each Ray Train worker, which trains and reports checkpoints to Ray."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray import train as ray_train
from ray.train import torch as ray_torch

from isthmus.loaders.scaled_rows import ScaledRows
from isthmus.progress.checkpoints import Progress
from isthmus.progress.storage import CheckpointStorage
from isthmus.progress.uploads import copy_checkpoint, upload_patiently
from isthmus.strategies.context import WorkerContext
from isthmus.training.worker_task import WorkerTask


def run_worker(config: dict[str, Any]) -> None:
    """Trains until the last epoch, early stopping, or the driver's request to stop.

    Args:
        config: `task`: a reference to the `WorkerTask`; `rows`: a list with one to the
            `ScaledRows`, which are stored once per host; `sender`: the channel to the driver;
            `storage`: the run's storage, which also has the checkpoints of a run that did not
            begin on Ray.
    """
    # Not at the top: the driver, which imports this file, does not train.
    from isthmus.training.worker_loop import train_worker

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
        uploads = _Uploads(config["storage"])
        train_worker(
            task, rows, context, sender, uploads.report, folder, is_storing=uploads.is_storing
        )


class _Uploads:
    """Gives checkpoints to Ray, which uploads them while training goes on."""

    def __init__(self, storage: CheckpointStorage) -> None:
        """Creates it.

        Args:
            storage: The run's storage.
        """
        self._storage = storage
        self._waiting: set[str] = set()

    def is_storing(self) -> bool:
        """Returns whether a checkpoint of this worker is not stored yet."""
        return bool(self._waiting)

    def report(self, folder: Path | None, progress: Progress) -> None:
        """Gives Ray a checkpoint; every worker must call this."""
        checkpoint = None
        if folder is not None:
            # The folder is removed when this returns.
            copy = tempfile.mkdtemp(prefix="isthmus-upload-")
            copy_checkpoint(folder, Path(copy))
            checkpoint = ray_train.Checkpoint.from_directory(copy)
            self._waiting.add(copy)
        ray_train.report(
            {"epoch": progress.epochs},
            checkpoint=checkpoint,
            checkpoint_upload_mode=ray_train.CheckpointUploadMode.ASYNC,
            checkpoint_upload_fn=self._upload,
            delete_local_checkpoint_after_upload=False,  # Ray would keep those that fail
        )

    def _upload(self, checkpoint: ray_train.Checkpoint, name: str) -> ray_train.Checkpoint:
        try:
            return upload_patiently(self._storage, checkpoint, name)
        finally:
            shutil.rmtree(checkpoint.path, ignore_errors=True)
            self._waiting.discard(checkpoint.path)


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
