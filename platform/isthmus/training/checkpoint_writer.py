"""One worker's part of a checkpoint: its files, and the best weights so far.

Under FSDP no worker holds all weights: each writes its own shards, also of the best weights. They
are merged once, when the best weights of a finished run are read (`progress/checkpoints.py`).
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.strategies import FSDPStrategy

from isthmus.modules import names_in_autoencoder
from isthmus.progress import checkpoints
from isthmus.progress.checkpoints import Progress
from isthmus.progress.uploads import copy_checkpoint
from isthmus.strategies.comm_hooks import CommHook
from isthmus.strategies.context import WorkerContext
from isthmus.training.averaging import AveragedWeights

KeepCheckpoint = Callable[[Path | None, Progress], None]
"""Stores a checkpoint; all workers call it, with a folder of the files they wrote, or `None`."""

_PREFIX = "isthmus-checkpoint-"
# `torch.distributed.checkpoint` names a worker's shards by its rank and a number.
_SHARDS = re.compile(r"__(\d+)_\d+\.distcp")


class CheckpointWriter:
    """Writes one worker's part of each checkpoint.

    Attributes:
        best: The autoencoder's weights of the best epoch by name, or this worker's shards of them;
            empty before the first epoch ends.
    """

    def __init__(
        self,
        keep: KeepCheckpoint,
        context: WorkerContext,
        hook: CommHook,
        averaged: AveragedWeights | None = None,
        resumed: Path | None = None,
        is_storing: Callable[[], bool] = lambda: False,
    ) -> None:
        """Creates the writer.

        Args:
            keep: Stores a checkpoint.
            context: The rank of this worker and the number of workers.
            hook: The communication hook, of which a worker may have a state of its own.
            averaged: The averaged weights, which are saved instead of the trained ones, if any.
            resumed: The folder of the checkpoint that training resumes from, if any.
            is_storing: Returns whether an earlier checkpoint of this worker is not stored yet.
        """
        self.best: Mapping[str, Any] = {}
        self._keep = keep
        self._context = context
        self._hook = hook
        self._averaged = averaged
        self._resumed = resumed
        self.is_storing = is_storing

    def begin(self, trainer: Trainer) -> None:
        """Reads the best weights of the checkpoint that training resumes from."""
        if self._resumed is None:
            return
        if _is_sharded(trainer) and checkpoints.has_best_shards(self._resumed):
            self.take_best(trainer)
            checkpoints.load_best_shards(self._resumed, self.best)
        else:
            device = trainer.strategy.root_device
            best = checkpoints.read_best(self._resumed)
            self.best = {name: tensor.to(device) for name, tensor in best.items()}

    def take_best(self, trainer: Trainer) -> None:
        """Copies the current weights as the best ones."""
        averaged = self._averaged
        state = averaged.state() if averaged else trainer.strategy.lightning_module_state_dict()
        own = names_in_autoencoder(state)
        self.best = {name: tensor.detach().clone() for name, tensor in own.items()}

    def write(self, trainer: Trainer, progress: Progress) -> None:
        """Saves the state to resume from and the best weights; all workers must call it."""
        written = self._shards if _is_sharded(trainer) else self._whole
        with written(trainer, progress) as folder:
            self._keep(folder, progress)

    @contextmanager
    def _whole(self, trainer: Trainer, progress: Progress) -> Iterator[Path | None]:
        """Yields the folder of what this worker has written; `None` if that is nothing.

        The first worker writes the checkpoint, and each its own state, if it has one.
        """
        context = self._context
        with tempfile.TemporaryDirectory(prefix=_PREFIX) as name:
            folder = Path(name)
            trainer.save_checkpoint(folder / checkpoints.LAST)
            own = self._hook.worker_state(trainer)
            if own is not None:
                checkpoints.write_worker_state(folder, context.rank, context.workers, own)
            if context.rank == 0:
                checkpoints.write_best(folder, self.best)
                checkpoints.write_progress(folder, progress)
            yield folder if context.rank == 0 or own is not None else None

    @contextmanager
    def _shards(self, trainer: Trainer, progress: Progress) -> Iterator[Path]:
        """Yields a folder with the files of a checkpoint that this worker has written."""
        with tempfile.TemporaryDirectory(prefix=_PREFIX) as name, _common(trainer) as common:
            trainer.save_checkpoint(common / checkpoints.LAST)
            if self.best:
                checkpoints.write_best_shards(common, self.best)
            trainer.strategy.barrier()
            own = Path(name)
            copy_checkpoint(common, own, self._is_own)
            if self._context.rank == 0:
                checkpoints.write_progress(own, progress)
            yield own

    def _is_own(self, file: Path) -> bool:
        """Returns whether this worker wrote a file; files without a rank belong to rank 0."""
        found = _SHARDS.fullmatch(file.name)
        return self._context.rank == (int(found[1]) if found else 0)


@contextmanager
def _common(trainer: Trainer) -> Iterator[Path]:
    """Yields a folder with the same path on all machines, to which Lightning writes the shards."""
    name = tempfile.mkdtemp(prefix=_PREFIX) if trainer.is_global_zero else ""
    folder = Path(trainer.strategy.broadcast(name))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
        # Not after an error: the others would wait for a worker that never comes.
        trainer.strategy.barrier()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_sharded(trainer: Trainer) -> bool:
    return isinstance(trainer.strategy, FSDPStrategy)
