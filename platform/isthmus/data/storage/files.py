"""The files that a path names: one file, a folder, a glob, a list of them, or a prefix in S3."""

from __future__ import annotations

import glob
import logging
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from isthmus.errors import DataError

_logger = logging.getLogger(__name__)
_GLOB_SIGNS = frozenset("*?[")
_S3 = "s3://"
_SHOWN_ENDINGS = 5


@dataclass(frozen=True)
class Files:
    """The files of a source, in order.

    Any process can have it: what travels are addresses.

    Attributes:
        name: The path as the user wrote it; messages name this.
        names: The name of each file relative to the folder that was given, with "/" between the
            parts; for a single file, its own name.
        addresses: The place of each: a local path, or `s3://bucket/key`.
        is_folder: Whether a folder, a glob or a list was given, and not a single file.
    """

    name: str
    names: tuple[str, ...]
    addresses: tuple[str, ...]
    is_folder: bool

    def __len__(self) -> int:
        return len(self.names)

    def called(self, position: int) -> str:
        """Returns what messages call one of the files."""
        if not self.is_folder:
            return self.name
        return f"{self.name.rstrip('/')}/{self.names[position]}"

    def path(self, position: int) -> Path:
        """Returns the local path of one of the files; one in S3 is copied to the cache first."""
        address = self.addresses[position]
        if not address.startswith(_S3):
            return Path(address)
        from isthmus.data.storage.s3 import fetch

        return fetch([address])[0]

    def paths(self) -> list[Path]:
        """Returns the local paths of all files; those in S3 are first copied to the cache."""
        if not any(address.startswith(_S3) for address in self.addresses):
            return [Path(address) for address in self.addresses]
        from isthmus.data.storage.s3 import fetch

        return fetch(self.addresses)

    def ending(self, position: int = 0) -> str:
        """Returns the ending of one of the files in lower case: `.csv`, `.csv.gz`."""
        return ending_of(self.names[position])

    @property
    def endings(self) -> set[str]:
        """The endings of all files."""
        return {ending_of(name) for name in self.names}


@dataclass
class _Listing:
    """Files found so far, and how many were left out because nothing here reads them."""

    names: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def is_in_s3(address: str) -> bool:
    """Returns whether an address is that of an object or a prefix in S3."""
    return address.startswith(_S3)


COMPRESSIONS = (".gz", ".bz2", ".zst")


def ending_of(name: str) -> str:
    """Returns the ending of a file's name in lower case, with what it is compressed by."""
    path = Path(name.lower())
    if path.suffix in COMPRESSIONS:
        return Path(path.stem).suffix + path.suffix
    return path.suffix


def find_files(path: str | Sequence[str], endings: Sequence[str]) -> Files:
    """Finds the files that a path or a list of paths names. Nothing is downloaded.

    Hidden files are passed over, because macOS and notebooks leave copies of that kind. Files of
    other endings in a folder are left out, and a warning says how many.

    Args:
        path: A file, a folder, a glob, `s3://bucket/key`, `s3://bucket/prefix`, or a list.
        endings: The endings that can be read, in lower case.

    Raises:
        DataError: If there is nothing that can be read at a path.
    """
    if not isinstance(path, str):
        return _find_each(path, endings)
    listing = _Listing()
    if path.startswith(_S3):
        is_folder = _list_s3(path, endings, listing)
    else:
        is_folder = _list_local(path, endings, listing)
    if listing.left_out:
        _report_left_out(path, listing, len(listing.names))
    if not listing.names:
        raise DataError(f"{path}: holds no file that can be read ({', '.join(sorted(endings))})")
    return Files(path, tuple(listing.names), tuple(listing.addresses), is_folder)


def _find_each(paths: Sequence[str], endings: Sequence[str]) -> Files:
    found = [find_files(path, endings) for path in paths]
    addresses = [address for each in found for address in each.addresses]
    name = paths[0] if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
    names = _names_below_a_common_folder(addresses)
    twice = next((name for name, count in Counter(addresses).items() if count > 1), None)
    if twice is not None:
        raise DataError(f"{twice}: is named twice in data.path; leave one out")
    return Files(name, tuple(names), tuple(addresses), is_folder=True)


def _names_below_a_common_folder(addresses: Sequence[str]) -> list[str]:
    is_s3 = {address.startswith(_S3) for address in addresses}
    if len(is_s3) > 1:  # some here and some in S3, which have no folder in common
        return [f"{number}/{Path(each).name}" for number, each in enumerate(addresses)]
    paths = [each.removeprefix(_S3) if True in is_s3 else _absolute(each) for each in addresses]
    base = os.path.commonpath([str(Path(path).parent) for path in paths])
    return [os.path.relpath(path, base) for path in paths]


def _absolute(path: str) -> str:
    return str(Path(path).absolute())


def _list_s3(path: str, endings: Sequence[str], listing: _Listing) -> bool:
    from isthmus.data.storage.s3 import list_objects

    keys, is_folder = list_objects(path)
    own = path.rstrip("/").rpartition("/")[2]
    if is_folder and Path(own).suffix.lower() in endings and not _hold_files(keys, endings, ""):
        _add(listing, own, f"{path.rstrip('/')}/", ())
        return False
    for name, address in _folders_as_one(keys, endings) if is_folder else keys:
        _add(listing, name, address, endings if is_folder else ())
    return is_folder


def _folders_as_one(
    keys: Sequence[tuple[str, str]], endings: Sequence[str]
) -> list[tuple[str, str]]:
    """Puts the objects of a format that is a folder together, as one address that ends in /."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for name, address in keys:
        folders = name.split("/")[:-1]
        depth = next((n for n, f in enumerate(folders) if Path(f).suffix.lower() in endings), None)
        group = name if depth is None else f"{'/'.join(folders[: depth + 1])}/"
        groups.setdefault(group, []).append((name, address))
    found: list[tuple[str, str]] = []
    for group, objects in groups.items():
        if not group.endswith("/") or _hold_files(objects, endings, group):
            found += objects
        else:
            name, address = objects[0]
            found.append((group.rstrip("/"), f"{address.removesuffix(name)}{group}"))
    return found


def _hold_files(keys: Sequence[tuple[str, str]], endings: Sequence[str], folder: str) -> bool:
    """Returns whether some objects are files by themselves, as in a folder called t.parquet.

    Marks that are hidden are not among the objects.
    """
    names = [name for name, _ in keys]
    return f"{folder}zarr.json" not in names and any(ending_of(name) in endings for name in names)


def _list_local(path: str, endings: Sequence[str], listing: _Listing) -> bool:
    local = Path(path).expanduser()
    try:
        exists = local.exists()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    if exists and not local.is_dir():
        _check_file(local, path, endings)
        _add(listing, local.name, str(local), ())
        return False
    if exists:
        _check_readable(local, path)
        if _is_one(local, endings):
            _add(listing, local.name, str(local), ())
            return False
        _list_folder(local, endings, listing)
        return True
    if _GLOB_SIGNS & set(path):
        base = _base_of_glob(local)
        for each in _matched(local, endings):
            _add(listing, each.relative_to(base).as_posix(), str(each), endings)
        if not listing.names and not listing.left_out:
            raise DataError(f"{path}: no file has such a name; list the folder to see")
        return True
    raise DataError(f"{path}: no such file or folder{_nearest_beside(local)}")


def _matched(pattern: Path, endings: Sequence[str]) -> list[Path]:
    """Returns the files that a glob matches, and those below the folders called as files are.

    Where it matches no file, those below each folder are meant, such as all of `table/year=*`.
    """
    found = [Path(each) for each in sorted(glob.glob(str(pattern), recursive=True))]  # noqa: PTH207
    whole = {each for each in found if _is_one(each, endings)}
    # What is in such a folder was found by **.
    found = [each for each in found if whole.isdisjoint(each.parents)]
    files = {each for each in found if each in whole or each.is_file()}
    is_meant = not files
    for folder in found:
        if folder not in files and (is_meant or folder.suffix.lower() in endings):
            files |= {folder / name for name in names_below(folder, endings)}
    return sorted(files, key=str)


# Zarr 3 and 2 leave one of them in the folder.
MARKS_OF_ONE = ("zarr.json", ".zarray", ".zgroup", ".zattrs")
"""The names of the files by which a folder is one array or group of arrays."""


def _is_one(path: Path, endings: Sequence[str]) -> bool:
    """Returns whether a path is a format that is a folder, such as zarr, and no folder of files."""
    if path.suffix.lower() not in endings:
        return False
    try:
        return any((path / mark).exists() for mark in MARKS_OF_ONE)
    except OSError:
        return False  # as if it were empty, which os.walk takes it for


def _base_of_glob(path: Path) -> Path:
    parts = []
    for part in path.parts[:-1]:
        if _GLOB_SIGNS & set(part):
            break
        parts.append(part)
    return Path(*parts)


def _list_folder(folder: Path, endings: Sequence[str], listing: _Listing) -> None:
    for name in names_below(folder, endings):
        _add(listing, name, str(folder / name), endings)


def names_below(
    folder: Path, endings: Sequence[str] = (), *, with_hidden: bool = False
) -> list[str]:
    """Returns the sorted names of all files below a folder, also of those that links lead to.

    Args:
        folder: The folder.
        endings: The endings of formats; a folder with one of them, such as zarr, counts as a file.
        with_hidden: Whether hidden files are among them.

    Raises:
        DataError: If a folder cannot be read.
    """
    found: list[str] = []
    visited: set[tuple[int, int]] = set()
    # Links to folders are followed last, so that a folder within `folder` keeps its own name.
    begins = [folder]
    for begin in begins:
        for each, subfolders, files in os.walk(begin):
            here = Path(each)
            identity = _identity(here)
            if identity in visited:  # two links to it, or a link round to a folder above it
                subfolders.clear()
                continue
            visited.add(identity)
            subfolders[:] = sorted(name for name in subfolders if with_hidden or _is_shown(name))
            for name in list(subfolders):
                if _is_one(here / name, endings):
                    subfolders.remove(name)
                    files.append(name)
            begins += [here / name for name in subfolders if (here / name).is_symlink()]
            relative = here.relative_to(folder)
            shown = [name for name in files if with_hidden or _is_shown(name)]
            found += [(relative / name).as_posix() for name in shown]
    return sorted(found)


def _is_shown(name: str) -> bool:
    return not name.startswith(".")


def _identity(folder: Path) -> tuple[int, int]:
    try:
        status = folder.stat()
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error.strerror}") from error
    return status.st_dev, status.st_ino


# What results leave beside themselves, and other tools leave in folders of data.
_NOTES = (
    *(".pair.json", "pair.json", "_SUCCESS", "_metadata", "_common_metadata", "README.md"),
    *("dataset_info.json", "state.json", "summary.json"),
)


def _add(listing: _Listing, name: str, address: str, endings: Sequence[str]) -> None:
    if endings and name.endswith(_NOTES):
        return
    if endings and ending_of(name) not in endings:
        listing.left_out[ending_of(name) or "no ending"] += 1
        return
    listing.names.append(name)
    listing.addresses.append(address)


def _report_left_out(path: str, listing: _Listing, kept: int) -> None:
    count = sum(listing.left_out.values())
    shown = ", ".join(f"{n} {ending}" for ending, n in listing.left_out.most_common(_SHOWN_ENDINGS))
    more = ", ..." if len(listing.left_out) > _SHOWN_ENDINGS else ""
    if kept:
        _logger.warning("%s: %d file(s) are left out, which are not read (%s%s)",
                        path, count, shown, more)  # fmt: skip


def _check_file(local: Path, path: str, endings: Sequence[str]) -> None:
    _check_readable(local, path)
    if local.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty (0 bytes)")
    ending = ending_of(local.name)
    if ending not in endings:
        said = f'the ending "{ending}"' if ending else "no ending"
        raise DataError(f"{path}: has {said}; read are {', '.join(endings)}")


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
