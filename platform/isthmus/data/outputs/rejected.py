"""Writes the rows that cannot be read, with their reasons, to a file beside the results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pyarrow as pa

from isthmus.data.outputs.provenance import Provenance, sidecar_path
from isthmus.data.outputs.results import table_beside
from isthmus.data.outputs.table_output import open_table_output
from isthmus.data.rows import Rejected
from isthmus.errors import DataError

REJECTED_SCHEMA = pa.schema([("row", pa.int64()), ("file", pa.string()), ("reason", pa.string())])
"""The columns of the file of rows that are set aside."""


def rejected_path(output: Path) -> Path:
    """Returns the path of the rows that are set aside from an output: `OUTPUT.rejected.csv`."""
    return table_beside(output, "rejected")


class RejectedRows:
    """The rows of an input that are set aside."""

    def __init__(self, called: str, open_file: Callable[[], Callable[[pa.Table], None]]) -> None:
        """Creates it empty.

        Args:
            called: The name of the input for messages.
            open_file: Opens the file, and returns the function that appends a table to it.
        """
        self.count = 0
        """The number of rows so far."""
        self._called = called
        self._first: Rejected | None = None
        self._open_file = open_file
        self._append: Callable[[pa.Table], None] | None = None

    def add(self, rejected: Sequence[Rejected]) -> None:
        """Adds rows; the file is opened at the first."""
        if not rejected:
            return
        self._first = self._first or rejected[0]
        self.count += len(rejected)
        self._append = self._append or self._open_file()
        columns = (
            [each.row for each in rejected],
            [each.file or Path(self._called).name for each in rejected],
            [each.reason for each in rejected],
        )
        self._append(pa.table(columns, schema=REJECTED_SCHEMA))

    def refuse_nothing_left(self, rows: int) -> None:
        """Refuses an input of which no row could be read.

        Args:
            rows: The number of rows that could be read.

        Raises:
            DataError: With the reason of the first row.
        """
        if rows == 0 and self._first is not None:
            raise DataError(nothing_read(self._called, self.count, self._first))


def nothing_read(called: str, count: int, first: Rejected) -> str:
    """Returns the message about an input of which no row could be read.

    Args:
        called: The name of the input for messages.
        count: The number of its rows.
        first: The first of them.
    """
    return f"{called}: none of its {count} row(s) can be read; {place_of(first)}: {first.reason}"


def place_of(rejected: Rejected) -> str:
    """Returns the place of a row that is set aside, in words: `row 3 of a.csv`."""
    return f"row {rejected.row} of {rejected.file}".removesuffix(" of ")


@contextmanager
def open_rejected(output: Path, called: str, provenance: Provenance) -> Iterator[RejectedRows]:
    """Yields the rows that are set aside, and writes them beside the output if there are any.

    The file appears whole at the end of the context, or not at all if an error comes first. One of
    an earlier output is removed.

    Args:
        output: The path of the results.
        called: The name of the input for messages.
        provenance: That of the results.
    """
    target = rejected_path(output)
    with ExitStack() as opened:

        def open_file() -> Callable[[pa.Table], None]:
            return opened.enter_context(open_table_output(target, provenance))

        rejected = RejectedRows(called, open_file)
        yield rejected
    if not rejected.count:
        for earlier in (target, sidecar_path(target)):
            # A read-only disk refuses to remove even what is not there.
            if earlier.exists():
                earlier.unlink()
