"""The garbage collector and the threads of the processes that run nothing but Isthmus.

These are the commands' own process and the workers of a Ray that Isthmus starts. The process of a
user who imports `isthmus` is left as it is.
"""

from __future__ import annotations

import atexit
import gc

_NEW_OBJECTS = 50_000  # Python's own number is 700, and 2000 from 3.12 on
_usual: tuple[int, int, int] | None = None


def begin() -> None:
    """Makes the garbage collector look for garbage less often, and not at the end of the process.

    torch, Lightning and MLflow make a million objects that stay until the process ends. With
    Python's default the collector goes through them again and again while they are imported, and
    once more when the process ends: together more than a third of the CPU time of a short command.
    In a user's process, the collector may have to flush a file that only garbage refers to.
    """
    global _usual
    _usual = _usual or gc.get_threshold()
    gc.set_threshold(_NEW_OBJECTS)
    atexit.register(gc.freeze)


def settle() -> None:
    """Prepares the process for its work, once torch is imported; does nothing in a user's process.

    The collector is back to its usual pace: a training step leaves some objects that refer to each
    other, and with them its activations, and those of thousands of steps would fill the memory.
    torch takes no more threads than the CPUs that the process may use; by itself it does not know a
    container's quota, and takes a thread for each core of the host.
    """
    if _usual is None:
        return
    import torch

    from isthmus import resources

    gc.set_threshold(*_usual)
    torch.set_num_threads(min(torch.get_num_threads(), resources.threads()))
