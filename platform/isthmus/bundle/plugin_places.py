"""Decides whether a file with code counts as installed: only if the user put it where it lies.

`pair.json` says which file the job named, and whoever can write to the registry writes that. So a
file counts for nothing where the registry's content is put, or where everybody may put files.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

_PAIR_FILE = "pair.json"
# The home of Isthmus, the folders of MLflow, and what lies below the artifacts of a run or model.
_STORE = re.compile(r"/(\.isthmus|mlruns|mlartifacts|([0-9a-f]{32}|m-[0-9a-f]+)/artifacts)/")


def is_of_user(file: Path, fetched: Path | None = None) -> bool:
    """Returns whether a file is where only the user of this machine puts files.

    Args:
        file: The file.
        fetched: The folder of the fetched pair that names it, beside which other pairs are.
    """
    real = file.resolve()
    if _STORE.search(real.as_posix()):
        return False
    if fetched is not None and real.is_relative_to(fetched.resolve().parent):
        return False
    if any((folder / _PAIR_FILE).exists() for folder in real.parents):
        return False
    return not _is_of_anybody(real)


def _is_of_anybody(file: Path) -> bool:
    """Returns whether another user may have put a file here, as into /tmp."""
    if not hasattr(os, "getuid") or file.stat().st_uid == os.getuid():
        return False
    return any(folder.stat().st_mode & stat.S_IWOTH for folder in file.parents)
