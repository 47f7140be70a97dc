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
    """Writes the sum over all workers of a vector that lies in parts; all must call it."""

    def __call__(self, parts: Sequence[Tensor], total: Tensor) -> None:
        """Args:
        parts: Of one axis each; one after another they are the vector.
        total: Shape (size,).
        """


def exchange_for(size: int, workers: int, workers_here: int, device: torch.device) -> Exchange:
    """The fastest way to sum vectors of `size` float32 numbers.

    Args:
        size: Numbers in each.
        workers: That take part; all must call this together.
        workers_here: Of them on this machine.
        device: Where the vectors lie.
    """
    # Without fences of its own it relies on x86, where a worker's writes are seen in their order.
    if device.type == "cpu" and workers_here == workers and platform.machine() in _ORDERED:
        return MemoryExchange(size, distributed.get_rank(), workers)
    return GroupExchange()


_ORDERED = ("x86_64", "AMD64")


class GroupExchange:
    """Through torch's process group: NCCL, or gloo."""

    def __call__(self, parts: Sequence[Tensor], total: Tensor) -> None:
        """As `Exchange`."""
        torch.cat(list(parts), out=total)
        distributed.all_reduce(total)


class MemoryExchange:
    """Through a file in memory that every worker of this machine has mapped.

    Each call writes to the half of the file that the call before did not: whoever is at this call
    has read what the last but one wrote, so that nobody writes where another still reads.
    """

    def __init__(self, size: int, rank: int, workers: int) -> None:
        """Args:
        size: Numbers in each vector.
        rank: This worker, from 0.
        workers: That take part; all must make theirs together.
        """
        self._rank = rank
        self._others = [other for other in range(workers) if other != rank]
        self._calls = 0
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
            self._slots = torch.from_numpy(slots)
            distributed.barrier()
        finally:
            if rank == 0:
                path.unlink(missing_ok=True)  # what is mapped stays until the last worker ends

    def __call__(self, parts: Sequence[Tensor], total: Tensor) -> None:
        """As `Exchange`; the sum is taken in the workers' order, so that all have the same."""
        self._calls += 1
        slots = self._slots[self._calls % 2]
        torch.cat(list(parts), out=slots[self._rank])
        self._arrived[self._rank] = self._calls
        self._wait()
        torch.add(slots[0], slots[1], out=total)
        for other in slots[2:]:
            total.add_(other)

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
