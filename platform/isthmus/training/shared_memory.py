"""Memory that all workers of one machine have mapped, and where they meet.

A process group's message between two processes of one machine takes as long as a small net's
backward pass, and most of that is waiting to be woken. Memory that both have mapped, and a worker
that looks at it until the others are there, take a tenth of it.
"""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
import time
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn

# Looked at without a pause for so long; then the worker that is waited for may need the core.
_SPINNING_S = 2e-3
_PAUSE_S = 5e-5
# A worker that was lost is noticed by Ray, which ends the others.
_TIMEOUT_S = 1800.0
# One worker's three numbers, so that what it writes does not disturb its neighbour's.
_LINE = np.dtype(
    {
        "names": ["arrived", "leaving", "squared_norm"],
        "formats": [np.int64, np.int64, np.float64],
        "itemsize": 64,
    }
)
# Numbers of a cache line.
_ALIGNED_TO = 16
_ORDERED = ("x86_64", "AMD64")


def suits_memory(module: nn.Module, workers: int, workers_here: int) -> bool:
    """Whether the workers can share memory: all on one machine's CPUs."""
    # Without fences of its own it relies on x86, where a worker's writes are seen in their order.
    on_cpu = all(each.device.type == "cpu" for each in module.parameters())
    return on_cpu and workers_here == workers and platform.machine() in _ORDERED


class SharedMemory:
    """Tensors and a few numbers that every worker can read and write.

    Attributes:
        slots: As many times the tensors as were asked for.
        leaving: Of each worker, whether it is to leave the epoch.
        squared_norm: Of each worker, for what is its own.
    """

    def __init__(self, like: Sequence[Tensor], rank: int, workers: int, slots: int) -> None:
        """Args:
        like: Tensors of the shapes to share, float32; all workers call this together.
        rank: This worker, from 0.
        workers: That take part.
        slots: How often the tensors are there.
        """
        self._rank = rank
        self._others = [other for other in range(workers) if other != rank]
        self._meetings = 0
        places, lines_end = _places(like), workers * _LINE.itemsize
        memory = _map_together(rank, lines_end + slots * places[-1] * 4)
        lines = memory[:lines_end].view(_LINE)
        self._arrived = lines["arrived"]
        self.leaving, self.squared_norm = lines["leaving"], lines["squared_norm"]
        numbers = torch.from_numpy(memory[lines_end:].view(np.float32).reshape(slots, -1))
        self.slots = [_views(slot, places, like) for slot in numbers]

    def meet(self) -> None:
        """Returns when all workers are here, and all that they wrote before can be read."""
        self.arrive()
        self.wait()

    def arrive(self) -> None:
        """Tells the others that this worker is here, and has written what it had to.

        What it does between this and `wait` takes nothing of the time that it would wait for one
        that is late (Gupta 1989, "The fuzzy barrier", ASPLOS III).
        """
        self._meetings += 1
        self._arrived[self._rank] = self._meetings

    def wait(self) -> None:
        """Returns when all others have arrived as often as this worker."""
        arrived, meetings = self._arrived, self._meetings
        began_s = time.monotonic()
        for other in self._others:
            while arrived[other] < meetings:
                waited_s = time.monotonic() - began_s
                if waited_s > _TIMEOUT_S:
                    raise TimeoutError(
                        "another worker of this machine did not come to the same step"
                    )
                if waited_s > _SPINNING_S:
                    time.sleep(_PAUSE_S)
                else:
                    os.sched_yield()


def _places(tensors: Sequence[Tensor]) -> list[int]:
    """Where each begins, at cache lines, if they lie one after another; and where the last ends."""
    lengths = (-(-each.numel() // _ALIGNED_TO) * _ALIGNED_TO for each in tensors)
    return list(accumulate(lengths, initial=0))


def _views(flat: Tensor, places: Sequence[int], like: Sequence[Tensor]) -> list[Tensor]:
    return [
        flat[first : first + each.numel()].view_as(each)
        for first, each in zip(places, like, strict=False)
    ]


def _map_together(rank: int, size_bytes: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Zeros that all workers have mapped; they are freed when the last of them ends."""
    folder = _folder(size_bytes)
    chosen: list[Any] = [str(folder / f"isthmus-{os.urandom(8).hex()}") if rank == 0 else None]
    distributed.broadcast_object_list(chosen, src=0)
    path = Path(chosen[0])
    try:
        if rank == 0:
            _make(path, size_bytes)
        distributed.barrier()
        # Without the class, whose every access is a call of Python's.
        mapped = np.asarray(np.memmap(path, np.uint8, "r+", shape=(size_bytes,)))
        distributed.barrier()
    finally:
        if rank == 0:
            path.unlink(missing_ok=True)
    return mapped


def _folder(size_bytes: int) -> Path:
    """In memory if it has room (a container's has 64 MB), else where the disk's cache serves."""
    memory = Path("/dev/shm")  # noqa: S108 (the file is made with a random name, and for us alone)
    if memory.is_dir() and shutil.disk_usage(memory).free > size_bytes:
        return memory
    return Path(tempfile.gettempdir())


def _make(path: Path, size_bytes: int) -> None:
    """A file of zeros that only its owner can read."""
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size_bytes)
    finally:
        os.close(descriptor)
