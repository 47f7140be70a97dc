"""Verifies the files of a cached pair; hashes them once, and again when they change.

A file that has the same size, times and inode as when it was hashed has not been written to since:
any write to a file, or its replacement, changes its `ctime`, which no program can set.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path

from isthmus.bundle.manifest import (
    HALVES,
    MANIFEST_FILE,
    PairManifest,
    check_weights,
    weights_file,
)

_RECORD = "verified.json"
# The resolution of the coarsest clock that a file system may have.
_TICK_NS = 2_000_000_000


def verify(folder: Path, manifest: PairManifest) -> None:
    """Checks the hashes of a cached pair's files.

    Args:
        folder: The folder with `pair.json` and both weights files.
        manifest: The pair's manifest, as just read.

    Raises:
        RegistryError: If a file is missing or damaged. The message names it.
    """
    before = _states(folder)
    if before is not None and before == _read(folder):
        return
    for half in HALVES:
        check_weights(folder, half, manifest)
    if before is not None and before == _states(folder) and _is_at_rest(before):
        _write(folder, before)


def _states(folder: Path) -> dict[str, list[int]] | None:
    """Returns what changes when a file does (size, times, inode); `None` if a file is missing."""
    states: dict[str, list[int]] = {}
    for name in (MANIFEST_FILE, *map(weights_file, HALVES)):
        try:
            found = (folder / name).stat()
        except OSError:
            return None
        states[name] = [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]
    return states


def _is_at_rest(states: dict[str, list[int]]) -> bool:
    """Returns whether the files last changed more than one clock tick ago.

    Two writes within one tick look the same.
    """
    newest_ns = max(changed_ns for _, _, changed_ns, _ in states.values())
    return time.time_ns() - newest_ns > _TICK_NS


def _read(folder: Path) -> object:
    try:
        return json.loads((folder / _RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _write(folder: Path, states: dict[str, list[int]]) -> None:
    """Stores the record; if that fails, as on a full disk, the files are hashed again next time."""
    try:
        descriptor, name = tempfile.mkstemp(dir=folder, prefix=".verified-")
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump(states, stream)
        Path(name).replace(folder / _RECORD)
    except OSError:
        return
