"""The result of a training run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from isthmus.progress import checkpoints
from isthmus.progress.checkpoints import Progress


@dataclass(frozen=True)
class FitResult:
    """The result of a training run.

    Attributes:
        state: The weights of the best epoch, on the CPU; `None` if none was saved yet.
        progress: The progress of training; `finished` is false if it was interrupted.
    """

    state: dict[str, Tensor] | None
    progress: Progress

    @classmethod
    def read(cls, folder: Path | None) -> FitResult:
        """Reads the result from a checkpoint's folder; `None` gives a result without epochs."""
        if folder is None:
            return cls(state=None, progress=Progress())
        return cls(checkpoints.read_best(folder) or None, checkpoints.read_progress(folder))
