"""Rows that stay in a file: of data larger than the memory, only a block is read at a time."""

from __future__ import annotations

import errno
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.data.prepared.scaling import ScalingStatistics
from isthmus.data.rows import FloatArray, IndexArray
from isthmus.errors import DataError
from isthmus.types import Shape

_FLOAT_BYTES = 4


class TemporaryFolder:
    """A folder of this machine that goes with `remove`, or when nobody holds this object."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="isthmus-rows-"))
        self.remove = weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


@dataclass(frozen=True, eq=False)
class StoredRows:
    """float32 rows in a file, read by slices as an array would be.

    Another process of this machine can have them too: what travels is the file's name.

    Attributes:
        path: The file: the rows one after another, and nothing else.
        shape: (N, *row_shape).
        statistics: If given, rows are read scaled by it, NaN as 0; else as they are.
        folder: Keeps the file there; only in the process that made it.
    """

    path: Path
    shape: Shape
    statistics: ScalingStatistics | None = None
    folder: TemporaryFolder | None = None

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> FloatArray:
        """Reads rows, shape (n, *row_shape); far fewer if they are spaced."""
        first, end, step = rows.indices(len(self))
        if step == 1:
            values = np.empty((max(0, end - first), *self.shape[1:]), dtype=np.float32)
            self.read_into(values, first)
            self.scale(values)
            return values
        numbers = range(first, end, step)
        values = np.empty((len(numbers), *self.shape[1:]), dtype=np.float32)
        for place, number in enumerate(numbers):
            self.read_into(values[place : place + 1], number)
        self.scale(values)
        return values

    def read_into(self, values: FloatArray, first: int) -> None:
        """Fills an array with the rows from `first` on, not scaled."""
        with self.path.open("rb", buffering=0) as file:
            file.seek(first * prod(self.shape[1:]) * _FLOAT_BYTES)
            if file.readinto(values.reshape(-1).view(np.uint8).data) != values.nbytes:
                raise OSError(f"{self.path}: is shorter than it was; somebody has changed it")

    def scale(self, values: FloatArray) -> None:
        """Scales rows that `read_into` gave, in their place, if they are to be scaled."""
        if self.statistics is not None:
            self.statistics.scale_in_place(values)

    def scaled_by(self, statistics: ScalingStatistics) -> StoredRows:
        """The same rows, read scaled."""
        return replace(self, statistics=statistics)

    def close(self) -> None:
        """Removes the file and those made with it."""
        if self.folder:
            self.folder.remove()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "folder": None}


@contextmanager
def said_of_disk(folder: Path) -> Iterator[None]:
    """Says in one line that a disk has no room for rows, if that is what goes wrong.

    Raises:
        DataError: If the disk is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DataError(
            f"{folder.parent}: has no room for a copy of the rows; free some, or set TMPDIR to a "
            "folder on a larger disk"
        ) from error


FloatRows = FloatArray | StoredRows
"""Rows in memory, or those of a large file."""


def rows_at(rows: FloatRows, numbers: IndexArray) -> FloatArray:
    """Returns the rows of these numbers, shape (n, *row_shape)."""
    if isinstance(rows, np.ndarray):
        return np.ascontiguousarray(rows[numbers])
    taken = np.empty((len(numbers), *rows.shape[1:]), dtype=np.float32)
    for place, number in enumerate(numbers):
        taken[place : place + 1] = rows[number : number + 1]
    return taken
