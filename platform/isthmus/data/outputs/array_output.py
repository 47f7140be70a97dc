"""Arrays of results: npz and npy, in the type that the rows came in."""

from __future__ import annotations

import logging
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.data.outputs.output import whole_file
from isthmus.data.outputs.provenance import PROVENANCE_KEY, Provenance

_logger = logging.getLogger(__name__)


def as_dtype(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Returns values in the type they came in: floats as they are, pixels rounded and clipped.

    Whole numbers of other types stay as they are, since a reconstruction is not whole.
    """
    if dtype.kind == "f":
        return values.astype(dtype, copy=False)
    if dtype in (np.uint8, np.uint16):
        pixels: NDArray[Any] = np.clip(np.rint(values), 0, np.iinfo(dtype).max).astype(dtype)
        return pixels
    return values


@contextmanager
def open_npy(output: Path, provenance: Provenance) -> Iterator[Callable[[NDArray[Any]], None]]:
    """Yields a function that appends rows to an npy, all of one shape and type.

    The file appears when all are written, and not at all if an error comes first.

    Raises:
        DataError: If the place cannot be written to.
    """
    with whole_file(output, provenance) as temporary, _appended(temporary) as append:
        yield append


@contextmanager
def open_npz(
    key: str,
    output: Path,
    provenance: Provenance,
    beside: Callable[[], Mapping[str, NDArray[Any]]],
) -> Iterator[Callable[[NDArray[Any]], None]]:
    """Yields a function that appends rows to one array of an npz.

    Args:
        key: The name of the array.
        output: The file, which appears when all rows are written, or not at all.
        provenance: The provenance, which is written as the array `pair`.
        beside: Called at the end; returns the other arrays of the file.
    """
    with (
        whole_file(output, provenance) as temporary,
        tempfile.TemporaryDirectory(prefix=".isthmus-", dir=output.parent) as folder,
    ):
        rows = Path(folder) / "rows.npy"
        with _appended(rows) as append:
            yield append
        with zipfile.ZipFile(temporary, "w") as archive:
            archive.write(rows, f"{key}.npy")
            _write_members(archive, {**beside(), PROVENANCE_KEY: np.array(provenance.to_json())})


@contextmanager
def open_arrays(
    empty: Mapping[str, NDArray[Any]], output: Path, provenance: Provenance
) -> Iterator[Callable[[Mapping[str, NDArray[Any]]], None]]:
    """Yields a function that appends rows to every array of an npz, which is compressed.

    The arrays wait in files beside the output, so that no more than what is appended is in memory.

    Args:
        empty: Each array without any rows.
        output: The file, which appears when all rows are written, or not at all.
        provenance: The provenance, which is written as the array `pair`.

    Raises:
        DataError: If the place cannot be written to.
    """
    with (
        whole_file(output, provenance) as temporary,
        tempfile.TemporaryDirectory(prefix=".isthmus-", dir=output.parent) as folder,
    ):
        paths = {key: Path(folder) / str(number) for number, key in enumerate(empty)}
        rows = 0

        def append(arrays: Mapping[str, NDArray[Any]]) -> None:
            nonlocal rows
            for key, array in arrays.items():
                # There may be more arrays than a process may have open files.
                with paths[key].open("ab") as file:
                    array.tofile(file)
            rows += len(next(iter(arrays.values())))

        append(empty)
        yield append
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            for key, array in empty.items():
                header = np.lib.format.header_data_from_array_1_0(array)
                header["shape"] = (rows, *array.shape[1:])
                with (
                    archive.open(f"{key}.npy", "w", force_zip64=True) as member,
                    paths[key].open("rb") as file,
                ):
                    np.lib.format.write_array_header_1_0(member, header)
                    shutil.copyfileobj(file, member)
            _write_members(archive, {PROVENANCE_KEY: np.array(provenance.to_json())})


@contextmanager
def _appended(path: Path) -> Iterator[Callable[[NDArray[Any]], None]]:
    with path.open("wb") as file:
        header: dict[str, Any] = {}
        rows = 0

        def append(array: NDArray[Any]) -> None:
            nonlocal rows
            array = np.ascontiguousarray(array)
            if not header:
                header.update(np.lib.format.header_data_from_array_1_0(array))
                np.lib.format.write_array_header_1_0(file, header)
            rows += len(array)
            array.tofile(file)

        yield append
        if header:
            # numpy leaves room for the number of rows, so the header is as long as it was.
            file.seek(0)
            header["shape"] = (rows, *header["shape"][1:])
            np.lib.format.write_array_header_1_0(file, header)


def save_array(
    array: NDArray[Any],
    key: str,
    output: Path,
    provenance: Provenance,
    beside: Mapping[str, NDArray[Any]] | None = None,
) -> None:
    """Writes an array to npz, with the provenance as the array `pair`, or to npy.

    Raises:
        DataError: If the place cannot be written to.
    """
    if output.suffix.lower() == ".npz":
        save_npz({key: array, **(beside or {})}, output, provenance)
        return
    with whole_file(output, provenance) as temporary:
        np.save(temporary, array, allow_pickle=False)


def save_npz(arrays: Mapping[str, NDArray[Any]], output: Path, provenance: Provenance) -> None:
    """Writes arrays to npz, with the provenance as one more, `pair`.

    Raises:
        DataError: If the place cannot be written to.
    """
    members = {**arrays, PROVENANCE_KEY: np.array(provenance.to_json())}
    with whole_file(output, provenance) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        _write_members(archive, members)


def _write_members(archive: zipfile.ZipFile, arrays: Mapping[str, NDArray[Any]]) -> None:
    # Not numpy.savez, whose own arguments clash with arrays that are called "file".
    for name, value in arrays.items():
        with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array(member, np.asanyarray(value), allow_pickle=False)


def arrays_beside(
    path: Path, key: str | None, total: int, kept: NDArray[np.int64]
) -> dict[str, NDArray[Any]]:
    """Returns the other arrays of an npz that have as many rows, only with the kept rows.

    Args:
        path: The file.
        key: The name of the array that results replace.
        total: The number of rows of that array.
        kept: Shape (N,). The numbers of the rows that the results have.
    """
    carried = {}
    with np.load(path, allow_pickle=False) as archive:
        for name in archive.files:
            if name in (key, PROVENANCE_KEY):
                continue
            try:
                array = archive[name]
            except ValueError:
                _logger.warning('array "%s" holds Python objects; left out of the output', name)
                continue
            if array.ndim and len(array) == total:
                carried[name] = array[kept]
    return carried
