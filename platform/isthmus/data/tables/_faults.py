"""Rows of texts in which some cells are no numbers, or some rows have too few cells or too many."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
from numpy.typing import NDArray

from isthmus.data.rows import IndexArray, Rejected
from isthmus.data.tables import NumberedRows

_LONGEST_SHOWN = 40
Plain = Callable[[pa.ChunkedArray], pa.ChunkedArray]
"""Returns cells as texts that a cast makes numbers of; a missing value as null."""


def no_number(column: str, value: str) -> str:
    """Returns the reason why a row with such a value in a column of numbers is set aside."""
    shown = value if len(value) <= _LONGEST_SHOWN else f"{value[: _LONGEST_SHOWN - 3]}..."
    return f'column "{column}" holds "{shown}", which is no number'


@dataclass
class RowsOfWrongLength:
    """Notes the rows of a csv whose number of cells is not that of the columns, and skips them.

    Attributes:
        rows_before: The number of rows that the parser has counted when it comes to row 0: itself
            from 1, and the header.
    """

    rows_before: int
    _noted: dict[int, Rejected] = field(default_factory=dict)

    def skip(self, row: pa_csv.InvalidRow) -> str:
        """Notes a row; pyarrow calls this, and knows the row's number if it uses one thread."""
        number = row.number - self.rows_before
        reason = f"has {row.actual_columns} cells, and the table has {row.expected_columns} columns"
        self._noted[number] = Rejected(number, reason)
        return "skip"

    def take_until(self, number: int | None) -> tuple[Rejected, ...]:
        """Returns the rows that come before a row, or all; those are no longer noted."""
        found = [each for each in self._noted if number is None or each < number]
        return tuple(self._noted.pop(each) for each in sorted(found))

    def numbers(self, first: int, count: int) -> IndexArray:
        """Returns the numbers of the next rows that were not skipped, from the row `first`."""
        skipped = np.array(sorted(each for each in self._noted if each >= first), dtype=np.int64)
        candidates = np.arange(first, first + count + len(skipped))
        return candidates[~np.isin(candidates, skipped)][:count]


def numbered(
    batches: Iterator[pa.RecordBatch], wrong: RowsOfWrongLength, first: int, rows: int
) -> Iterator[NumberedRows]:
    """Numbers the rows that a parser has not skipped.

    Args:
        batches: The blocks that the parser gives.
        wrong: The rows that the parser has skipped so far.
        first: The first row to give.
        rows: The largest number of rows to give at once.
    """
    done, empty = 0, None
    for batch in batches:
        table = pa.Table.from_batches([batch])
        empty = table.slice(0, 0)
        numbers = wrong.numbers(done, len(table))
        done = int(numbers[-1]) + 1 if len(numbers) else done
        is_wanted = numbers >= first
        table, numbers = table.filter(pa.array(is_wanted)), numbers[is_wanted]
        for start in range(0, len(numbers), rows):
            end = min(start + rows, len(numbers))
            rejected = wrong.take_until(int(numbers[end - 1]))
            yield NumberedRows(table.slice(start, rows), numbers[start:end], rejected)
    rejected = wrong.take_until(None)
    if rejected and empty is not None:
        yield NumberedRows(empty, np.empty(0, dtype=np.int64), rejected)


def parsed(batch: NumberedRows, types: Mapping[str, pa.DataType], plain: Plain) -> NumberedRows:
    """Parses columns of texts as numbers, and sets aside the rows with a cell that is none.

    Args:
        batch: Rows of texts.
        types: The type that the cells of each column of numbers are cast to.
        plain: Makes texts of a column fit for a cast.
    """
    table, reasons = batch.table, dict[int, str]()
    for name, wanted in types.items():
        cells = table.column(name)
        column = plain(cells).combine_chunks()
        made, is_wrong = _cast(column, wanted)
        for place in np.flatnonzero(is_wrong):
            reasons.setdefault(int(place), no_number(name, str(cells[int(place)].as_py())))
        place_of_column = table.schema.get_field_index(name)
        table = table.set_column(place_of_column, name, made)
    if not reasons:
        return NumberedRows(table, batch.numbers, batch.rejected)
    is_sound = np.ones(len(table), dtype=bool)
    is_sound[list(reasons)] = False
    found = [Rejected(int(batch.numbers[place]), reason) for place, reason in reasons.items()]
    rejected = sorted((*batch.rejected, *found), key=lambda each: each.row)
    return NumberedRows(table.filter(pa.array(is_sound)), batch.numbers[is_sound], tuple(rejected))


def _cast(column: pa.Array, wanted: pa.DataType) -> tuple[pa.Array, NDArray[np.bool_]]:
    """Casts texts; those that cannot be cast become null.

    pyarrow does not say which these are, so halves are tried until single ones are left.
    """
    try:
        return column.cast(wanted), np.zeros(len(column), dtype=bool)
    except pa.ArrowInvalid:
        if len(column) == 1:
            return pa.nulls(1, wanted), np.ones(1, dtype=bool)
    middle = len(column) // 2
    halves: Sequence[tuple[pa.Array, NDArray[np.bool_]]] = [
        _cast(column.slice(0, middle), wanted),
        _cast(column.slice(middle), wanted),
    ]
    arrays, wrong = zip(*halves, strict=True)
    return pa.concat_arrays(arrays), np.concatenate(wrong)
