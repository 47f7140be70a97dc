"""What workers keep of training: the best weights so far, and the files of a checkpoint.

Under FSDP no worker holds all weights: each writes its own shards, those of the best weights too.
They are put together once, by whoever reads the best weights of a finished run
(`progress/checkpoints.py`).
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
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from isthmus.progress import checkpoints
from isthmus.progress.checkpoints import Progress
from isthmus.progress.uploads import copy_checkpoint
from isthmus.training.averaging import AveragedWeights

KeepCheckpoint = Callable[[Path | None, Progress], None]
"""Given a folder with what this worker wrote of a checkpoint, or `None`; all workers call it."""

_PREFIX = "isthmus-checkpoint-"
# What `torch.distributed.checkpoint` calls a worker's shards: its rank, and a number.
_SHARDS = re.compile(r"__(\d+)_\d+\.distcp")


class CheckpointWriter:
    """One worker's part in keeping checkpoints.

    Attributes:
        best: The weights of the best epoch by name, or this worker's shards of them; empty before
            the first epoch is over.
    """

    def __init__(
        self,
        keep: KeepCheckpoint,
        rank: int,
        averaged: AveragedWeights | None = None,
        resumed: Path | None = None,
    ) -> None:
        """Args:
        keep: Stores a checkpoint.
        rank: This worker's number, from 0.
        averaged: The average of the weights, which is kept instead of the trained ones, if any.
        resumed: The checkpoint that training goes on from, if any.
        """
        self.best: Mapping[str, Any] = {}
        self._keep = keep
        self._rank = rank
        self._averaged = averaged
        self._resumed = resumed

    def begin(self, trainer: Trainer) -> None:
        """Reads the best weights of the checkpoint that training goes on from."""
        if self._resumed is None:
            return
        shards = self._resumed / checkpoints.BEST_SHARDS
        if _is_sharded(trainer) and shards.is_dir():
            self.take_best(trainer)
            load({**self.best}, checkpoint_id=shards)
        else:
            device = trainer.strategy.root_device
            best = checkpoints.read_best(self._resumed)
            self.best = {name: tensor.to(device) for name, tensor in best.items()}

    def take_best(self, trainer: Trainer) -> None:
        """Takes the weights of now for the best."""
        averaged = self._averaged
        state = averaged.state() if averaged else trainer.strategy.lightning_module_state_dict()
        self.best = {name: tensor.detach().clone() for name, tensor in state.items()}

    def write(self, trainer: Trainer, progress: Progress) -> None:
        """Keeps what is needed to go on, and the best weights; all workers call it."""
        written = self._shards if _is_sharded(trainer) else self._whole
        with written(trainer, progress) as folder:
            self._keep(folder, progress)

    @contextmanager
    def _whole(self, trainer: Trainer, progress: Progress) -> Iterator[Path | None]:
        """Yields the folder of a checkpoint that the first worker has written, on that worker."""
        with tempfile.TemporaryDirectory(prefix=_PREFIX) as name:
            folder = Path(name)
            trainer.save_checkpoint(folder / checkpoints.LAST)
            if self._rank == 0:
                checkpoints.write_best(folder, self.best)
                checkpoints.write_progress(folder, progress)
            yield folder if self._rank == 0 else None

    @contextmanager
    def _shards(self, trainer: Trainer, progress: Progress) -> Iterator[Path]:
        """Yields a folder with what this worker has written of a checkpoint."""
        with tempfile.TemporaryDirectory(prefix=_PREFIX) as name, _common(trainer) as common:
            trainer.save_checkpoint(common / checkpoints.LAST)
            if self.best:
                save({**self.best}, checkpoint_id=common / checkpoints.BEST_SHARDS)
            trainer.strategy.barrier()
            own = Path(name)
            copy_checkpoint(common, own, self._is_own)
            if self._rank == 0:
                checkpoints.write_progress(own, progress)
            yield own

    def _is_own(self, file: Path) -> bool:
        """Returns whether this worker wrote a file; what belongs to nobody is the first one's."""
        found = _SHARDS.fullmatch(file.name)
        return self._rank == (int(found[1]) if found else 0)


@contextmanager
def _common(trainer: Trainer) -> Iterator[Path]:
    """Yields a folder that has the same name on all machines, which Lightning writes shards to."""
    name = tempfile.mkdtemp(prefix=_PREFIX) if trainer.is_global_zero else ""
    folder = Path(trainer.strategy.broadcast(name))
    folder.mkdir(exist_ok=True)
    try:
        yield folder
    finally:
        trainer.strategy.barrier()
        shutil.rmtree(folder, ignore_errors=True)


def _is_sharded(trainer: Trainer) -> bool:
    return isinstance(trainer.strategy, FSDPStrategy)
