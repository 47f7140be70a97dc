"""Writes rows back to npz or npy, in the shape, type and key of the array they came from."""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.data.output import check_ending, whole_file
from isthmus.data.provenance import PROVENANCE_KEY, Provenance
from isthmus.data.rows import FloatArray, IndexArray
from isthmus.data.storage import ARRAY_ENDINGS, Source
from isthmus.types import Shape

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ArrayLayout:
    """Rows that came from an array: written back to npz or npy in the array's shape and key.

    Attributes:
        path: The file, for the arrays beside; `None` for a bundled set.
        key: Name of the array.
        row_shape: Shape of one row in the array; () where the array has one axis only.
        dtype: The array's type.
        kept: Shape (N,). Numbers of the rows, counted from 0.
        total: How many rows the array has.
        channels_last: Whether an image's channels are its last axis.
    """

    path: Path | None
    key: str | None
    row_shape: Shape
    dtype: np.dtype[Any]
    kept: IndexArray
    total: int
    channels_last: bool = False

    def take(self, kept: IndexArray) -> ArrayLayout:
        """The layout of only these rows."""
        return replace(self, kept=self.kept[kept])

    def index(self) -> Mapping[str, NDArray[Any]]:
        """`row`: the number of each row, counted from 0."""
        return {"row": self.kept}

    def check_output(self, output: Path) -> None:
        """Refuses an ending other than npz and npy."""
        check_ending(output, ARRAY_ENDINGS, "rows of an array")

    def write(self, values: FloatArray, output: Path, provenance: Provenance) -> None:
        """Writes the values under the same key; arrays of as many rows are carried along."""
        self.check_output(output)
        self.write_restored(self.restored(values), output, provenance)

    def restored(self, values: FloatArray) -> NDArray[Any]:
        """Values of shape (n, *row) in the shape and type of the array's rows."""
        array = np.moveaxis(values, 1, -1) if self.channels_last else values
        return as_dtype(array.reshape(len(values), *self.row_shape), self.dtype)

    def write_restored(self, array: NDArray[Any], output: Path, provenance: Provenance) -> None:
        """Writes what `restored` gave of all rows."""
        carried = self._carried() if output.suffix.lower() == ".npz" else {}
        save_array(array, self.key or "x", output, provenance, carried)

    def _carried(self) -> dict[str, NDArray[Any]]:
        if self.path is None or self.path.suffix.lower() != ".npz":
            return {}
        carried = {}
        with np.load(self.path, allow_pickle=False) as archive:
            for name in archive.files:
                if name in (self.key, PROVENANCE_KEY):
                    continue
                try:
                    array = archive[name]
                except ValueError:
                    _logger.warning('array "%s" holds Python objects; left out of the output', name)
                    continue
                if array.ndim and len(array) == self.total:
                    carried[name] = array[self.kept]
        return carried


def layout_of(
    array: NDArray[Any], source: Source, key: str | None, *, channels_last: bool = False
) -> ArrayLayout:
    """The layout of all rows of an array."""
    return ArrayLayout(
        path=None if source.is_bundled else source.path,
        key=key,
        row_shape=array.shape[1:],
        dtype=array.dtype,
        kept=np.arange(len(array), dtype=np.int64),
        total=len(array),
        channels_last=channels_last,
    )


def as_dtype(values: FloatArray, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Values in the type they came in: floats as they are, pixels rounded and clipped.

    Whole numbers of other types stay float32, since a reconstruction is not whole.
    """
    if dtype.kind == "f":
        return values.astype(dtype, copy=False)
    if dtype in (np.uint8, np.uint16):
        return np.clip(np.rint(values), 0, np.iinfo(dtype).max).astype(dtype)
    return values


@contextmanager
def open_npy(output: Path, provenance: Provenance) -> Iterator[Callable[[NDArray[Any]], None]]:
    """Gives a function that appends rows to an npy, all of one shape and type.

    The file appears when all are written, and not at all if an error comes first.

    Raises:
        DataError: If the place cannot be written to.
    """
    with whole_file(output, provenance) as temporary, temporary.open("wb") as file:
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
        # numpy leaves room for the number of rows to grow, so the header is as long as it was.
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
        # Not numpy.savez, whose own arguments clash with arrays that are called "file".
        for name, value in members.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(value), allow_pickle=False)
