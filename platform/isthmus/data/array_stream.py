"""Arrays of npy and npz files, read and written a block of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.data.array_layout import ArrayLayout, layout_of, open_npy
from isthmus.data.arrays import key_if_present, load_array
from isthmus.data.images import oriented_like
from isthmus.data.matrix import features_like
from isthmus.data.pixels import Size, resize
from isthmus.data.provenance import Provenance
from isthmus.data.quality import MissingInBlocks
from isthmus.data.rows import FloatArray, IndexArray
from isthmus.data.storage import Source
from isthmus.data.stream import Block, WriteBlock, kept_numbers, rows_in_a_block
from isthmus.spec import DataSpec
from isthmus.types import DataKind, Shape


@dataclass(frozen=True, eq=False)
class ArrayStream:
    """Rows of an array.

    Attributes:
        array: Shape (N, *row), in its own type; an npy's stays in its file until it is looked at.
        layout: The form of all rows.
        columns: Names of the features, if they have any.
        spec: What the pair was trained on: its `missing`.
        name: What messages call the source.
        resized: Height and width that images are brought to, and back from.
    """

    array: NDArray[Any]
    layout: ArrayLayout
    columns: tuple[str, ...] | None
    spec: DataSpec
    name: str
    resized: Size | None = None

    @property
    def total(self) -> int:
        """How many rows the array has."""
        return len(self.array)

    def blocks(self, *, carry: bool = False) -> Iterator[Block]:
        """Reads the rows."""
        missing = MissingInBlocks(self.spec.missing, self.columns, self.name)
        at_once = rows_in_a_block(self.array.shape[1:])
        for first in range(0, self.total, at_once):
            values = self._values(first, first + at_once)
            kept = missing.kept(values)
            index = {"row": kept_numbers(first, len(values), kept)}
            if kept is not None:
                values = np.ascontiguousarray(values[kept])
            if len(values):
                yield Block(values, index)
        missing.finish()

    def _values(self, first: int, end: int) -> FloatArray:
        with np.errstate(over="ignore"):  # beyond float32: infinite, and refused as that
            values = np.ascontiguousarray(self.array[first:end], dtype=np.float32)
        return values if self.resized is None else _resized(values, self.resized)

    def check_output(self, output: Path) -> None:
        """Refuses an ending other than npz and npy."""
        self.layout.check_output(output)

    @contextmanager
    def open_output(self, output: Path, provenance: Provenance) -> Iterator[WriteBlock]:
        """Writes results in the shape and type of the array's rows; to npz all at the end."""
        if output.suffix.lower() == ".npy":
            with open_npy(output, provenance) as append:
                yield lambda _, values: append(self._restored(values))
            return
        parts: list[NDArray[Any]] = []
        numbers: list[IndexArray] = []

        def collect(block: Block, values: FloatArray) -> None:
            parts.append(self._restored(values))
            numbers.append(block.index["row"])

        yield collect
        layout = self.layout.take(np.concatenate(numbers))
        layout.write_restored(np.concatenate(parts), output, provenance)

    def _restored(self, values: FloatArray) -> NDArray[Any]:
        if self.resized is not None:
            values = _resized(values, (self.array.shape[2], self.array.shape[3]))
        return self.layout.restored(values)


def stream_array(source: Source, data: DataSpec, row_shape: Shape) -> ArrayStream:
    """The rows of an npy, an npz or a bundled set for a trained pair.

    Raises:
        DataError: If the array does not hold such rows.
    """
    loaded = load_array(source, key_if_present(source, data.key), None, mapped=True)
    if data.kind is DataKind.TABULAR:
        array, columns = features_like(loaded, source, data, row_shape[0])
        layout = layout_of(array, source, loaded.key)
        return ArrayStream(array, layout, columns, data, source.name)
    is_resized = data.image_size is not None
    array, layout = oriented_like(loaded, source, is_resized, row_shape)
    size: Size = (row_shape[1], row_shape[2])
    resized = size if is_resized and array.shape[2:] != size else None
    return ArrayStream(array, layout, None, data, source.name, resized)


def _resized(values_NCHW: FloatArray, size: Size) -> FloatArray:
    return np.stack([resize(image, size) for image in values_NCHW])
