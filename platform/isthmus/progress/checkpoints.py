"""What a checkpoint holds: all that is needed to go on exactly, and the best weights so far.

`last.ckpt` is Lightning's own (weights, optimizer, loops), `best.safetensors` the weights of the
best epoch, `progress.json` how far training is. Both sets of weights lie in one checkpoint, so
that only the newest must be kept. Of a model that FSDP shards, `last.ckpt` and `best` are folders
of shards, as `torch.distributed.checkpoint` writes them.
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
BEST_SHARDS = "best"
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


def write_best(folder: Path, best: Mapping[str, Tensor]) -> None:
    """Writes the weights of the best epoch, each whole; none before the first epoch is over."""
    save_file({name: tensor.contiguous().cpu() for name, tensor in best.items()}, folder / _BEST)


def write_progress(folder: Path, progress: Progress) -> None:
    """Writes how far training is."""
    (folder / PROGRESS).write_text(json.dumps(asdict(progress)), encoding="utf-8")


def read_best(folder: Path) -> dict[str, Tensor]:
    """Returns the weights of the best epoch, on the CPU; shards are put together."""
    if (folder / BEST_SHARDS).is_dir():
        return _read_shards(folder / BEST_SHARDS)
    if not (folder / _BEST).exists():
        return {}  # of sharded training, before the first epoch is over
    best: dict[str, Tensor] = load_file(folder / _BEST)
    return best


def _read_shards(folder: Path) -> dict[str, Tensor]:
    import torch
    from torch.distributed.checkpoint.filesystem import FileSystemReader
    from torch.distributed.checkpoint.state_dict_loader import load

    reader = FileSystemReader(folder)
    described: Mapping[str, Any] = reader.read_metadata().state_dict_metadata
    state = {
        name: torch.empty(each.size, dtype=each.properties.dtype)
        for name, each in described.items()
    }
    load(state, storage_reader=reader, no_dist=True)
    return state


def is_whole(folder: Path) -> bool:
    """Returns whether all files of a checkpoint are there: workers store their shards apart."""
    if not (folder / PROGRESS).exists():
        return False
    from torch.distributed.checkpoint.filesystem import FileSystemReader

    for shards in (folder / LAST, folder / BEST_SHARDS):
        if shards.is_dir():
            try:
                stored = FileSystemReader(shards).read_metadata().storage_data
            except OSError:
                return False
            if not all((shards / each.relative_path).exists() for each in stored.values()):
                return False
    return True


def read_progress(folder: Path) -> Progress:
    """Returns how far training was when the checkpoint was written."""
    return Progress.from_json(json.loads((folder / PROGRESS).read_text(encoding="utf-8")))
