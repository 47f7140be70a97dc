"""The blocks in which a csv is parsed: how large they are, and what is made of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from mmap import ACCESS_READ, mmap
from pathlib import Path

import pyarrow as pa

# What pyarrow makes of so small a block stays in a core's cache until it is used.
_CACHED_BYTES = 1 << 20
# Rows without quotes hardly differ in length: if the first ones are so many times shorter than a
# block, it is likely that each of them fits into one.
_LEAST_ROWS = 64
# What is done once for each table counts if it is small.
_TABLE_BYTES = 16 << 20
_LOOKED_AT_BYTES = 1 << 20


def size_of_blocks(first_lines: Sequence[str], largest: int, *, has_quotes: bool) -> int:
    """Returns the bytes of the blocks in which rows are parsed, each of which likely holds a row.

    Args:
        first_lines: The first lines of the file.
        largest: The bytes of the largest block.
        has_quotes: Whether cells are in quotes. These may be long texts.
    """
    is_short = max(len(line) for line in first_lines) * _LEAST_ROWS <= _CACHED_BYTES
    return min(_CACHED_BYTES, largest) if is_short and not has_quotes else largest


def row_too_long(name: str, lines: Iterable[str], largest: int) -> str:
    """Returns what is wrong with a csv that has a row which fits into no block.

    Args:
        name: The name of the file for the message.
        lines: The lines of the file, a character for each byte.
        largest: The bytes of the largest block.
    """
    size = f"more than {largest >> 20} MiB"
    number = next((n for n, line in enumerate(lines, 1) if len(line) > largest), None)
    if number is not None:
        return (
            f"{name}: line {number} has {size}, which is too long for a row of a csv; shorten its "
            "texts, or convert the file to parquet"
        )
    return f"{name}: a row of several lines has {size}; close the quote that begins its text"


def joined(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    """Yields batches put together to tables of at most so many rows, unless one batch has more."""
    held: list[pa.RecordBatch] = []
    held_rows = held_bytes = 0
    for batch in batches:
        if held and (held_rows + len(batch) > rows or held_bytes + batch.nbytes > _TABLE_BYTES):
            yield pa.Table.from_batches(held)
            held, held_rows, held_bytes = [], 0, 0
        held.append(batch)
        held_rows, held_bytes = held_rows + len(batch), held_bytes + batch.nbytes
    if held:
        yield pa.Table.from_batches(held)


def may_hold_line_breaks(path: Path, compression: str | None) -> bool:
    """Returns whether a cell of a csv may hold a line break; one without is parsed faster.

    A quote follows a line break within a cell. The quotes of the first line do not count for that
    reason: many programs put the names of the columns in quotes, and nothing else.
    """
    with ExitStack() as opened:
        if compression is None:
            file = opened.enter_context(path.open("rb"))
            content = opened.enter_context(mmap(file.fileno(), 0, access=ACCESS_READ))
            return content.find(b'"', content.find(b"\n") + 1) >= 0
        stream = opened.enter_context(pa.input_stream(str(path), compression=compression))
        part = stream.read(_LOOKED_AT_BYTES)
        part = part[part.find(b"\n") + 1 :]
        while part:
            if b'"' in part:
                return True
            part = stream.read(_LOOKED_AT_BYTES)
    return False
