"""Rows for a trained pair a block at a time, so that a file may be larger than the memory."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, ParamSpec, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from isthmus.data.provenance import Provenance
from isthmus.data.rows import FloatArray, Rows
from isthmus.types import Shape

# 8 MiB of float32: long enough that what is done once for a block does not count.
_NUMBERS_IN_A_BLOCK = 2**21
_MOST_ROWS_IN_A_BLOCK = 2**17
Written = ParamSpec("Written")


@dataclass(frozen=True, eq=False)
class Block:
    """Some rows of a file, and what goes with them.

    Attributes:
        values: Shape (n, *row_shape), C-contiguous, in data units.
        index: What names each row in a table of results: columns of n entries, by name.
        carried: The columns of a table that are no features, if they were asked for.
    """

    values: FloatArray
    index: Mapping[str, NDArray[Any]]
    carried: pa.Table | None = None


WriteBlock = Callable[[Block, FloatArray], None]
"""Takes a block and the values, of the same shape, that take its place in the output."""


class RowStream(Protocol):
    """Rows that are read once, in order, block by block."""

    @property
    def total(self) -> int | None:
        """How many rows the file has; `None` where only reading it to the end tells."""

    def blocks(self, *, carry: bool = False) -> Iterator[Block]:
        """Reads the rows.

        Args:
            carry: Whether to read the columns that are no features too.

        Raises:
            DataError: At the block where the fault is.
        """

    def check_output(self, output: Path) -> None:
        """Refuses an output that `open_output` could not write.

        Raises:
            DataError: Naming the endings that are possible.
        """

    def open_output(
        self, output: Path, provenance: Provenance
    ) -> AbstractContextManager[WriteBlock]:
        """Gives what writes results in the form of the file; they appear whole or not at all."""


@dataclass(frozen=True, eq=False)
class WholeRows:
    """Rows that are in memory already, as one block: series, audio, folders of images."""

    rows: Rows

    @property
    def total(self) -> int:
        """How many rows there are."""
        return len(self.rows)

    def blocks(self, *, carry: bool = False) -> Iterator[Block]:
        """The one block."""
        yield Block(self.rows.values, self.rows.layout.index())

    def check_output(self, output: Path) -> None:
        """As the rows' own form."""
        self.rows.layout.check_output(output)

    @contextmanager
    def open_output(self, output: Path, provenance: Provenance) -> Iterator[WriteBlock]:
        """As the rows' own form."""
        yield lambda _, values: self.rows.layout.write(values, output, provenance)


def rows_in_a_block(row_shape: Shape) -> int:
    """How many rows are read at once."""
    return max(1, min(_NUMBERS_IN_A_BLOCK // prod(row_shape), _MOST_ROWS_IN_A_BLOCK))


def read_ahead(blocks: Iterator[Block]) -> Generator[Block]:
    """The same blocks; while one is worked on, a thread reads the next."""
    with ThreadPoolExecutor(1, thread_name_prefix="isthmus-read") as thread:
        upcoming = thread.submit(next, blocks, None)
        while (block := upcoming.result()) is not None:
            upcoming = thread.submit(next, blocks, None)
            yield block


@contextmanager
def write_behind(write: Callable[Written, None]) -> Iterator[Callable[Written, None]]:
    """The same function, but that a thread writes while the next block is worked on.

    One call is under way at most: the next one waits for it and raises what went wrong with it, as
    does the end of the block.
    """
    underway: Future[None] | None = None
    with ThreadPoolExecutor(1, thread_name_prefix="isthmus-write") as thread:

        def write_later(*args: Written.args, **kwargs: Written.kwargs) -> None:
            nonlocal underway
            if underway is not None:
                underway.result()
            underway = thread.submit(write, *args, **kwargs)

        yield write_later
        if underway is not None:
            underway.result()


def kept_numbers(first: int, count: int, kept: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """Numbers, counted from the file's first row, of the rows that a block keeps."""
    return np.arange(first, first + count) if kept is None else first + kept
