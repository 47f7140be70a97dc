"""The pace of Python's garbage collector in the processes that run nothing but Isthmus."""

from __future__ import annotations

import atexit
import gc

_NEW_OBJECTS = 50_000  # Python's own number is 700, and 2000 from 3.12 on
_usual: tuple[int, int, int] | None = None


def collect_rarely() -> None:
    """Makes the garbage collector look for garbage less often, and not at the end of the process.

    torch, Lightning and MLflow make a million objects that stay until the process ends. With
    Python's default the collector goes through them again and again while they are imported, and
    once more when the process ends: together more than a third of the CPU time of a short command.

    This is for processes that run nothing but Isthmus. At the end of a user's own process, the
    collector may have to flush a file that only garbage refers to.
    """
    global _usual
    _usual = _usual or gc.get_threshold()
    gc.set_threshold(_NEW_OBJECTS)
    atexit.register(gc.freeze)


def collect_as_usual() -> None:
    """Ends `collect_rarely` once the libraries are imported; does nothing in a user's process.

    A training step leaves some objects that refer to each other, and with them its activations:
    those of thousands of steps would fill the memory.
    """
    if _usual is not None:
        gc.set_threshold(*_usual)
