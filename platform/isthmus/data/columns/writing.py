"""Recognises numbers, missing values and dates in texts, and names the fields that read them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum

MISSING_SIGN = re.compile(r"[?.*-]|--+|#?n/?a|null|none|missing|unknown|nil", re.IGNORECASE)
_PLAIN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_DECIMAL_COMMA = re.compile(r"[+-]?(\d+,?\d*|,\d+)([eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?")
_THOUSANDS_BY_POINTS = re.compile(r"[+-]?\d{1,3}(\.\d{3})+(,\d+)?")
_PERCENT = re.compile(r"[+-]?\d+([.,]\d+)?\s*%")
_DATE = re.compile(r"\d{4}-\d{1,2}-\d{1,2}|\d{1,2}[./]\d{1,2}[./]\d{2,4}")


class Writing(Enum):
    """The notation of a column's numbers; each value holds the data section's fields for it."""

    DECIMAL_COMMA = (("decimal", ","),)
    THOUSANDS = (("thousands", ","),)
    THOUSANDS_BY_POINTS = (("decimal", ","), ("thousands", "."))
    PERCENT = ()


def writing_of(texts: Sequence[str]) -> Writing | None:
    """Returns how numbers are written other than as 12.5; `None` if some texts are no numbers.

    Args:
        texts: The cells of a column that are there.
    """
    special = {text.strip() for text in texts}
    special = {text for text in special if not _PLAIN.fullmatch(text)}
    if not special:
        return None
    if all(_PERCENT.fullmatch(text) for text in special):
        return Writing.PERCENT
    if all(_THOUSANDS.fullmatch(text) for text in special):
        return Writing.THOUSANDS
    everything = {text.strip() for text in texts}
    if all(_DECIMAL_COMMA.fullmatch(text) for text in everything):
        return Writing.DECIMAL_COMMA
    by_points = (_THOUSANDS_BY_POINTS, _DECIMAL_COMMA)
    if all(any(each.fullmatch(text) for each in by_points) for text in everything):
        return Writing.THOUSANDS_BY_POINTS
    return None


def may_be_decimals(texts: Sequence[str]) -> bool:
    """Returns whether the comma of such texts may also be a decimal sign: 10,251 is of both."""
    return all(_DECIMAL_COMMA.fullmatch(text.strip()) for text in texts)


def is_number_somehow(text: str) -> bool:
    """Returns whether a text is a number, whatever its decimal sign and its other signs are."""
    return bool(_PLAIN.fullmatch(text.strip())) or writing_of([text]) is not None


def advice(example: str) -> str:
    """Returns what to do about a column of numbers with such a text in it."""
    if _THOUSANDS.fullmatch(example):
        return "set data.thousands: ',' (or data.decimal: ',' if the comma is the decimal sign)"
    if _THOUSANDS_BY_POINTS.fullmatch(example):
        return "set data.decimal: ',' and data.thousands: '.'"
    if "," in example and _DECIMAL_COMMA.fullmatch(example):
        return "set data.decimal: ','"
    if _PERCENT.fullmatch(example):
        return "write the column as numbers, without the sign %"
    if MISSING_SIGN.fullmatch(example):
        return f"if that means a missing value, set data.missing_values: ['{example}']"
    if _DATE.match(example):
        return "list it under data.exclude, or name it as data.time of a series"
    return "write it as numbers, or train with it under data.exclude or data.categories"
