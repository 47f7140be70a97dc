"""The sign between the cells of a csv, found by looking at its first lines."""

from __future__ import annotations

import csv
from collections.abc import Sequence

from isthmus.data.columns.writing import is_number_somehow

_DELIMITERS = (",", ";", "\t", "|")


def delimiter_of(lines: Sequence[str], ending: str, decimal: str) -> str:
    """Returns the delimiter by which the first lines are a table: with the most equal columns.

    A sign within quotes does not count, the decimal sign only if no other will do, and the comma
    only if it is not that of numbers such as 8,60 which another sign separates.
    """
    if ending.startswith(".tsv"):
        return "\t"

    def columns(delimiter: str) -> tuple[bool, bool, bool, int]:
        try:
            rows = [row for row in csv.reader(lines, delimiter=delimiter) if row]
        except csv.Error:
            return False, False, False, 0
        # The last row may be cut within quotes.
        whole = rows[:-1] if len(rows) > 2 else rows
        is_table = len({len(row) for row in whole}) == 1 and len(whole[0]) > 1
        with_commas = [cell for row in whole[1:] or whole for cell in row if "," in cell]
        explains = bool(with_commas) and all(map(is_number_somehow, with_commas))
        has_commas = delimiter != "," and is_table and explains
        return is_table, delimiter != decimal, has_commas, len(rows[0])

    return max(_DELIMITERS, key=columns)
