"""How this process gets its memory: what a step frees is kept for the next."""

from __future__ import annotations

import ctypes
import gc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# glibc's names in malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_LARGEST_INT = 2**31 - 1
_LARGEST_MMAP_THRESHOLD = 32 << 20
_is_kept = False

# The same for a process that is yet to be started.
ENVIRONMENT = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_TRIM_THRESHOLD_": str(_LARGEST_INT),
    "MALLOC_MMAP_THRESHOLD_": str(_LARGEST_MMAP_THRESHOLD),
}


def keep_freed_memory() -> None:
    """Keeps freed memory in this process; before the thread that needs it is started.

    By default glibc gives the tensors of a step back to the system at its end, and each page is
    filled with zeros when it is asked for again: a fifth of the time of a convolutional net.
    One arena, since those of other threads are too small for such tensors. Does nothing where
    the C library is another.
    """
    global _is_kept
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        _is_kept = True
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
        mallopt(_M_TRIM_THRESHOLD, _LARGEST_INT)


def freed_memory_is_kept() -> bool:
    """Whether this process keeps it, so that large tensors cost no more than small ones."""
    return _is_kept


def free_memory_of(device: torch.device) -> None:
    """Gives back what a training that is over left of a GPU's memory; on a CPU nothing.

    A trainer and its module hold each other, and so do a step and its recording.
    """
    if device.type != "cuda":
        return
    import torch

    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
