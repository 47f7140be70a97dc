"""What a checkpoint holds: all that is needed to go on exactly, and the best weights so far.

`last.ckpt` is Lightning's own (weights, optimizer, loops), `best.safetensors` the weights of the
best epoch, `progress.json` how far training is. Both sets of weights lie in one checkpoint, so
that only the newest must be kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from isthmus.progress.reporter import EpochReport

LAST = "last.ckpt"
_BEST = "best.safetensors"
PROGRESS = "progress.json"


@dataclass
class Progress:
    """How far training is.

    Attributes:
        epochs: Epochs done.
        rows_done: Rows of the epoch after them that all workers have trained on.
        best_epoch: The epoch, from 1, with the lowest validation loss; 0 before the first.
        best_loss: That loss.
        global_batch_size: Rows of one step, as settled when training began.
        attempt: How often training was started, restarts and resumes included.
        finished: Whether training came to its own end.
        history: Every epoch's report.
    """

    epochs: int = 0
    rows_done: int = 0
    best_epoch: int = 0
    best_loss: float = float("inf")
    global_batch_size: int = 0
    attempt: int = 1
    finished: bool = False
    history: list[EpochReport] = field(default_factory=list)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Progress:
        """The inverse of `dataclasses.asdict`."""
        history = [EpochReport(**report) for report in content["history"]]
        return cls(**{**content, "history": history})


def write_side_files(folder: Path, best: Mapping[str, Tensor], progress: Progress) -> None:
    """Writes what Lightning does not: the best weights and the progress."""
    save_file({name: tensor.contiguous().cpu() for name, tensor in best.items()}, folder / _BEST)
    (folder / PROGRESS).write_text(json.dumps(asdict(progress)), encoding="utf-8")


def read_best(folder: Path) -> dict[str, Tensor]:
    """The weights of the best epoch, on the CPU."""
    best: dict[str, Tensor] = load_file(folder / _BEST)
    return best


def read_progress(folder: Path) -> Progress:
    """How far training was when the checkpoint was written."""
    return Progress.from_json(json.loads((folder / PROGRESS).read_text(encoding="utf-8")))
