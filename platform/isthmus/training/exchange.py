"""Sums over workers: through the process group, or, on one machine's CPUs, through its memory.

A process group's message between two processes of one machine takes as long as a small net's
backward pass, and most of that is waiting to be woken. Memory that both have mapped, and a worker
that looks at it until the others are there, take a tenth of it.
"""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, distributed

# Looked at without a pause for so long; then the worker that is waited for may need the core.
_SPINNING_S = 2e-3
_PAUSE_S = 5e-5
# A worker that was lost is noticed by Ray, which ends the others.
_TIMEOUT_S = 1800.0
_CACHE_LINE = 64


class Exchange(Protocol):
    """Sums tensors over all workers; all must call it together."""

    def __call__(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        """Args:
            tensors: This worker's, in the shapes it was made for; they may be overwritten.

        Returns:
            The sums, the same on all workers; good until the next call.
        """


def exchange_for(like: Sequence[Tensor], workers: int, workers_here: int) -> Exchange:
    """The fastest way to sum tensors.

    Args:
        like: Of their shapes, float32, where they lie; all workers call this together.
        workers: That take part.
        workers_here: Of them on this machine.
    """
    on_cpu = like[0].device.type == "cpu"
    # Without fences of its own it relies on x86, where a worker's writes are seen in their order.
    if on_cpu and workers_here == workers and platform.machine() in _ORDERED:
        return MemoryExchange(like, distributed.get_rank(), workers)
    return GroupExchange(like)


_ORDERED = ("x86_64", "AMD64")


class GroupExchange:
    """Through torch's process group, NCCL or gloo, in one message."""

    def __init__(self, like: Sequence[Tensor]) -> None:
        """As `exchange_for`."""
        self._total = like[0].new_empty(_size(like))
        self._sums = _views(self._total, like)

    def __call__(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        """As `Exchange`."""
        torch.cat([each.flatten() for each in tensors], out=self._total)
        distributed.all_reduce(self._total)
        return self._sums


class MemoryExchange:
    """Through a file in memory that every worker of this machine has mapped.

    Each call writes to the half of the file that the call before did not: whoever is at this call
    has read what the last but one wrote, so that nobody writes where another still reads.
    """

    def __init__(self, like: Sequence[Tensor], rank: int, workers: int) -> None:
        """Args:
        like: As in `exchange_for`.
        rank: This worker, from 0.
        workers: That take part; all must make theirs together.
        """
        self._rank = rank
        self._others = [other for other in range(workers) if other != rank]
        self._calls = 0
        size = _size(like)
        path = _shared_path(rank)
        try:
            if rank == 0:
                _make(path, workers * _CACHE_LINE + 2 * workers * size * 4)
            distributed.barrier()
            arrivals = workers * _CACHE_LINE // 8
            # One in each cache line, so that a worker's arrival does not disturb its neighbour's.
            self._arrived = np.memmap(path, np.int64, "r+", shape=(arrivals,))[:: _CACHE_LINE // 8]
            slots = np.memmap(
                path, np.float32, "r+", workers * _CACHE_LINE, shape=(2, workers, size)
            )
            self._slots = [
                [_views(slot, like) for slot in half] for half in torch.from_numpy(slots)
            ]
            distributed.barrier()
        finally:
            if rank == 0:
                path.unlink(missing_ok=True)  # what is mapped stays until the last worker ends

    def __call__(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        """As `Exchange`; the sums take the place of the tensors, which are in the cache."""
        self._calls += 1
        slots = self._slots[self._calls % 2]
        for tensor, mine in zip(tensors, slots[self._rank], strict=True):
            mine.copy_(tensor)
        self._arrived[self._rank] = self._calls
        self._wait()
        if len(self._others) == 1:
            _add(tensors, slots[self._others[0]])
            return tensors
        # Of more than two numbers the sum depends on the order, and all workers must have the same.
        for tensor, first in zip(tensors, slots[0], strict=True):
            tensor.copy_(first)
        for others in slots[1:]:
            _add(tensors, others)
        return tensors

    def _wait(self) -> None:
        """Until all workers are at this call."""
        began_s = time.monotonic()
        arrived, calls = self._arrived, self._calls
        for other in self._others:
            while arrived[other] < calls:
                waited_s = time.monotonic() - began_s
                if waited_s > _TIMEOUT_S:
                    raise TimeoutError(
                        "another worker of this machine did not come to the same step"
                    )
                if waited_s > _SPINNING_S:
                    time.sleep(_PAUSE_S)
                else:
                    os.sched_yield()


def _size(tensors: Sequence[Tensor]) -> int:
    return sum(each.numel() for each in tensors)


def _views(flat: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Parts of one vector, one after another, in the shapes of tensors."""
    parts = torch.split(flat, [each.numel() for each in like])
    return [part.view_as(each) for part, each in zip(parts, like, strict=True)]


def _add(tensors: Sequence[Tensor], others: Sequence[Tensor]) -> None:
    for tensor, other in zip(tensors, others, strict=True):
        tensor.add_(other)


def _shared_path(rank: int) -> Path:
    """A name that the first worker chose."""
    memory = Path("/dev/shm")  # noqa: S108 (the file is made with a random name, and for us alone)
    folder = memory if memory.is_dir() else Path(tempfile.gettempdir())
    chosen: list[object] = [str(folder / f"isthmus-{os.urandom(8).hex()}") if rank == 0 else None]
    distributed.broadcast_object_list(chosen, src=0)
    return Path(str(chosen[0]))


def _make(path: Path, size_bytes: int) -> None:
    """A file of zeros that only its owner can read."""
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size_bytes)
    finally:
        os.close(descriptor)
