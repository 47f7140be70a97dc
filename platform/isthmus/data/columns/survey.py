"""Finds out what the columns of a table hold, from its first rows.

Job files are drafted from the result, and all columns that training refuses are named at once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from isthmus.data.columns.writing import MISSING_SIGN, Writing, may_be_decimals, writing_of
from isthmus.data.tables import TableFormat, is_numeric
from isthmus.data.tables._written import null_values, reads_texts
from isthmus.spec import DataSpec

_MOST_ROWS = 100_000
_FEWEST_ROWS = 1_000
_MOST_CELLS = 4_000_000
_MOST_CATEGORIES = 50
DATE = re.compile(r"\d{4}-\d{1,2}-\d{1,2}|\d{1,2}[./-]\d{1,2}[./-]\d{2,4}|\d{1,2}:\d{2}(:\d{2})?$")
"""Matches the beginning of a text that is a date or a time."""
_MOST_MISSING_SIGNS = 3
_LARGEST_FLOAT32 = float(np.finfo(np.float32).max)
_WITH_DECIMAL_COMMAS = (Writing.DECIMAL_COMMA, Writing.THOUSANDS_BY_POINTS)
_BOOLEANS = ("true", "false")
_LONGEST_SHOWN = 40


class Holds(StrEnum):
    """The kind of a column's cells."""

    NUMBERS = "numbers"
    CATEGORIES = "categories"
    TEXTS = "texts"
    TIMES = "times"
    OBJECTS = "objects"
    NOTHING = "nothing"


@dataclass(frozen=True, eq=False)
class Column:
    """The content of one column of a table, in the rows that were looked at.

    Attributes:
        name: The name of the column.
        holds: The kind of its cells, apart from missing ones.
        is_numeric: Whether training takes the column as numbers, as the table is.
        numbers: Shape (N,). Its cells as float64; NaN is missing, or no number.
        texts: Shape (N,). Its cells as they are written; `None` if they are no texts.
        first_text: The row of the first cell that is no number, counted from 0; -1 if all are.
        missing_signs: The texts that seem to mean a missing value, where all others are numbers.
        writing: The way its numbers are written, if they are texts that a field of the data section
            lets be read, or percentages.
    """

    name: str
    holds: Holds
    is_numeric: bool
    numbers: NDArray[np.float64]
    texts: NDArray[np.object_] | None = None
    first_text: int = -1
    missing_signs: tuple[str, ...] = ()
    writing: Writing | None = None

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def is_missing(self) -> NDArray[np.bool_]:
        """Whether each cell is missing, shape (N,)."""
        if self.texts is None or self.is_numeric:
            return np.isnan(self.numbers)
        return np.asarray(pd.isna(self.texts), dtype=np.bool_)

    @property
    def is_infinite(self) -> NDArray[np.bool_]:
        """Whether each cell is infinite or beyond float32, shape (N,)."""
        return np.abs(self.numbers) > _LARGEST_FLOAT32

    @property
    def has_fractions(self) -> bool:
        """Whether some of its numbers are not whole."""
        there = self.numbers[np.isfinite(self.numbers)]
        return bool((there != np.round(there)).any())

    @property
    def has_points(self) -> bool:
        """Whether the decimal sign of some of its numbers is a point."""
        if self.writing is None:
            return self.has_fractions
        is_point = self.writing is Writing.THOUSANDS
        return is_point and any("." in text for text in self._texts_there)

    @property
    def may_be_decimals(self) -> bool:
        """Whether the comma of its texts may be a decimal sign, and not between thousands."""
        return may_be_decimals(self._texts_there)

    @property
    def _texts_there(self) -> list[str]:
        return [] if self.texts is None else [str(each) for each in self.texts[~self.is_missing]]

    @property
    def example(self) -> str:
        """The first cell that is no number, cut if it is long; empty if there is none."""
        if self.texts is None or self.first_text < 0:
            return ""
        text = str(self.texts[self.first_text])
        return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 3]}..."

    @property
    def cells(self) -> list[int | float | str]:
        """The cells that are there, as labels: whole numbers as such, others as texts."""
        there = ~self.is_missing
        numbers = self.numbers[there]
        if self.is_numeric and not self.is_boolean and (numbers == np.round(numbers)).all():
            return [int(each) for each in numbers]
        if self.texts is not None:
            return [str(each) for each in self.texts[there]]
        return [float(each) for each in numbers]

    @property
    def is_boolean(self) -> bool:
        """Whether the cells are true and false, which training takes as 1 and 0."""
        if self.texts is None or not self.is_numeric:
            return False
        return all(str(each).lower() in _BOOLEANS for each in self.texts[~self.is_missing])

    @property
    def values(self) -> list[str]:
        """The different values, sorted; those of numbers as numbers are."""
        if self.texts is not None and not self.is_numeric:
            return sorted({str(each) for each in self.texts[~self.is_missing]})
        found = np.unique(self.numbers[~np.isnan(self.numbers)])
        return [f"{value:.0f}" if value.is_integer() else f"{value:g}" for value in found]


def survey(table: TableFormat, names: Sequence[str], spec: DataSpec) -> list[Column]:
    """Looks at the first rows of a table.

    Args:
        table: The table.
        names: The columns to look at.
        spec: The data section, whose fields say how numbers are written.

    Raises:
        DataError: If the table is damaged.
    """
    rows = rows_looked_at(len(names))
    found: pa.Table | None = None
    for part in table.batches([], [], rows, list(names)):
        if found is not None and part.schema != found.schema:
            break  # json lines whose later values are of another type
        found = part if found is None else pa.concat_tables([found, part], promote_options="none")
        if found.num_rows >= rows:
            break
    if found is None:
        return []
    first_rows = found.slice(0, rows)
    is_written = table.types() is None  # a csv: all of its cells are texts
    schema = table.schema()
    return [
        _of_texts(name, _cells(first_rows, name), spec)
        if is_written
        else _of_type(name, _cells(first_rows, name), schema.field(name).type, spec)
        for name in names
    ]


def fields_that_read(
    columns: Sequence[Column], decimal: str = ".", thousands: str | None = None
) -> tuple[dict[str, str], frozenset[str]]:
    """Returns how to read columns of texts that are numbers, written other than as 12.5.

    Args:
        columns: All columns that are to be numbers.
        decimal: The decimal sign of the data section as it is.
        thousands: The sign between thousands, likewise.

    Returns:
        The fields of the data section, and the names of the columns that they let be read.
    """
    by_writing: dict[Writing, list[Column]] = {}
    for each in columns:
        if each.writing not in (None, Writing.PERCENT):
            by_writing.setdefault(each.writing, []).append(each)
    commas = [writing for writing in _WITH_DECIMAL_COMMAS if writing in by_writing]
    ambiguous = [each for each in by_writing.get(Writing.THOUSANDS, []) if each.may_be_decimals]
    fields: dict[str, str] = {}
    read: list[Column] = []
    if commas and not any(each.has_points for each in columns):
        fields = dict(pair for writing in commas for pair in writing.value)
        read = [*(each for writing in commas for each in by_writing[writing]), *ambiguous]
    elif Writing.THOUSANDS in by_writing:
        fields, read = dict(Writing.THOUSANDS.value), by_writing[Writing.THOUSANDS]
    settled = {"decimal": decimal, "thousands": thousands, **fields}
    is_kept = decimal in (".", settled["decimal"]) and thousands in (None, settled["thousands"])
    if not is_kept or settled["decimal"] == settled["thousands"]:
        return {}, frozenset()
    return fields, frozenset(each.name for each in read)


def rows_looked_at(columns: int) -> int:
    """Returns how many rows of a table are looked at."""
    return max(_FEWEST_ROWS, min(_MOST_ROWS, _MOST_CELLS // max(1, columns)))


def _cells(table: pa.Table, name: str) -> pa.Array:
    column = table.column(name).combine_chunks()
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _as_said(cells: pa.Array, said: pa.DataType) -> pa.Array:
    """Returns the cells of a column of numbers that come as texts as numbers, if all of them are.

    A database gives texts, and JSON lines may have texts below the numbers that tell the type.
    """
    if not is_numeric(said) or is_numeric(cells.type):
        return cells
    try:
        return cells.cast(said if pa.types.is_boolean(said) else pa.float64())
    except pa.ArrowInvalid:
        return cells


def _of_texts(name: str, cells: pa.Array, spec: DataSpec) -> Column:
    """Looks at a column of texts, as training would read it."""
    missing = {"", *null_values(spec)}
    texts = np.array([None if each in missing else each for each in cells.to_pylist()], object)
    plain = pd.Series(texts, dtype=object).str.strip()
    if spec.thousands:
        plain = plain.str.replace(spec.thousands, "", regex=False)
    if spec.decimal != ".":
        plain = plain.where(~plain.str.contains(".", regex=False, na=False), "no number")
        plain = plain.str.replace(spec.decimal, ".", regex=False)
    return _judged(name, texts, _numbers(plain), is_numeric=None)


def _of_type(name: str, cells: pa.Array, said: pa.DataType, spec: DataSpec) -> Column:
    """Looks at a column of a table whose file says the types."""
    cells = _as_said(cells, said)
    kind, types = cells.type, pa.types
    is_number = is_numeric(said) and is_numeric(kind)
    if is_numeric(kind):
        numbers = cells.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        numbers = np.asarray(numbers, dtype=np.float64)
        is_kept = not is_number or types.is_boolean(kind)
        texts = np.array(cells.cast(pa.string()).to_pylist(), object) if is_kept else None
        holds = Holds.NOTHING if np.isnan(numbers).all() else Holds.NUMBERS
        if is_number:
            return Column(name, holds, True, numbers, texts)
        return _judged(name, texts, numbers, is_numeric=False)
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        as_read = _of_texts(name, cells, spec)
        if reads_texts(spec) or not as_read.is_numeric:
            return as_read
        texts = np.array([each or None for each in cells.to_pylist()], object)
        return _judged(name, texts, _numbers(pd.Series(texts, dtype=object)), is_numeric=False)
    is_time = types.is_timestamp(kind) or types.is_date(kind)
    as_written = [None if each is None else str(each) for each in cells.to_pylist()]
    return Column(
        name,
        Holds.TIMES if is_time else Holds.OBJECTS,
        False,
        np.full(len(cells), np.nan),
        np.array(as_written, object),
        first_text=next((i for i, each in enumerate(as_written) if each is not None), -1),
    )


def _judged(
    name: str,
    texts: NDArray[np.object_] | None,
    numbers: NDArray[np.float64],
    is_numeric: bool | None,
) -> Column:
    """Tells what texts are; `is_numeric` is `None` if training takes all texts that are numbers."""
    assert texts is not None  # noqa: S101 (the callers have them)
    is_there = ~np.asarray(pd.isna(texts), dtype=np.bool_)
    is_text = is_there & np.isnan(numbers)
    values = {str(each) for each in texts[is_there]}
    first = int(is_text.argmax()) if is_text.any() else -1
    signs: tuple[str, ...] = ()
    if is_numeric is None and not is_text.any():
        holds = Holds.NUMBERS if is_there.any() else Holds.NOTHING
        return Column(name, holds, True, numbers, texts)
    others = {str(each) for each in texts[is_text]}
    if is_numeric is None and len(others) < len(values):
        are_signs = all(MISSING_SIGN.fullmatch(each.strip()) for each in others)
        signs = tuple(sorted(others)) if are_signs and len(others) <= _MOST_MISSING_SIGNS else ()
    if not is_there.any():
        holds = Holds.NOTHING
    elif all(DATE.match(each.strip()) for each in values):
        holds = Holds.TIMES
    elif len(values) <= _MOST_CATEGORIES and 2 * len(values) <= is_there.sum():
        holds = Holds.CATEGORIES
    else:
        holds = Holds.TEXTS
    first = first if first >= 0 or not is_there.any() else int(is_there.argmax())
    writing = writing_of([str(each) for each in texts[is_there]]) if is_numeric is None else None
    return Column(name, holds, False, numbers, texts, first, signs, writing)


def _numbers(texts: pd.Series[str]) -> NDArray[np.float64]:
    """Returns texts as numbers, as pyarrow reads them; NaN where a text is none."""
    there = texts.dropna().str.lower()
    if len(there) and there.isin(_BOOLEANS).all():
        return np.asarray(there.eq("true").reindex(texts.index).astype(float), dtype=np.float64)
    return np.asarray(pd.to_numeric(texts, errors="coerce"), dtype=np.float64)
