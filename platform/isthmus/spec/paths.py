"""The paths in a job's `data` section: those on this machine, and the section with other ones."""

from __future__ import annotations

import glob
from collections.abc import Mapping
from pathlib import Path

from isthmus.spec.data import DataSpec

# Every field that names files of rows. All else in the section (labels, categories, columns) is
# found within these files.
_FIELDS = ("path", "paired_path", "clean_path")
SQLITE = "sqlite:///"
"""The beginning of the URL of a database in a file of this machine."""
_SERVERS = ("postgresql://", "postgresql+psycopg2://")


def data_paths(data: DataSpec) -> tuple[str, ...]:
    """Returns every path that a job reads rows from, as it is written, each once."""
    found: dict[str, None] = {}
    for field in _FIELDS:
        value = getattr(data, field)
        if value is not None:
            found.update(dict.fromkeys([value] if isinstance(value, str) else value))
    return tuple(found)


def local_paths(data: DataSpec) -> tuple[str, ...]:
    """Returns the paths of `data_paths` that lie on this machine, and not on S3 or in a library."""
    return tuple(path for path in data_paths(data) if is_local(path))


def is_local(path: str) -> bool:
    """Returns whether a path is a file, a folder, a glob or a SQLite database of this machine."""
    return path.startswith(SQLITE) or ("://" not in path and not path.startswith("sklearn:"))


def is_database_server(path: str) -> bool:
    """Returns whether a path is a database on a server, which any machine may reach."""
    return path.startswith(_SERVERS)


def file_of(path: str) -> Path:
    """Returns a path of this machine without the prefix of a SQLite database."""
    return Path(path.removeprefix(SQLITE)).expanduser()


def expanded(path: str) -> list[Path]:
    """Returns what a path of this machine names: a file or a folder, or all that a glob matches."""
    local = file_of(path)
    if local.exists() or path.startswith(SQLITE):
        return [local] if local.exists() else []
    matches = glob.glob(str(local), recursive=True)  # noqa: PTH207 (Path's takes no absolute one)
    return [Path(match) for match in sorted(matches)]


def with_paths(data: DataSpec, moved: Mapping[str, str]) -> DataSpec:
    """Returns the section with some of its paths replaced.

    Args:
        data: The section.
        moved: The new path by the old one; paths that it does not name stay.
    """
    changes: dict[str, object] = {}
    for field in _FIELDS:
        value = getattr(data, field)
        if isinstance(value, str):
            changes[field] = moved.get(value, value)
        elif value is not None:
            changes[field] = tuple(moved.get(each, each) for each in value)
    return data.model_copy(update=changes)
