"""Averages the gradients of CPU workers on one machine in shared memory.

A process group's message between two processes of one machine takes as long as a small net's
backward pass, and most of that time goes into waking the receiver. This is a communication hook
for DistributedDataParallel, like torch's own.
"""

# No `from __future__ import annotations`: DistributedDataParallel rejects string annotations.

import os
import platform
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.distributed import GradBucket  # type: ignore[attr-defined]
from torch.futures import Future

from isthmus.strategies.context import WorkerContext

# How long a worker spins while it waits for the others; then one of them may need its core.
_SPINNING_S = 2e-3
_PAUSE_S = 5e-5
# Ray notices a lost worker much earlier, and ends the others.
_TIMEOUT_S = 1800.0
# Counters are a cache line apart, so that no worker's writes invalidate another's (false sharing).
_LINE = 64
_ORDERED = ("x86_64", "AMD64")


def suits_shared_memory(context: WorkerContext) -> bool:
    """Returns whether all workers run on the CPUs of one x86 machine.

    The hook uses no memory fences: it relies on x86, where a worker's writes are seen in order.
    """
    return (
        context.device.type == "cpu"
        and context.workers_here == context.workers > 1
        and platform.machine() in _ORDERED
    )


class SharedGradients:
    """Two shared buffers for all workers' gradients: one is written while the other is read."""

    def __init__(self, module: nn.Module, context: WorkerContext) -> None:
        """Maps the buffers; all workers must call this together.

        Args:
            module: The module whose gradients are averaged.
            context: The rank and device of this worker.
        """
        self._rank, self._workers = context.rank, context.workers
        self._steps = self._meetings = self._offset = 0
        numbers = sum(each.numel() for each in module.parameters() if each.requires_grad)
        counters = _LINE * self._workers
        memory = _map_together(self._rank, counters + 2 * self._workers * numbers * 4)
        self._arrived = memory[:counters].view(np.int64)[:: _LINE // 8]
        gradients = torch.from_numpy(memory[counters:].view(np.float32))
        self._slots = gradients.view(2, self._workers, numbers)

    def average(self, bucket: GradBucket) -> Tensor:
        """Returns the mean of all workers' gradients of a bucket, bitwise equal on all workers.

        A worker that arrives at a step has read all of the step before, so that step's buffer can
        be overwritten.
        """
        mine: Tensor = bucket.buffer()
        end = self._offset + mine.numel()
        slots = self._slots[self._steps % 2, :, self._offset : end]
        slots[self._rank].copy_(mine)
        self._meet()
        torch.sum(slots, dim=0, out=mine)
        self._offset = end
        if bucket.is_last():
            self._offset, self._steps = 0, self._steps + 1
        return mine.div_(self._workers)

    def _meet(self) -> None:
        """Waits until all workers are here, and what they wrote before can be read."""
        self._meetings += 1
        self._arrived[self._rank] = self._meetings
        began_s = time.monotonic()
        while self._arrived.min() < self._meetings:
            waited_s = time.monotonic() - began_s
            if waited_s > _TIMEOUT_S:
                raise TimeoutError("another worker of this machine did not come to the same step")
            if waited_s > _SPINNING_S:
                time.sleep(_PAUSE_S)
            else:
                os.sched_yield()


def shared_memory_hook(state: SharedGradients, bucket: GradBucket) -> Future[Tensor]:
    """Averages a bucket of float32 gradients; for `DistributedDataParallel.register_comm_hook`."""
    future: Future[Tensor] = Future()
    future.set_result(state.average(bucket))
    return future


def _map_together(rank: int, size_bytes: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Returns zeroed memory that all workers map; it is freed when the last of them ends."""
    memory = Path("/dev/shm")  # noqa: S108 (the file has a random name, and is for its owner alone)
    has_room = memory.is_dir() and shutil.disk_usage(memory).free > size_bytes
    folder = memory if has_room else Path(tempfile.gettempdir())
    chosen: list[Any] = [str(folder / f"isthmus-{os.urandom(8).hex()}") if rank == 0 else None]
    distributed.broadcast_object_list(chosen, src=0)
    path = Path(chosen[0])
    try:
        if rank == 0:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
            os.posix_fallocate(descriptor, 0, size_bytes)
            os.close(descriptor)
        distributed.barrier()
        # A plain array: every access to an `np.memmap` would run Python code.
        mapped = np.asarray(np.memmap(path, np.uint8, "r+", shape=(size_bytes,)))
        distributed.barrier()
    finally:
        if rank == 0:
            path.unlink(missing_ok=True)
    return mapped
