"""Are the files of a cached pair what its `pair.json` says? Hashed once, and when they change.

A file that has the same size, times and place on disk as when it was hashed was not written to
since: whatever writes to a file, or puts another in its place, changes its `ctime`, which nobody
can set.
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
# Of the coarsest clock that a file system may have.
_TICK_NS = 2_000_000_000


def verify(folder: Path, manifest: PairManifest) -> None:
    """Checks a cached pair's files.

    Args:
        folder: Holds `pair.json` and both weights files.
        manifest: Of the pair, as just read.

    Raises:
        RegistryError: Naming the file that is missing or damaged.
    """
    before = _states(folder)
    if before is not None and before == _read(folder):
        return
    for half in HALVES:
        check_weights(folder, half, manifest)
    if before is not None and before == _states(folder) and _is_at_rest(before):
        _write(folder, before)


def _states(folder: Path) -> dict[str, list[int]] | None:
    """What changes when a file does; `None` if one is missing."""
    states: dict[str, list[int]] = {}
    for name in (MANIFEST_FILE, *map(weights_file, HALVES)):
        try:
            found = (folder / name).stat()
        except OSError:
            return None
        states[name] = [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]
    return states


def _is_at_rest(states: dict[str, list[int]]) -> bool:
    """Whether the files' times are past: within one tick of a clock, two writes look the same."""
    newest_ns = max(changed_ns for _, _, changed_ns, _ in states.values())
    return time.time_ns() - newest_ns > _TICK_NS


def _read(folder: Path) -> object:
    try:
        return json.loads((folder / _RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _write(folder: Path, states: dict[str, list[int]]) -> None:
    """A record that cannot be kept, as on a disk that is full, costs hashing again."""
    try:
        descriptor, name = tempfile.mkstemp(dir=folder, prefix=".verified-")
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump(states, stream)
        Path(name).replace(folder / _RECORD)
    except OSError:
        return
