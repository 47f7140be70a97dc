"""The files of a checkpoint: the state to resume exactly, and the best weights so far.

`last.ckpt` is Lightning's checkpoint (weights, optimizer, loops), `best.safetensors` holds the
weights of the best epoch, and `progress.json` the progress of training. One checkpoint holds both
sets of weights, so that only the newest must be kept. If FSDP shards the model, `last.ckpt` and
`best` are folders of shards, written by `torch.distributed.checkpoint`. Under some communication
hooks each worker has a state of its own, in a file like `worker-1-of-2.pt`.
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
_BEST_SHARDS = "best"
PROGRESS = "progress.json"


@dataclass
class Progress:
    """The progress of a training run.

    Attributes:
        epochs: Number of finished epochs.
        rows_done: Rows of the unfinished epoch after them that all workers have trained on.
        best_epoch: The epoch, counted from 1, with the lowest validation loss; 0 before the first,
            and as long as none is better than the start.
        best_loss: The validation loss of the best epoch, or of the start.
        global_batch_size: Rows of one optimizer step, as chosen when training began.
        attempt: The number of times that training was started, including restarts and resumes.
        finished: Whether training reached its end, and was not interrupted.
        history: The reports of all finished epochs.
        start: The validation losses of the weights that training started with, as those of an epoch
            0; `None` if it drew them, or if they cannot be compared with those of later epochs.
    """

    epochs: int = 0
    rows_done: int = 0
    best_epoch: int = 0
    best_loss: float = float("inf")
    global_batch_size: int = 0
    attempt: int = 1
    finished: bool = False
    history: list[EpochReport] = field(default_factory=list)
    start: EpochReport | None = None

    @property
    def best(self) -> EpochReport:
        """The report of the best epoch, or of the start if none was better; one is finished."""
        if self.best_epoch == 0 and self.start is not None:
            return self.start
        return self.history[self.best_epoch - 1]

    @property
    def with_start(self) -> list[EpochReport]:
        """The reports of the start, if there is one, and of all finished epochs."""
        return self.history if self.start is None else [self.start, *self.history]

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Progress:
        """Creates the progress from what `dataclasses.asdict` returned."""
        history = [EpochReport(**report) for report in content["history"]]
        start = content.get("start")
        begun = None if start is None else EpochReport(**start)
        return cls(**{**content, "history": history, "start": begun})


def write_best(folder: Path, best: Mapping[str, Tensor]) -> None:
    """Writes the unsharded weights of the best epoch; there are none before the first one ends."""
    save_file({name: tensor.contiguous().cpu() for name, tensor in best.items()}, folder / _BEST)


def write_progress(folder: Path, progress: Progress) -> None:
    """Writes the progress of training."""
    (folder / PROGRESS).write_text(json.dumps(asdict(progress)), encoding="utf-8")


def read_best(folder: Path) -> dict[str, Tensor]:
    """Returns the weights of the best epoch on the CPU, with shards merged into whole tensors."""
    if has_best_shards(folder):
        return _merged_shards(folder / _BEST_SHARDS)
    if not (folder / _BEST).exists():
        return {}  # sharded training saves none before the first epoch ends
    best: dict[str, Tensor] = load_file(folder / _BEST)
    return best


def has_best_shards(folder: Path) -> bool:
    """Returns whether the weights of the best epoch are shards."""
    return (folder / _BEST_SHARDS).is_dir()


def write_best_shards(folder: Path, best: Mapping[str, Any]) -> None:
    """Writes the weights of the best epoch, of which each worker has shards; all must call it."""
    from torch.distributed.checkpoint.state_dict_saver import save

    save({**best}, checkpoint_id=folder / _BEST_SHARDS)


def load_best_shards(folder: Path, best: Mapping[str, Any]) -> None:
    """Reads each worker's shards of the best weights into tensors; all workers must call it."""
    from torch.distributed.checkpoint.state_dict_loader import load

    load({**best}, checkpoint_id=folder / _BEST_SHARDS)


def write_worker_state(folder: Path, rank: int, workers: int, state: Mapping[str, Any]) -> None:
    """Writes the state that only one worker has; it may contain tensors."""
    import torch

    torch.save(dict(state), folder / _worker_file(rank, workers))


def read_worker_state(folder: Path, rank: int, workers: int) -> dict[str, Any] | None:
    """Returns a worker's own state on the CPU; `None` if there is none for so many workers."""
    import torch

    path = folder / _worker_file(rank, workers)
    if not path.exists():
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def _worker_file(rank: int, workers: int) -> str:
    return f"worker-{rank + 1}-of-{workers}.pt"


def _has_all_worker_states(folder: Path) -> bool:
    names = {path.name for path in folder.glob("worker-*-of-*.pt")}
    if not names:
        return True
    workers = int(next(iter(names)).removesuffix(".pt").rpartition("-")[2])
    return names == {_worker_file(rank, workers) for rank in range(workers)}


def _merged_shards(folder: Path) -> dict[str, Tensor]:
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
    """Returns whether a checkpoint has all its files; each worker stores its own separately."""
    if not (folder / PROGRESS).exists() or not _has_all_worker_states(folder):
        return False
    sharded = [each for each in (folder / LAST, folder / _BEST_SHARDS) if each.is_dir()]
    return all(_has_all_shards(each) for each in sharded)


def _has_all_shards(folder: Path) -> bool:
    from torch.distributed.checkpoint.filesystem import FileSystemReader

    try:
        stored = FileSystemReader(folder).read_metadata().storage_data
    except OSError:
        return False
    return all((folder / each.relative_path).exists() for each in stored.values())


def read_progress(folder: Path) -> Progress:
    """Returns the progress of training when the checkpoint was written."""
    return Progress.from_json(json.loads((folder / PROGRESS).read_text(encoding="utf-8")))
