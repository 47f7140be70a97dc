"""Rows: the one way in which data come in, whatever they are read from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from isthmus.data.outputs.provenance import Provenance
from isthmus.errors import DataError
from isthmus.spec import RowSchema
from isthmus.types import Shape

if TYPE_CHECKING:
    from isthmus.data.room import Room

Labels = NDArray[Any]
FloatArray = NDArray[np.float32]
IndexArray = NDArray[np.int64]
# 8 MiB of float32: long enough that what is done once for a block does not count.
_NUMBERS_IN_A_BLOCK = 2**21
_MOST_ROWS_IN_A_BLOCK = 2**17
Written = ParamSpec("Written")


@dataclass(frozen=True)
class Rejected:
    """A row that cannot be read, and is set aside so that the rest of its source goes on.

    Attributes:
        row: The number in its file; of images and sounds the position of the file; both from 0.
        reason: The reason why it cannot be read.
        file: The file, relative to the folder that was given; empty if one file was given.
    """

    row: int
    reason: str
    file: str = ""


@dataclass(frozen=True, eq=False)
class Block:
    """Some consecutive rows of a source, and what goes with them.

    Attributes:
        values: Shape (n, *row_shape), C-contiguous, in data units; finite, except for NaN where
            `DataSpec.missing` is "mean".
        index: The columns that name each row in a table of results, and stay the same whenever the
            source is read: columns of n entries, by name; the number of a row, its file, its first
            step.
        labels: Shape (n,), as read; never trained on.
        groups: Shape (n,). Rows of one group fall in the same part of a split.
        starts: Shape (n,). The first step of each row in its series, where rows are ordered in
            time; they are then split by time. `None` where rows have no order.
        lengths: Shape (n,). The number of steps of the series of each row, if there are `starts`.
        reasons: Shape (n,), texts. Why a row is unusual whatever its score is, such as a category
            that training did not have; empty for the others. `None` if no row can be.
        carried: The columns of a table that are no features, if they were asked for.
        part: The position of the file of the rows among those of the source.
        rejected: The rows between these, and before them, that are set aside because they cannot
            be read; a block may hold nothing else. Only `UseOptions.set_aside` sets rows aside.
    """

    values: FloatArray
    index: Mapping[str, NDArray[Any]]
    labels: Labels | None = None
    groups: IndexArray | None = None
    starts: IndexArray | None = None
    lengths: IndexArray | None = None
    reasons: NDArray[np.str_] | None = None
    carried: pa.Table | None = None
    part: int = 0
    rejected: tuple[Rejected, ...] = ()

    def take(self, kept: IndexArray) -> Block:
        """Returns the block with only these rows, in this order."""

        def taken(column: NDArray[Any] | None) -> NDArray[Any] | None:
            return None if column is None else column[kept]

        return replace(
            self,
            values=np.ascontiguousarray(self.values[kept]),
            index={name: column[kept] for name, column in self.index.items()},
            labels=taken(self.labels),
            groups=taken(self.groups),
            starts=taken(self.starts),
            lengths=taken(self.lengths),
            reasons=taken(self.reasons),
            carried=None if self.carried is None else self.carried.take(pa.array(kept)),
        )


WriteBlock = Callable[[Block, FloatArray], None]
"""Takes a block and the values, one for each row, that take its place in the output.

They may have another shape than the block's, where the form of the output can hold that.
"""


class RowSource(Protocol):
    """Rows of a file or of several, which are read in order, block by block.

    A source may be read more than once, and gives the same rows each time.
    """

    @property
    def schema(self) -> RowSchema:
        """The schema of the rows, as far as it is known before they are read."""

    @property
    def count(self) -> int | None:
        """The number of rows; `None` where only reading to the end tells.

        Rows that `DataSpec.missing` drops and labels that are not kept count too.
        """

    def blocks(self, *, carry: bool = False) -> Iterator[Block]:
        """Reads the rows.

        Args:
            carry: Whether to read the columns that are no features too, because they are written
                beside the results.

        Raises:
            DataError: At the block where the fault is.
        """

    def check_output(self, output: Path) -> None:
        """Refuses an output that `open_output` could not write, before the work is done.

        Raises:
            DataError: With the endings that are possible.
        """

    def open_output(
        self, output: Path, provenance: Provenance
    ) -> AbstractContextManager[WriteBlock]:
        """Gives a function that writes results in the form of the input.

        The output appears whole at the end of the context, or not at all if an error comes first.
        """


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows in memory.

    Attributes:
        values: Shape (N, *row_shape), C-contiguous, in data units; finite, except for NaN where
            `DataSpec.missing` is "mean".
        schema: The schema of the rows.
        index: The columns that name each row, of N entries.
        labels: Shape (N,), as read; never trained on.
        groups: Shape (N,). Rows of one group fall in the same part of a split; a group is a file.
        starts: Shape (N,). The first step of each row in its series. `None` without an order.
        lengths: Shape (N,). The number of steps of each row's series.
        part_sizes: The number of rows of each file; empty if they were chosen since.
        rejected: The rows that are set aside because they cannot be read.
    """

    values: FloatArray
    schema: RowSchema
    index: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    labels: Labels | None = None
    groups: IndexArray | None = None
    starts: IndexArray | None = None
    lengths: IndexArray | None = None
    part_sizes: tuple[int, ...] = ()
    rejected: tuple[Rejected, ...] = ()

    def __len__(self) -> int:
        return len(self.values)


def collect(source: RowSource, room: Room | None = None) -> Rows:
    """Reads all rows of a source into memory.

    Args:
        source: The source.
        room: The memory that the rows may take, if it is limited.

    Raises:
        DataError: If the source cannot be read, or its rows do not fit into the memory.
    """
    if room is not None:
        room.refuse_count(source)
    blocks: list[Block] = []
    rejected: list[Rejected] = []
    sizes: Counter[int] = Counter()
    values: FloatArray | None = None
    filled = 0
    for block in read_ahead(source.blocks()):
        end = filled + len(block.values)
        if room is not None:
            room.refuse(end, block.values.shape[1:])
        sizes[block.part] += len(block.values)
        rejected += block.rejected
        if values is None and source.count is not None and end <= source.count:
            values = _room_for(source.count, block.values.shape[1:])
        if values is not None and end > len(values):  # the source has grown since it was counted
            grown = np.empty((2 * end, *values.shape[1:]), dtype=np.float32)
            grown[:filled] = values[:filled]
            values = grown
        if values is not None:
            # Into their place at once: rows are never in memory twice.
            values[filled:end] = block.values
            block = replace(block, values=values[:0])
        filled = end
        blocks.append(block)
    if not blocks:
        return Rows(np.empty((0, *source.schema.shape), dtype=np.float32), source.schema)
    whole = values[:filled] if values is not None else joined([each.values for each in blocks])
    rows = _rows_of(_joined_blocks(blocks, whole), source.schema)
    part_sizes = tuple(sizes[part] for part in sorted(sizes))
    return replace(rows, part_sizes=part_sizes, rejected=tuple(rejected))


def _room_for(count: int, shape: tuple[int, ...]) -> FloatArray:
    try:
        return np.empty((count, *shape), dtype=np.float32)
    except MemoryError as error:
        raise DataError(
            f"{count:,} rows of shape {shape} need {4 * count * prod(shape) / 2**30:,.1f} GiB of "
            "memory, which this process has not; read fewer of them"
        ) from error


def joined(arrays: list[NDArray[Any]]) -> NDArray[Any]:
    """Returns arrays as one, without a copy if there is only one."""
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def joined_columns(parts: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Returns the columns of consecutive blocks as one set of columns; none of no blocks."""
    return {name: joined([part[name] for part in parts]) for name in (parts[0] if parts else ())}


def _joined_blocks(blocks: list[Block], values: FloatArray) -> Block:
    def column(name: str) -> NDArray[Any] | None:
        parts = [getattr(block, name) for block in blocks]
        return None if parts[0] is None else joined(parts)

    index = joined_columns([block.index for block in blocks])
    return Block(
        values, index, column("labels"), column("groups"), column("starts"), column("lengths")
    )


def _rows_of(block: Block, schema: RowSchema) -> Rows:
    return Rows(
        values=block.values,
        schema=schema,
        index=block.index,
        labels=block.labels,
        groups=block.groups,
        starts=block.starts,
        lengths=block.lengths,
    )


def rows_in_a_block(row_shape: Shape) -> int:
    """Returns how many rows of a shape are read at once."""
    return max(1, min(_NUMBERS_IN_A_BLOCK // prod(row_shape), _MOST_ROWS_IN_A_BLOCK))


def read_ahead(blocks: Iterator[Block]) -> Generator[Block]:
    """Yields the same blocks; a thread reads the next while the caller works on one."""
    with ThreadPoolExecutor(1, thread_name_prefix="isthmus-read") as thread:
        upcoming = thread.submit(next, blocks, None)
        while (block := upcoming.result()) is not None:
            upcoming = thread.submit(next, blocks, None)
            yield block


@contextmanager
def write_behind(write: Callable[Written, None]) -> Iterator[Callable[Written, None]]:
    """Yields a function that does the same in a thread, while the caller works on the next block.

    One call is under way at most: the next call waits for it and raises its error, as does the
    end of the context.
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
