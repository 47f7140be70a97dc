"""Where data lie: a local path, or an `s3://` address that is copied to a local path first."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from isthmus.errors import DataError

TABLE_ENDINGS = (".csv", ".tsv", ".parquet")
ARRAY_ENDINGS = (".npz", ".npy")
IMAGE_ENDINGS = (".png", ".jpg", ".jpeg")
AUDIO_ENDINGS = (".wav", ".flac")
BUNDLED_PREFIX = "sklearn:"
ALL_ENDINGS = (*ARRAY_ENDINGS, *TABLE_ENDINGS, *IMAGE_ENDINGS, *AUDIO_ENDINGS)


@dataclass(frozen=True)
class Source:
    """Data that lie on this machine.

    Attributes:
        name: As the user wrote it; messages name this.
        path: The file or folder.
    """

    name: str
    path: Path

    @property
    def is_bundled(self) -> bool:
        """Whether it is a set that scikit-learn ships, so that `path` is no file."""
        return self.name.startswith(BUNDLED_PREFIX)

    @property
    def is_array(self) -> bool:
        """Whether it holds an array: npz, npy or a bundled set."""
        return self.is_bundled or self.ending in ARRAY_ENDINGS

    @property
    def ending(self) -> str:
        """The file's ending in lower case, `.csv`; empty for a folder."""
        return "" if self.path.is_dir() else self.path.suffix.lower()

    def called(self, name: str) -> str:
        """What messages call one of the files of `list_files`."""
        return self.name if self.path.is_file() else f"{self.name.rstrip('/')}/{name}"


def locate(path: str) -> Source:
    """Finds data, and copies them here if they lie in S3.

    Raises:
        DataError: If there is nothing readable at that path.
    """
    if path.startswith("s3://"):
        from isthmus.data.s3 import download

        source = Source(path, download(path))
        _check_file(source)
        return source
    if path.startswith(BUNDLED_PREFIX):
        return Source(path, Path(path))
    local = Path(path).expanduser()
    try:
        exists = local.exists()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    if not exists:
        raise DataError(f"{path}: no such file or folder{_nearest_beside(local)}")
    _check_readable(local, path)
    source = Source(path, local)
    _check_file(source)
    return source


def _check_file(source: Source) -> None:
    if source.path.is_dir():
        return
    if source.path.stat().st_size == 0:
        raise DataError(f"{source.name}: the file is empty (0 bytes)")
    if source.ending not in ALL_ENDINGS:
        ending = f'the ending "{source.ending}"' if source.ending else "no ending"
        raise DataError(f"{source.name}: has {ending}; read are {', '.join(ALL_ENDINGS)}")


def list_files(source: Source, endings: Sequence[str], what: str) -> list[str]:
    """Names the files of a source: the one file, or all in a folder and the folders below it.

    Hidden files are passed over: macOS and notebooks leave copies of that kind.

    Args:
        source: A file or a folder.
        endings: Endings to look for, in lower case.
        what: What is looked for, for the message: "images".

    Returns:
        Sorted names relative to `folder_of(source)`, with "/" between the parts.

    Raises:
        DataError: If there are none.
    """
    if source.path.is_file():
        if source.ending not in endings:
            raise DataError(
                f"{source.name}: is no file of {what}; they are read from {', '.join(endings)}"
            )
        return [source.path.name]
    names = []
    for folder, subfolders, files in os.walk(source.path):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        relative = Path(folder).relative_to(source.path)
        names += [
            (relative / name).as_posix()
            for name in files
            if not name.startswith(".") and name.lower().endswith(tuple(endings))
        ]
    if not names:
        raise DataError(f"{source.name}: the folder holds no {what} ({', '.join(endings)})")
    return sorted(names)


def folder_of(source: Source) -> Path:
    """The folder that the names of `list_files` are relative to."""
    return source.path if source.path.is_dir() else source.path.parent


def _check_readable(path: Path, name: str) -> None:
    needed = os.R_OK | os.X_OK if path.is_dir() else os.R_OK
    if not os.access(path, needed):
        raise DataError(f"{name}: may not be read by this user; allow it with chmod")


def _nearest_beside(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f'; there is no folder "{folder}" either' if str(folder) != "." else ""
    try:
        names = [entry.name for entry in folder.iterdir()]
    except OSError:
        return ""
    close = get_close_matches(path.name, names, n=1, cutoff=0.5)
    return (
        f'; did you mean "{folder / close[0]}"?' if close else f"; give one in {folder.absolute()}"
    )
