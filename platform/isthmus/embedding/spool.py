"""Latents on their way to a table: on disk, so that whatever needs all of them fits in memory.

Shapes: z_ND are the latents of N rows.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from isthmus.data.outputs.results import Columns, as_arrow
from isthmus.data.rows import FloatArray
from isthmus.errors import DataError

LATENT = "latent"
"""The column of a table that holds latents; the array of an npz that does."""
_ROWS_AT_ONCE = 65_536


@dataclass(frozen=True, eq=False)
class Spooled:
    """All latents of a job, in files that are read a part at a time.

    Attributes:
        z_ND: The latents, a view of their file.
        names: The file of the columns that name each row, as in the table of results.
    """

    z_ND: FloatArray
    names: Path

    def parts(self) -> Iterator[tuple[pa.Table, FloatArray]]:
        """Yields consecutive rows: the columns that name them, and their latents."""
        first = 0
        with pq.ParquetFile(self.names) as file:
            for batch in file.iter_batches(_ROWS_AT_ONCE):
                end = first + batch.num_rows
                yield pa.Table.from_batches([batch]), np.asarray(self.z_ND[first:end])
                first = end

    def sample(self, most: int) -> FloatArray:
        """Returns at most so many evenly spaced latents, in memory."""
        every = max(1, -(-len(self.z_ND) // most))
        return np.array(self.z_ND[::every])


class Spool:
    """Takes latents in blocks, with the columns that name their rows."""

    def __init__(self, folder: Path, opened: ExitStack) -> None:
        """Creates the files in a folder; `opened` closes them."""
        self._latents = folder / "latents.f32"
        self._names = folder / "rows.parquet"
        self._opened = opened
        self._file: BinaryIO = opened.enter_context(self._latents.open("wb"))
        self._writer: pq.ParquetWriter | None = None
        self._rows = 0
        self._latent_dim = 0

    def add(self, columns: Columns) -> None:
        """Appends rows: the columns that name them, and `latent`, shape (N, D).

        Raises:
            DataError: If a latent is not finite, because a value of its row is far too large.
        """
        z_ND = columns[LATENT]
        is_finite = np.isfinite(z_ND).all(axis=1)
        if not is_finite.all():
            row = self._rows + int(np.argmin(is_finite))
            raise DataError(
                f"the latent of row {row} (from 0) is not finite, and neighbours and maps need "
                "finite ones; leave that row out, or leave out --index and --map"
            )
        names = {name: as_arrow(each) for name, each in columns.items() if name != LATENT}
        table = pa.table(names)
        if self._writer is None:
            self._writer = self._opened.enter_context(pq.ParquetWriter(self._names, table.schema))
        self._writer.write_table(table)
        np.ascontiguousarray(z_ND, dtype=np.float32).tofile(self._file)
        self._rows += len(z_ND)
        self._latent_dim = z_ND.shape[1]

    def finish(self) -> Spooled:
        """Closes the files, and returns what is in them.

        Raises:
            DataError: If there are no rows.
        """
        self._opened.close()
        if self._rows == 0:
            raise DataError("there are no rows, and neighbours and maps need some; give at least 1")
        shape = (self._rows, self._latent_dim)
        return Spooled(np.memmap(self._latents, np.float32, "r", shape=shape), self._names)


@contextmanager
def open_spool(output: Path) -> Iterator[Spool]:
    """Yields a spool in a temporary folder beside an output, which is removed in the end.

    Raises:
        DataError: If the place cannot be written to.
    """
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix=".isthmus-", dir=output.parent)
    except OSError as error:
        raise DataError(
            f"{output}: cannot be written: {error.strerror}; name another place"
        ) from error
    with folder as name, ExitStack() as opened:
        yield Spool(Path(name), opened)
