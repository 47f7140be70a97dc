"""Temporary folders in memory, for what is read and written as a file is and is none."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MEMORY = Path("/dev/shm")  # noqa: S108 (a folder of its own is made in it)
# Results are written beside what is read, and others write there too.
_SPARE = 4


@contextmanager
def folder_in_memory(prefix: str, size_bytes: int = 0) -> Iterator[Path]:
    """Gives a temporary folder, in memory if there is such a file system and it has the room.

    Args:
        prefix: The beginning of its name.
        size_bytes: The size of what will be written to it first.
    """
    has_room = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free >= _SPARE * size_bytes
    with tempfile.TemporaryDirectory(prefix=prefix, dir=_MEMORY if has_room else None) as name:
        yield Path(name)
