"""Numbers that are written as texts, and the signs of missing values, alike in every format."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from isthmus.data.tables import is_numeric, not_a_number
from isthmus.spec import DataSpec


def reads_texts(spec: DataSpec) -> bool:
    """Returns whether fields of the data section say how texts are read as numbers."""
    return bool(spec.missing_values or spec.thousands or spec.decimal != ".")


def null_values(spec: DataSpec) -> list[str]:
    """Returns the texts among numbers that mean a missing value, beside the empty one."""
    return [*pa_csv.ConvertOptions().null_values, *spec.missing_values]


def plain(cells: pa.ChunkedArray, spec: DataSpec) -> pa.ChunkedArray:
    """Returns texts in the writing of pyarrow, which a cast makes numbers of; missing is null."""
    trimmed = made = pc.utf8_trim_whitespace(cells)
    if spec.thousands:
        made = _without_thousands(trimmed, spec.thousands, spec.decimal)
    elif spec.decimal != ".":
        made = pc.replace_substring(trimmed, spec.decimal, ".")
    is_missing = pc.is_in(trimmed, pa.array(["", *null_values(spec)]))
    return pc.if_else(is_missing, pa.scalar(None, pa.string()), made)


def _without_thousands(cells: pa.ChunkedArray, thousands: str, decimal: str) -> pa.ChunkedArray:
    sign, point = re.escape(thousands), re.escape(decimal)
    # A sign that does not stand before three digits is no sign between thousands.
    is_number = pc.match_substring_regex(
        cells, rf"^[+-]?(\d{{1,3}}({sign}\d{{3}})+|\d+)?({point}\d*)?([eE][+-]?\d+)?$"
    )
    made = pc.replace_substring(cells, thousands, "")
    if decimal != ".":
        made = pc.replace_substring(made, decimal, ".")
    wrong = pc.binary_join_element_wise(cells, "?", "")  # which no cast takes for a number
    return pc.if_else(pc.fill_null(is_number, True), made, wrong)


def numbers_of(
    cells: pa.ChunkedArray, column: str, name: str, spec: DataSpec, first: int
) -> pa.ChunkedArray:
    """Returns texts as numbers.

    Args:
        cells: The texts.
        column: The name of the column.
        name: The name of the table for messages.
        spec: The data section, whose fields say how numbers are written.
        first: The number of the first row in the table, from 0.

    Raises:
        NotANumber: If one is no number, with its row.
    """
    made = plain(cells, spec)
    try:
        return made.cast(pa.float64())
    except pa.ArrowInvalid:
        for row, value in enumerate(made.to_pylist()):
            if value is not None and not _is_cast(value):
                raise not_a_number(name, column, str(cells[row].as_py()), first + row) from None
        raise


def with_numbers(
    table: pa.Table, names: Sequence[str], name: str, spec: DataSpec, first: int
) -> pa.Table:
    """Returns a table of a format with types, in which some columns are numbers.

    Texts are numbers only if a field of the data section says how they are read.

    Args:
        table: Rows of the table.
        names: The columns.
        name: The name of the table for messages.
        spec: The data section.
        first: The number of the first row in the table, from 0.

    Raises:
        NotANumber: If a column is not numeric, with the row of the first such value.
    """
    for column in names:
        kind, cells = table.schema.field(column).type, table.column(column)
        if is_numeric(kind):
            continue
        if not (_is_text(kind) and reads_texts(spec)):
            values = [None if each is None else str(each) for each in cells.to_pylist()]
            places = [place for place, each in enumerate(values) if each is not None]
            no_number = (place for place in places if not _is_number(values[place] or ""))
            place = next(no_number, places[0] if places else None)
            row = None if place is None else first + place
            raise not_a_number(name, column, "" if place is None else values[place] or "", row)
        made = numbers_of(cells.cast(pa.string()), column, name, spec, first)
        table = table.set_column(table.schema.get_field_index(column), column, made)
    return without_missing(table, names, spec)


def without_missing(table: pa.Table, names: Sequence[str], spec: DataSpec) -> pa.Table:
    """Returns a table in which numbers that mean a missing value, such as -999, are null."""
    missing = [number for sign in spec.missing_values if (number := _value(sign, spec)) is not None]
    for column in names if missing else ():
        kind, cells = table.schema.field(column).type, table.column(column)
        if pa.types.is_boolean(kind) or pa.types.is_null(kind):
            continue
        values = pa.array(missing, pa.float64())
        if pa.types.is_floating(kind):  # 0.1 as that type has it
            values = values.cast(kind, safe=False).cast(pa.float64())
        is_missing = pc.is_in(cells.cast(pa.float64(), safe=False), values)
        made = pc.if_else(is_missing, pa.scalar(None, kind), cells)
        table = table.set_column(table.schema.get_field_index(column), column, made)
    return table


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    types = pa.types
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _is_number(text: str) -> bool:
    return _is_cast(text.strip()) and text.strip().lower() not in ("nan", "inf", "-inf", "infinity")


def _is_cast(text: str) -> bool:
    """Returns whether pyarrow takes a text for a number; Python also takes 1_000 for one."""
    try:
        pa.scalar(text, pa.string()).cast(pa.float64())
    except pa.ArrowInvalid:
        return False
    return True


def _value(sign: str, spec: DataSpec) -> float | None:
    """Returns the number that a sign of a missing value is, if it is one."""
    text = sign.strip().replace(spec.thousands, "") if spec.thousands else sign.strip()
    try:
        number = float(text.replace(spec.decimal, "."))
    except ValueError:
        return None
    return number if number == number else None
