"""The pace of Python's garbage collector in the processes that run nothing but Isthmus."""

from __future__ import annotations

import atexit
import gc

_NEW_OBJECTS = 50_000  # Python's own number is 700, and 2000 from 3.12 on


def collect_rarely() -> None:
    """Makes the garbage collector look for garbage less often in this process, and not at its end.

    torch, Lightning and MLflow make a million objects that stay until the process ends. With
    Python's default the collector goes through them again and again while they are imported, and
    once more when the process ends: together more than a third of the CPU time of a short command.

    This is for processes that run nothing but Isthmus. At the end of a user's own process, the
    collector may have to flush a file that only garbage refers to.
    """
    gc.set_threshold(_NEW_OBJECTS)
    atexit.register(gc.freeze)
