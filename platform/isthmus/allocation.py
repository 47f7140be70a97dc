"""Settings of the memory allocator that keep freed memory for the next step or batch."""

from __future__ import annotations

import ctypes
import gc
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# These numbers stand for the options of glibc's mallopt in malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_LARGEST_INT = 2**31 - 1
_LARGEST_MMAP_THRESHOLD = 32 << 20
# This is just below 32 MiB, the largest block by which glibc still raises its own thresholds.
_BLOCK_BYTES = 31 << 20

# A process that is started with these variables keeps freed memory as `keep_freed_memory` does.
ENVIRONMENT = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_TRIM_THRESHOLD_": str(_LARGEST_INT),
    "MALLOC_MMAP_THRESHOLD_": str(_LARGEST_MMAP_THRESHOLD),
}


def keep_freed_memory() -> None:
    """Makes glibc keep all freed memory in this process; call it before starting a training thread.

    This is for processes of our own, a command or a worker: it cannot be taken back.

    By default glibc returns the tensors of a step to the system when the step ends, and the system
    fills each page with zeros when the next step asks for it. That takes a fifth of the time of a
    convolutional net. All threads share one arena, because the arenas of further threads are too
    small for such tensors. The function does nothing where the C library is not glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
        mallopt(_M_TRIM_THRESHOLD, _LARGEST_INT)


@cache
def raise_malloc_thresholds() -> None:
    """Makes glibc keep the memory of one batch for the next, by freeing a large block once.

    glibc returns freed blocks above a threshold to the system, and the system fills each page with
    zeros when the next batch asks for it. The threshold starts at 128 KiB, and glibc raises it by
    itself to the size of the largest block up to 32 MiB that was freed so far; see M_MMAP_THRESHOLD
    in `man mallopt`. The block that is freed here is never written to, so it takes no memory.
    No option of the process is changed, and at most 62 MiB of free memory are kept. `isthmus
    detect` takes half as long with a convolutional net.
    """
    import numpy as np

    np.empty(_BLOCK_BYTES, dtype=np.uint8)


def free_memory_of(device: torch.device) -> None:
    """Frees the GPU memory that a finished training run still holds; does nothing on a CPU.

    A trainer and its module refer to each other, and so do a step and its recorded graph, so only
    the garbage collector frees them.
    """
    if device.type != "cuda":
        return
    import torch

    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
