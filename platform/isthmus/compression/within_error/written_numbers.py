"""Columns of texts that are numbers or times, as a csv has them: read so that the text comes back.

A column is read in the first style of which every cell comes back letter for letter.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Values = NDArray[Any]

_FIXED = re.compile(r"-?\d+\.(\d{1,15})")
_MOST_FIXED = 2.0**53


class Style(IntEnum):
    """The way in which the cells of a column are written; its number stands in files."""

    TYPED = 0
    """The column has a type of numbers or times of its own."""
    WHOLE = 1
    """12, as a whole number."""
    FIXED = 2
    """12.50, with the same number of digits after the point in each cell."""
    SHORTEST = 3
    """12.5 and 12.0, with as few digits as tell the float."""
    PLAIN = 4
    """12.5 and 12, with as few digits as tell the float."""
    TIME = 5
    """2014-04-01 00:05:00"""
    TIME_T = 6
    """2014-04-01T00:05:00"""
    DATE = 7
    """2014-04-01"""
    KEPT = 8
    """A text that is kept as it is, in a parquet."""

    @property
    def is_number(self) -> bool:
        """Returns whether the cells are numbers, which may have an error."""
        return Style.WHOLE <= self <= Style.PLAIN


@dataclass(frozen=True)
class WrittenNumbers:
    """The cells of a column that are no nulls.

    Attributes:
        style: The way they are written.
        digits: The number of digits after the point, for `FIXED`.
        values: The numbers, shape (N,), float64 or int64.
    """

    style: Style
    digits: int
    values: Values

    def texts(self) -> pa.Array:
        """Returns the cells as they are written."""
        return written(self.values, self.style, self.digits)


def read_numbers(cells: pa.Array) -> WrittenNumbers | None:
    """Reads the cells of a column of texts without nulls; `None` if no style is theirs."""
    if not len(cells):
        return None
    for style in (*_likely(cells[0].as_py()), Style.SHORTEST, Style.PLAIN):
        fixed = _FIXED.fullmatch(cells[0].as_py())
        digits = len(fixed.group(1)) if style is Style.FIXED and fixed else 0
        try:
            found = WrittenNumbers(style, digits, _values(cells, style))
            if found.texts().equals(cells):
                return found
        except (pa.ArrowException, ValueError, OverflowError):
            continue
    return None


def written(values: Values, style: Style, digits: int) -> pa.Array:
    """Returns the cells of values in a style."""
    match style:
        case Style.WHOLE:
            return pa.array(values.astype(np.int64)).cast(pa.string())
        case Style.FIXED:
            return _fixed(values, digits)
        case Style.SHORTEST | Style.PLAIN:
            texts = [repr(value) for value in values.astype(np.float64).tolist()]
            if style is Style.PLAIN:
                texts = [text.removesuffix(".0") for text in texts]
            return pa.array(texts, pa.string())
        case Style.DATE:
            return pa.array(values.astype(np.int32), pa.date32()).cast(pa.string())
    times = pa.array(values.astype(np.int64), pa.timestamp("s")).cast(pa.string())
    return pc.replace_substring(times, " ", "T") if style is Style.TIME_T else times


def _likely(first: str) -> list[Style]:
    if re.fullmatch(r"-?\d+", first):
        return [Style.WHOLE]
    if _FIXED.fullmatch(first):
        return [Style.FIXED]
    if re.fullmatch(r"\d{4}-\d\d-\d\d", first):
        return [Style.DATE]
    if re.match(r"\d{4}-\d\d-\d\d[T ]", first):
        return [Style.TIME_T if "T" in first else Style.TIME]
    return []


def _values(cells: pa.Array, style: Style) -> Values:
    if style is Style.WHOLE:
        return np.asarray(cells.cast(pa.int64()))
    if style is Style.DATE:
        return np.asarray(cells.cast(pa.date32()).cast(pa.int32())).astype(np.int64)
    if style in (Style.TIME, Style.TIME_T):
        return np.asarray(cells.cast(pa.timestamp("s")).cast(pa.int64()))
    return np.asarray(cells.cast(pa.float64()))


def _fixed(values: Values, digits: int) -> pa.Array:
    scaled = np.rint(values * 10.0**digits)
    if not (np.abs(scaled) < _MOST_FIXED).all():
        raise ValueError("too large for a fixed number of digits")
    sizes = pa.array(np.abs(scaled).astype(np.int64)).cast(pa.string())
    sizes = pc.utf8_lpad(sizes, digits + 1, "0")
    signs = pa.array(np.where(np.signbit(values), "-", "").tolist(), pa.string())
    whole = pc.utf8_slice_codeunits(sizes, 0, -digits)
    return pc.binary_join_element_wise(
        pc.binary_join_element_wise(signs, whole, ""), pc.utf8_slice_codeunits(sizes, -digits), "."
    )
