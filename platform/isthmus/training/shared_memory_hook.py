"""Gradients of CPU workers of one machine are averaged in memory that all have mapped.

A process group's message between two processes of one machine takes as long as a small net's
backward pass, and most of that is waiting to be woken. This is a communication hook of
DistributedDataParallel, as torch's own are.
"""

# DistributedDataParallel looks at the hook's annotations, which must not be strings.

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

from isthmus.training.strategies import WorkerContext

# A worker looks for the others without a pause for so long; then one of them may need its core.
_SPINNING_S = 2e-3
_PAUSE_S = 5e-5
# Ray notices a lost worker much earlier, and ends the others.
_TIMEOUT_S = 1800.0
# Counters lie a cache line apart, so that what one worker writes does not disturb its neighbour's.
_LINE = 64
_ORDERED = ("x86_64", "AMD64")


def suits_shared_memory(context: WorkerContext) -> bool:
    """Returns whether all workers are on the CPUs of one machine.

    The hook has no fences: it relies on x86, where a worker's writes are seen in their order.
    """
    return (
        context.device.type == "cpu"
        and context.workers_here == context.workers > 1
        and platform.machine() in _ORDERED
    )


class SharedGradients:
    """Room for every worker's gradients, twice: one is written while the other may be read."""

    def __init__(self, module: nn.Module, context: WorkerContext) -> None:
        """Args:
        module: Its gradients are exchanged; all workers call this together.
        context: Which worker this is.
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
        """Returns the mean of all workers' gradients of a bucket, the same to the last bit on all.

        Who has arrived at a step has read all of the step before, whose room is then written anew.
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
        """Returns when all workers are here, and what they wrote before can be read."""
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
    """Averages a bucket of float32 gradients, as `DistributedDataParallel.register_comm_hook`."""
    future: Future[Tensor] = Future()
    future.set_result(state.average(bucket))
    return future


def _map_together(rank: int, size_bytes: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Returns zeros that all workers have mapped; they are freed when the last of them ends."""
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
        # Without the class, whose every access is a call of Python's.
        mapped = np.asarray(np.memmap(path, np.uint8, "r+", shape=(size_bytes,)))
        distributed.barrier()
    finally:
        if rank == 0:
            path.unlink(missing_ok=True)
    return mapped
