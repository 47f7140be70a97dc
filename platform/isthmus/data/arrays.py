"""Arrays of npz and npy files and of bundled sets, read without ever unpickling."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.data.bundled import load_bundled
from isthmus.data.provenance import PROVENANCE_KEY
from isthmus.data.rows import Labels
from isthmus.data.storage import Source
from isthmus.errors import DataError, nearest

USUAL_KEYS = ("x", "X", "data")
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, OSError, KeyError, NotImplementedError)


@dataclass(frozen=True, eq=False)
class LoadedArray:
    """One array of a file.

    Attributes:
        values: As it is in the file, of a real number type, with at least one row.
        key: Its name in an npz.
        labels: Shape (N,), if asked for; a bundled set always has them.
        columns: Names of the features of a bundled set.
    """

    values: NDArray[Any]
    key: str | None = None
    labels: Labels | None = None
    columns: tuple[str, ...] | None = None


def load_array(
    source: Source, key: str | None, labels: str | None, *, mapped: bool = False
) -> LoadedArray:
    """Reads an array of an npz, an npy or a bundled set.

    Args:
        source: The file or bundled set.
        key: Name of the array in an npz; by default `x`, `X`, `data`, or the only one.
        labels: Name of the array of labels in an npz.
        mapped: Whether an npy is to stay in its file, and be read where it is looked at.

    Raises:
        DataError: If the file is damaged, the array absent, or not of real numbers.
    """
    if source.is_bundled:
        values, targets, columns = load_bundled(source.name, labels)
        return LoadedArray(values, labels=targets, columns=columns)
    try:
        if source.ending == ".npy":
            # Mapped, so that what is not a float32 is converted with no second copy in memory; as
            # a copy on write, so that the file stays as it is.
            array = np.load(source.path, mmap_mode="c", allow_pickle=False)
            if array.dtype == np.float32 and not mapped:
                array = np.array(array)
            if labels is not None:
                raise DataError(f"{source.name}: an npy holds one array, so no labels; use an npz")
            return LoadedArray(_checked(array, source.name))
        with np.load(source.path, allow_pickle=False) as archive:
            names = list(archive.files)
            key = _chosen_key(names, key, labels, source)
            array = _checked(_member(archive, key, source), f'{source.name}: array "{key}"')
            if labels is None:
                return LoadedArray(array, key)
            if labels not in names:
                raise DataError(
                    f'{source.name}: no array "{labels}" for data.labels; {nearest(labels, names)}'
                )
            found = _checked_labels(_member(archive, labels, source), labels, len(array), source)
            return LoadedArray(array, key, found)
    except (ValueError, *_DAMAGED) as error:
        raise DataError(_said(error, source)) from error


def key_if_present(source: Source, key: str | None) -> str | None:
    """The key, if the file is an npz with an array of that name; else `None`."""
    if source.ending != ".npz" or key is None or not zipfile.is_zipfile(source.path):
        return None
    with zipfile.ZipFile(source.path) as archive:
        return key if f"{key}.npy" in archive.namelist() else None


def _member(archive: Mapping[str, NDArray[Any]], key: str, source: Source) -> NDArray[Any]:
    try:
        return archive[key]
    except ValueError as error:
        if "allow_pickle" in str(error):
            raise DataError(
                f'{source.name}: array "{key}" holds Python objects, which are never loaded; '
                "save it as numbers"
            ) from None
        raise


def _said(error: Exception, source: Source) -> str:
    if source.ending == ".npz" and not zipfile.is_zipfile(source.path):
        return f"{source.name}: is damaged or no npz file (not a zip); write it again"
    if "Python objects" in str(error):
        return f"{source.name}: holds Python objects, which are never loaded; save it as numbers"
    if "allow_pickle" in str(error):
        return f"{source.name}: is no npy file; write it with numpy.save, as numbers"
    return f"{source.name}: is damaged ({str(error).splitlines()[0]}); write it again"


def _chosen_key(names: list[str], key: str | None, labels: str | None, source: Source) -> str:
    if not names:
        raise DataError(f"{source.name}: holds no array; write it again")
    if key is not None:
        if key not in names:
            raise DataError(f'{source.name}: no array "{key}"; {nearest(key, names)}')
        return key
    usual = [name for name in USUAL_KEYS if name in names]
    candidates = [name for name in names if name not in (labels, PROVENANCE_KEY)]
    if usual:
        return usual[0]
    if len(candidates) == 1:
        return candidates[0]
    raise DataError(
        f"{source.name}: holds {len(names)} arrays ({', '.join(names)}); "
        "say which holds the rows with data.key"
    )


def _checked(array: NDArray[Any], what: str) -> NDArray[Any]:
    if array.dtype.fields is not None or array.dtype.kind not in "biuf":
        kind = "complex" if array.dtype.kind == "c" else str(array.dtype)
        raise DataError(f"{what}: holds {kind} values; only real numbers can be trained on")
    if array.ndim == 0:
        raise DataError(f"{what}: is a single number; rows need shape (rows, features)")
    if array.size == 0:
        raise DataError(f"{what}: has shape {array.shape}, so holds no rows; give at least one")
    return array


def _checked_labels(array: NDArray[Any], name: str, rows: int, source: Source) -> Labels:
    if array.shape not in ((rows,), (rows, 1)):
        raise DataError(
            f'{source.name}: labels "{name}" have shape {array.shape}; one for each of the {rows} '
            "rows is needed"
        )
    return array.reshape(rows)
