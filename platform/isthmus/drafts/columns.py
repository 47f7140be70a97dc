"""Tells what each column of a table is for: a feature, a category, a label, a time, or nothing."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from isthmus.data.columns.chosen import is_index
from isthmus.data.columns.survey import Column, Holds, fields_that_read
from isthmus.data.columns.writing import Writing

LABEL_NAMES = frozenset(
    {"label", "labels", "class", "classes", "target", "targets", "y", "ground_truth", "diagnosis"}
    | {"anomaly", "is_anomaly", "outlier", "is_outlier", "fraud", "is_fraud", "attack", "outcome"}
    | {"fault", "is_fault", "failure", "defect", "is_defect", "species", "normal", "is_normal"}
)
"""The usual names of columns and arrays of labels, in lower case."""
_IDENTIFIER = re.compile(
    r"(.*[_\-. ])?(id|ids|uuid|guid|key|index|idx|row|rowid|row_?number|serial|hash|no|nr)"
    r"|.*[a-z](Id|ID|Uuid|Key)"
)
_TIME = re.compile(
    r"(.*[_\-. ])?(time|times|date|datetime|timestamp|ts|when|created|updated|unixtime|epoch)"
    r"([_\-. ](at|utc|s|ms|ns))?|.*[a-z](Time|Date|At)|.*(_at)",
    re.IGNORECASE,
)
_MOST_LABELS = 20
_SHOWN_VALUES = 6
_ROWS_THAT_TELL_A_NUMBERING = 10
_MOSTLY_EMPTY = 0.95


class Role(StrEnum):
    """The use that training makes of a column."""

    FEATURE = "feature"
    CATEGORY = "category"
    LABEL = "label"
    TIME = "time"
    LEFT_OUT = "left out"


@dataclass(frozen=True, eq=False)
class Judged:
    """A column and what it is for.

    Attributes:
        column: The column.
        role: The purpose of the column.
        why: The reason, for a comment.
    """

    column: Column
    role: Role
    why: str = ""


def judge(columns: Sequence[Column], indexes: Collection[str] = ()) -> list[Judged]:
    """Tells what each column is for; at most one holds the labels.

    Args:
        columns: The columns of a table.
        indexes: The columns that the file itself names as an index.
    """
    _, read = fields_that_read(columns)
    label = next((each.name for each in columns if _is_label(each)), None)
    return [
        Judged(each, Role.LABEL, shown_values(each.values))
        if each.name == label
        else Judged(each, *_role(each, indexes, is_read=each.name in read))
        for each in columns
    ]


def shown_values(values: Sequence[str]) -> str:
    """Returns different values in words: `3 values: blue, green, red`."""
    shown = ", ".join(values[:_SHOWN_VALUES]) + (", ..." if len(values) > _SHOWN_VALUES else "")
    return f"{len(values)} value{'' if len(values) == 1 else 's'}: {shown}"


def is_identifier(name: str) -> bool:
    """Returns whether a name is that of an identifier: `id`, `order_id`, `customerId`."""
    return bool(_IDENTIFIER.fullmatch(name) or _IDENTIFIER.fullmatch(name.lower()))


def _is_label(column: Column) -> bool:
    if column.name.strip().lower() not in LABEL_NAMES:
        return False
    if column.holds not in (Holds.NUMBERS, Holds.CATEGORIES) or column.is_infinite.any():
        return False
    if column.holds is Holds.NUMBERS and column.has_fractions:
        return False
    return 2 <= len(column.values) <= min(_MOST_LABELS, len(column) // 2)


def _role(column: Column, indexes: Collection[str], *, is_read: bool) -> tuple[Role, str]:
    if is_index(column.name, indexes):
        return Role.LEFT_OUT, "an index that pandas wrote"
    if column.holds is Holds.NOTHING or column.is_missing.all():
        return Role.LEFT_OUT, "has no value at all"
    if column.is_missing.mean() >= _MOSTLY_EMPTY:
        return Role.LEFT_OUT, f"has no value in {column.is_missing.mean():.0%} of the rows"
    if column.writing is Writing.PERCENT:
        return Role.LEFT_OUT, f"percentages, such as {column.example}: leave out the sign to use it"
    if column.writing is not None and not is_read:
        return Role.LEFT_OUT, f"numbers such as {column.example}, where others have a point"
    if column.holds is Holds.NUMBERS or column.missing_signs or is_read:
        return _role_of_numbers(column)
    if column.holds is Holds.TIMES:
        return Role.TIME, f"times, such as {column.example}"
    if column.holds is Holds.OBJECTS:
        return Role.LEFT_OUT, f"neither numbers nor texts, such as {column.example}"
    if is_identifier(column.name):
        return Role.LEFT_OUT, "an identifier, by its name"
    values = column.values
    if len(values) == 1:
        return Role.LEFT_OUT, f"is {values[0]} in every row"
    if column.holds is Holds.CATEGORIES:
        return Role.CATEGORY, shown_values(values)
    if len(values) == len(column):
        return Role.LEFT_OUT, f"another text in every row, such as {column.example}"
    return Role.LEFT_OUT, f"texts, {len(values)} different ones, such as {column.example}"


def _role_of_numbers(column: Column) -> tuple[Role, str]:
    there = column.numbers[~np.isnan(column.numbers)]
    if column.is_infinite.any():
        return Role.LEFT_OUT, f"holds infinity, first in row {column.is_infinite.argmax()}"
    if column.writing is not None:
        if column.writing is Writing.THOUSANDS and is_identifier(column.name):
            return Role.LEFT_OUT, "an identifier, by its name"
        if len(column.values) == 1:
            return Role.LEFT_OUT, f"is {column.values[0]} in every row"
        return Role.FEATURE, ""
    if len(np.unique(there)) == 1:
        return Role.LEFT_OUT, f"is {there[0]:g} in every row"
    is_whole, steps = not column.has_fractions, np.diff(there)
    if is_whole and is_identifier(column.name):
        return Role.LEFT_OUT, "an identifier, by its name"
    if _TIME.fullmatch(column.name) and (steps >= 0).all() and len(np.unique(there)) > 2:
        return Role.TIME, "times, by its name and its order"
    if is_whole and len(there) >= _ROWS_THAT_TELL_A_NUMBERING and (steps == 1).all():
        return Role.LEFT_OUT, f"numbers the rows, {there[0]:.0f} to {there[-1]:.0f}"
    return Role.FEATURE, ""
