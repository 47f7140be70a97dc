"""Tells whether the first line of a csv is a row like those below it, and not their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from isthmus.data.columns.survey import DATE
from isthmus.data.columns.writing import MISSING_SIGN, is_number_somehow
from isthmus.data.tables import TableFormat

_ROWS = 1000
_FEWEST_ROWS = 5


@dataclass(frozen=True)
class _Line:
    """One cell of the first line, held against those below it.

    Attributes:
        is_row: Whether the cell is as those of its column; `None` if that cannot be told.
        is_sure: Whether no name would look so: a number with a fraction, a text that is below too.
    """

    is_row: bool | None
    is_sure: bool = False


def is_a_row(table: TableFormat) -> bool:
    """Returns whether the first row of a csv that is read without a header is a row indeed.

    It is one if its cells are as those below them: numbers where all others are numbers, dates
    where all are dates, texts that occur again. Whole numbers alone may be names, such as years.

    Args:
        table: The table, read with `data.header: none`.
    """
    names = table.schema().names
    first_rows = next(iter(table.batches([], [], _ROWS, names)), None)
    if first_rows is None or first_rows.num_rows <= _FEWEST_ROWS:
        return False
    lines = [_judged(first_rows.column(name).to_pylist()) for name in names]
    if any(line.is_row is False for line in lines):
        return False
    return any(line.is_sure for line in lines)


def _judged(cells: Sequence[str | None]) -> _Line:
    first, others = (cells[0] or "").strip(), [each.strip() for each in cells[1:] if each]
    if not first or not others or MISSING_SIGN.fullmatch(first):
        return _Line(None)
    there = [each for each in others if not MISSING_SIGN.fullmatch(each)]
    if there and all(map(is_number_somehow, there)):
        is_number = is_number_somehow(first)
        return _Line(is_number, is_sure=is_number and not first.lstrip("+-").isdecimal())
    if all(DATE.match(each) for each in others):
        is_date = DATE.match(first) is not None
        return _Line(is_date, is_sure=is_date)
    if first in others:
        return _Line(True, is_sure=True)
    # Where texts hardly repeat, as names of people do not, a new one says nothing.
    return _Line(None if 2 * len(set(others)) > len(others) else False)
