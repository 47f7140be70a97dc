"""The blocks of a job's input, each with the function that it tells its progress to."""

from __future__ import annotations

from collections.abc import Callable, Generator

from isthmus.allocation import keep_freed_memory
from isthmus.data import Block, RowStream, read_ahead

OnRows = Callable[[int, int | None], None]
"""Told (rows done, rows in all); the latter is `None` where only the end of the file tells."""


def blocks_of(
    stream: RowStream, on_rows: OnRows | None, *, carry: bool = False
) -> Generator[tuple[Block, OnRows | None]]:
    """Reads the rows of a job, the next block while one is worked on.

    Args:
        stream: The input.
        on_rows: Told of the rows of the whole input.
        carry: Whether to read what goes back beside the results.

    Returns:
        Each block, and the function to tell of the block's own rows.
    """
    keep_freed_memory()
    done = 0

    def within_block(rows: int, _: int | None) -> None:
        if on_rows:
            on_rows(done + rows, stream.total)

    for block in read_ahead(stream.blocks(carry=carry)):
        yield block, within_block if on_rows else None
        done += len(block.values)
