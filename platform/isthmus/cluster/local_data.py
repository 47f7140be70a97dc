"""The files of this machine that travel with a submitted job: its data and its plugins."""

from __future__ import annotations

import glob
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from isthmus.data.opening import all_endings
from isthmus.data.storage.files import names_below
from isthmus.errors import DataError
from isthmus.plugins import PluginFile
from isthmus.spec import DataSpec
from isthmus.spec.paths import SQLITE, expanded, file_of, local_paths, with_paths

LARGEST_LOCAL_DATA_BYTES = 50 * 2**20
"""The most that travels with a job: Ray keeps it in the head's memory and sends it to each node."""
_DATA_FOLDER = "data"
_PLUGINS_FOLDER = "plugins"


def absolute(data: DataSpec) -> DataSpec:
    """Returns a job's data with absolute paths, for a job that runs in another folder here."""
    moved = {path: f"{_prefix(path)}{file_of(path).absolute()}" for path in local_paths(data)}
    return with_paths(data, moved)


def sent_along(data: DataSpec, working_dir: Path) -> DataSpec:
    """Copies the files of this machine that a job reads into the folder that is sent.

    Args:
        data: The job's data. Each of their paths may be a file, a folder or a glob.
        working_dir: The folder that is sent, in which the job will run.

    Returns:
        The data with the paths that the files have in that folder.

    Raises:
        DataError: If a file is missing or cannot be read, or if the files are too large to travel.
    """
    paths = local_paths(data)
    total_bytes = size_bytes(paths)
    if total_bytes > LARGEST_LOCAL_DATA_BYTES:
        raise DataError(
            f"{', '.join(paths)}: {total_bytes / 2**20:,.0f} MiB on this machine, and at most "
            f"{LARGEST_LOCAL_DATA_BYTES >> 20} MiB travel with a job; put it on S3 and set "
            "data.path to s3://BUCKET/KEY"
        )
    moved = {}
    for number, path in enumerate(paths):
        # Files of the same name may come from several folders.
        target = f"{_DATA_FOLDER}-{number + 1}" if number else _DATA_FOLDER
        base, rest = _split(path)
        files = _files(path)
        if not files:
            raise DataError(f"{path}: no such file or folder; check data.path")
        for file in files:
            copy = working_dir / target / file.relative_to(base)
            copy.parent.mkdir(parents=True, exist_ok=True)
            if _prefix(path):
                _copy_database(file, copy)
                continue
            try:
                shutil.copyfile(file, copy)
            except OSError as error:
                raise DataError(f"{file}: cannot be read: {error.strerror or error}") from error
        moved[path] = f"{_prefix(path)}{target}/{rest}"
    return with_paths(data, moved)


def plugins_sent_along(paths: Sequence[str], working_dir: Path) -> tuple[str, ...]:
    """Copies the files with a job's plugins into the folder that is sent.

    Args:
        paths: The files, as the checked job names them.
        working_dir: The folder that is sent, which holds the job file.

    Returns:
        The paths that they have there, relative to the job file.

    Raises:
        UsageError: If one cannot be read any more.
    """
    folder = working_dir / _PLUGINS_FOLDER
    for path in paths:
        file = PluginFile.read(Path(path))
        folder.mkdir(exist_ok=True)
        (folder / file.name).write_bytes(file.content)
    return tuple(f"{_PLUGINS_FOLDER}/{Path(path).name}" for path in paths)


def size_bytes(paths: Sequence[str]) -> int:
    """Returns the size of all files of some paths; a file that two of them name counts once."""
    return sum(file.stat().st_size for file in {file for path in paths for file in _files(path)})


def _prefix(path: str) -> str:
    return SQLITE if path.startswith(SQLITE) else ""


def _copy_database(file: Path, copy: Path) -> None:
    """Copies a SQLite database whole, with what still lies in the log beside its file."""
    try:
        with (
            closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as source,
            closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
            target.execute("PRAGMA journal_mode = DELETE")  # the copy is one file, and stays one
    except sqlite3.Error as error:
        raise DataError(f"{file}: cannot be read: {error}") from error


def _split(path: str) -> tuple[Path, str]:
    """Returns the folder that a path is copied from, and the rest: a name, or a glob's pattern."""
    if _prefix(path):
        return file_of(path).parent, file_of(path).name
    parts = Path(path).expanduser().parts
    is_pattern = glob.has_magic(path) and not Path(path).expanduser().exists()
    signs = [number for number, part in enumerate(parts) if glob.has_magic(part)]
    first = signs[0] if is_pattern else len(parts) - 1
    return Path(*parts[:first]), "/".join(parts[first:])


def _files(path: str) -> list[Path]:
    """Returns the files of a path, which are those that the readers look at on this machine.

    Of a folder these are all that are not hidden, also behind links; of a format that is a folder,
    such as zarr, they are hidden files as well.
    """
    files: list[Path] = []
    for found in expanded(path):
        is_format = found.suffix.lower() in all_endings()
        if found.is_dir() and not is_format:
            each_below = [found / name for name in names_below(found, all_endings())]
        else:
            each_below = [found]
        for each in each_below:
            if each.is_dir():
                files += [each / name for name in names_below(each, with_hidden=True)]
            elif each.is_file():
                files.append(each)
    return files
