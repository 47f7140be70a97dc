"""Reads a job's input in blocks and gives each block the function that reports its progress."""

from __future__ import annotations

from collections.abc import Callable, Generator

from isthmus.data import Block, RowSource, read_ahead

OnRows = Callable[[int, int | None], None]
"""A function that is called with the number of rows done and the number of all rows.

The number of all rows is `None` where it is known only at the end of the file.
"""


def blocks_of(
    stream: RowSource, on_rows: OnRows | None, *, carry: bool = False
) -> Generator[tuple[Block, OnRows | None]]:
    """Reads the rows of a job, and the next block while the caller works on the current one.

    Args:
        stream: The job's input.
        on_rows: The function that is told the progress over the whole input.
        carry: Whether the columns that are written beside the results are read too.

    Yields:
        Each block, with a function that takes the progress within the block and tells `on_rows`
        the progress over the whole input. The function is `None` if `on_rows` is.
    """
    done, total = 0, stream.count if on_rows else None

    def within_block(rows: int, _: int | None) -> None:
        if on_rows:
            on_rows(done + rows, total)

    for block in read_ahead(stream.blocks(carry=carry)):
        yield block, within_block if on_rows else None
        done += len(block.values) + len(block.rejected)
