"""Columns of results that wait in a temporary file, because only the last row settles the first."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from isthmus.data.outputs.results import Columns
from isthmus.errors import DataError


class SpooledColumns:
    """Blocks of columns in a file, which are read again in the order in which they came."""

    def __init__(self, file: IO[bytes]) -> None:
        """Takes a file that is open for writing and reading, and empty."""
        self._file = file
        self._blocks: list[tuple[str, ...]] = []

    def append(self, columns: Columns) -> None:
        """Writes a block; masked values stay masked.

        Raises:
            DataError: If the disk is full.
        """
        try:
            for column in columns.values():
                # Texts of any length have no fixed form on a disk, so they get that of the longest.
                fixed = column.astype(str) if column.dtype == object else column
                np.save(self._file, np.ma.getdata(fixed), allow_pickle=False)
                np.save(self._file, np.ma.getmask(fixed), allow_pickle=False)
        except OSError as error:
            raise DataError(
                f"{tempfile.gettempdir()}: has no room for the scores ({error.strerror}); free "
                "some, or set TMPDIR to a folder on a larger disk"
            ) from error
        self._blocks.append(tuple(columns))

    def blocks(self) -> Iterator[Columns]:
        """Reads all blocks, one at a time."""
        self._file.seek(0)
        for names in self._blocks:
            yield {name: self._next_column() for name in names}

    def _next_column(self) -> NDArray[Any]:
        column, mask = (np.load(self._file, allow_pickle=False) for _ in range(2))
        return np.ma.masked_array(column, mask) if mask.any() else column


@contextmanager
def spooled_columns() -> Iterator[SpooledColumns]:
    """Yields a spool in a temporary file, which is gone afterwards."""
    with tempfile.TemporaryFile(prefix="isthmus-") as file:
        yield SpooledColumns(file)
