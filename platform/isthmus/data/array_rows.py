"""The rows of an array, read and written a block at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.data.arrays import LoadedArray
from isthmus.data.columns.quality import MissingInBlocks
from isthmus.data.media.pixels import Size, resize
from isthmus.data.outputs.array_output import (
    arrays_beside,
    as_dtype,
    open_npy,
    open_npz,
)
from isthmus.data.outputs.output import ARRAY_OUTPUT_ENDINGS, check_ending
from isthmus.data.outputs.provenance import Provenance
from isthmus.data.prepared.centring import centred, restored
from isthmus.data.rows import Block, FloatArray, IndexArray, WriteBlock, rows_in_a_block
from isthmus.spec import DataSpec, RowSchema
from isthmus.types import DataKind


@dataclass(frozen=True, eq=False)
class ArrayRows:
    """The rows of an array.

    Attributes:
        array: The array; an npy's stays in its file until it is looked at.
        path: The file, for the arrays beside it; `None` for a set of scikit-learn's.
        name: The name of the source for messages.
        spec: The data section: what is done with missing values.
        schema: The schema of the rows.
        chosen: The places of the features among the array's columns, if some are chosen.
        channels_last: Whether the channels of an image are the array's last axis.
        resized: The height and width that images are brought to, and back from.
        factor: The factor by which the array's numbers are multiplied, and divided again when
            written.
        sets_aside: Whether rows that cannot be read are set aside instead of refused.
    """

    array: LoadedArray
    path: Path | None
    name: str
    spec: DataSpec
    schema: RowSchema
    chosen: tuple[int, ...] | None = None
    channels_last: bool = False
    resized: Size | None = None
    factor: float = 1.0
    sets_aside: bool = False

    @property
    def count(self) -> int:
        """The number of rows."""
        return len(self.array)

    def blocks(self, *, carry: bool = False) -> Iterator[Block]:
        """Reads the rows; see `RowSource.blocks`."""
        is_table = self.schema.kind is DataKind.TABULAR
        columns = self.schema.features if is_table else None
        missing = MissingInBlocks(self.spec.missing, columns, self.name, sets_aside=self.sets_aside)
        labels = self.array.labels
        at_once = rows_in_a_block(self.array.values.shape[1:] or (1,))
        for first in range(0, self.count, at_once):
            values = self._as_rows(np.asarray(self.array.values[first : first + at_once]))
            numbers = np.arange(first, first + len(values))
            of_block = None if labels is None else labels[first : first + at_once]
            block = missing.applied(Block(values, {"row": numbers}, labels=of_block))
            if len(block.values) or block.rejected:
                yield block
        missing.finish()

    def check_output(self, output: Path) -> None:
        """Refuses an ending other than npz and npy."""
        check_ending(output, ARRAY_OUTPUT_ENDINGS, "rows of an array")

    @contextmanager
    def open_output(self, output: Path, provenance: Provenance) -> Iterator[WriteBlock]:
        """Writes results in the shape, the type and under the key of the array."""
        self.check_output(output)
        if output.suffix.lower() == ".npy":
            with open_npy(output, provenance) as append:
                yield lambda _, values: append(self._as_in_array(values))
            return
        kept: list[IndexArray] = []

        def beside() -> dict[str, NDArray[Any]]:
            if self.path is None or self.path.suffix.lower() != ".npz" or not kept:
                return {}
            return arrays_beside(self.path, self.array.key, self.count, np.concatenate(kept))

        with open_npz(self.array.key or "x", output, provenance, beside) as append:

            def write(block: Block, values: FloatArray) -> None:
                append(self._as_in_array(values))
                kept.append(block.index["row"])

            yield write

    def _as_rows(self, array: NDArray[Any]) -> FloatArray:
        if self.schema.kind is not DataKind.IMAGES:
            flat = array.reshape(len(array), -1)
            return centred(
                flat if self.chosen is None else flat[:, self.chosen], self.schema.centre
            )
        if self.channels_last:
            array = np.moveaxis(array, -1, 1)
        elif array.ndim == 3:
            array = array[:, None]
        elif array.ndim == 2:
            array = array.reshape(len(array), *self.schema.shape)
        with np.errstate(over="ignore"):  # beyond float32: infinite, and refused as that
            values = np.ascontiguousarray(array, dtype=np.float32)
        if self.resized is not None:
            values = np.stack([resize(image, self.resized) for image in values])
        return values if self.factor == 1.0 else values * np.float32(self.factor)

    def _as_in_array(self, values: FloatArray) -> NDArray[Any]:
        """Returns rows in the shape and the type of the array's rows."""
        row_shape = self.array.values.shape[1:]
        made: NDArray[Any] = values if self.factor == 1.0 else values / np.float32(self.factor)
        if self.resized is not None:
            size = row_shape[:2] if self.channels_last else row_shape[-2:]
            made = np.stack([resize(image, (size[0], size[1])) for image in made])
        if self.channels_last:
            made = np.moveaxis(made, 1, -1)
        if self.schema.kind is not DataKind.IMAGES:
            made = restored(made, self.schema.centre)
        if self.chosen is not None:
            return as_dtype(made, self.array.values.dtype)
        return as_dtype(made.reshape(len(made), *row_shape), self.array.values.dtype)
