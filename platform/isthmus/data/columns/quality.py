"""Values that cannot be trained on: missing, infinite, constant."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from isthmus.data.prepared.scaling import ScalingStatistics
from isthmus.data.rows import Block, FloatArray, IndexArray, Rejected
from isthmus.errors import DataError

_logger = logging.getLogger(__name__)
Missing = Literal["refuse", "mean", "drop"]
_SHOWN = 8
# The square of ten times as much is beyond float32, and scores sum up the squares of many numbers.
_LARGEST_SCALED = 1e18
_NUMBERS_AT_ONCE = 2**18
_WHAT_TO_DO = "fill them in, or train with data.missing: mean or drop"


def refuse_infinite(
    values: FloatArray, columns: Sequence[str] | None, name: str, first_row: int = 0
) -> None:
    """Refuses infinity, which no scaling survives.

    Args:
        values: Shape (N, ...); (N, F) where there are columns.
        columns: Names of the F columns, if they have any.
        name: The name of the source for the message.
        first_row: Number of the first of these rows in the source.

    Raises:
        DataError: Naming the column and the first row.
    """
    infinite = np.isinf(values)
    if not infinite.any():
        return
    row, column = _first(infinite)
    raise DataError(
        f"{name}: {_column(column, columns, values.ndim)}holds infinity or a value beyond "
        f"float32 (3.4e38), first in row {first_row + row}, counted from 0; correct it"
    )


class MissingValues(DataError):
    """Rows have missing values, and `data.missing` refuses them."""


def refuse_too_large(
    values: FloatArray, scaling: ScalingStatistics, columns: Sequence[str] | None, name: str
) -> None:
    """Refuses rows with a number that is finite, but too large to compute with in float32.

    Args:
        values: Shape (N, *row_shape), in data units.
        scaling: The pair's scaling of them.
        columns: Names of the columns, if they have any.
        name: The name of the source for the message.

    Raises:
        DataError: Naming the row, the column and the number.
    """
    if _is_surely_small(values, scaling):
        return
    at_once = max(1, _NUMBERS_AT_ONCE // max(1, values[:1].size))
    for start in range(0, len(values), at_once):
        with np.errstate(over="ignore"):
            scaled = scaling.scaled(values[start : start + at_once])
        is_large = np.abs(scaled, out=scaled) > _LARGEST_SCALED
        if is_large.any():
            row, column = _first(is_large)
            number = values[start + row].ravel()[column]
            raise DataError(
                f"{name}: {_column(column, columns, values.ndim)}has {number:g} in row "
                f"{start + row}, counted from 0, which is too large for a score in float32; "
                "check its unit"
            )


def _is_surely_small(values: FloatArray, scaling: ScalingStatistics) -> bool:
    """Returns whether a look at the extremes alone tells that no number is too large."""
    if not values.size:
        return True
    with np.errstate(over="ignore", invalid="ignore"):
        largest = max(float(values.max()), -float(values.min())) + np.abs(scaling.offset).max()
    # NaN, which a comparison is never true of, takes the closer look.
    return bool(largest < _LARGEST_SCALED * scaling.scale.min())


@dataclass
class MissingInBlocks:
    """Applies `data.missing` to rows that come a block at a time.

    Attributes:
        missing: `data.missing`.
        columns: Names of the columns, if they have any.
        name: The name of the source for messages.
        is_part: Whether the rows are those of one file of several, of which all may be dropped.
        sets_aside: Whether rows with values that are refused are set aside instead.
    """

    missing: Missing
    columns: Sequence[str] | None
    name: str
    is_part: bool = False
    sets_aside: bool = False
    _seen: int = 0
    _dropped: int = 0

    def applied(self, block: Block) -> Block:
        """Returns the block without the rows that are dropped or set aside.

        Raises:
            DataError: If a value is refused and rows are not set aside.
        """
        if _is_finite(block.values):
            self._seen += len(block.values)
            return block
        if self.sets_aside:
            block = _without_refused(block, self.missing, self.columns)
        kept = self.kept(block.values)
        return block if kept is None else block.take(kept)

    def kept(self, values: FloatArray) -> IndexArray | None:
        """Returns the numbers of a block's rows to keep, from its first; `None` if all are kept.

        Raises:
            DataError: If NaN is refused, naming the row by its number in the source.
        """
        first_row = self._seen
        self._seen += len(values)
        if _is_finite(values):
            return None
        refuse_infinite(values, self.columns, self.name, first_row)
        if self.missing == "refuse":
            absent = np.isnan(values)
            row, column = _first(absent)
            others = int(absent.any(axis=0).sum()) - 1 if absent.ndim == 2 else 0
            also = f" (and {others} other column{'s' if others > 1 else ''} too)" if others else ""
            raise MissingValues(
                f"{self.name}: {_column(column, self.columns, values.ndim)}has missing values"
                f"{also}, first in row {first_row + row}, counted from 0; {_WHAT_TO_DO}"
            )
        if self.missing == "mean":
            return None
        kept = _whole_rows(values)
        self._dropped += len(values) - len(kept)
        return kept

    def finish(self) -> None:
        """Logs how many rows were dropped, which only the end tells.

        Raises:
            DataError: If no row is left.
        """
        if self._dropped:
            report_dropped(self._dropped, self._seen, self.name, may_be_all=self.is_part)


def report_dropped(dropped: int, rows: int, name: str, *, may_be_all: bool = False) -> None:
    """Logs how many of the rows `data.missing: drop` left out.

    Raises:
        DataError: If none is left.
    """
    if dropped == rows and not may_be_all:
        raise DataError(
            f"{name}: every row has a missing value, so data.missing: drop leaves none; "
            "use mean, or list empty columns under data.exclude"
        )
    _logger.warning("%s: %d rows with missing values dropped", name, dropped)


def _is_finite(values: FloatArray) -> bool:
    # A sum is finite if all it sums up are, unless it overflows: then a closer look is taken.
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(values.sum()) or np.isfinite(values).all())


def _without_refused(block: Block, missing: Missing, columns: Sequence[str] | None) -> Block:
    """Sets the rows of a block aside that hold infinity, or NaN where that is refused."""
    values = block.values
    refused = ~np.isfinite(values) if missing == "refuse" else np.isinf(values)
    is_refused = refused.reshape(len(values), -1).any(axis=1)
    if not is_refused.any():
        return block
    found = []
    for place in np.flatnonzero(is_refused):
        column = int(refused[place].ravel().argmax())
        is_missing = bool(np.isnan(values[place].ravel()[column]))
        what = "no value" if is_missing else "infinity or a value beyond float32 (3.4e38)"
        reason = f"{_column(column, columns, values.ndim)}holds {what}"
        found.append(Rejected(int(block.index["row"][place]), reason))
    rejected = sorted((*block.rejected, *found), key=lambda each: each.row)
    kept = np.flatnonzero(~is_refused).astype(np.int64)
    return replace(block.take(kept), rejected=tuple(rejected))


def _whole_rows(values: FloatArray) -> IndexArray:
    absent = np.isnan(values).reshape(len(values), -1).any(axis=1)
    return np.flatnonzero(~absent).astype(np.int64)


def refuse_empty_columns(values: FloatArray, columns: Sequence[str] | None, name: str) -> None:
    """Refuses columns (axis 1 of (N, F)) without a single value: they have no mean.

    Raises:
        DataError: Naming the first of them.
    """
    empty = np.isnan(values).all(axis=0)
    if empty.any():
        column = int(empty.argmax())
        raise DataError(
            f"{name}: {_column(column, columns, 2)}has no value at all; list it under data.exclude"
        )


def report_constant(
    values: FloatArray, columns: Sequence[str] | None, name: str, *, rows: int | None = None
) -> None:
    """Logs the columns of (N, F) that never vary; they become 0 when scaled.

    Args:
        values: Shape (N, F); the least and the greatest of each column will do.
        columns: Names of the columns, if they have any.
        name: The name of the source for messages.
        rows: The number of rows, if it is not N.

    Raises:
        DataError: If none varies.
    """
    lowest, highest = np.fmin.reduce(values, axis=0), np.fmax.reduce(values, axis=0)
    constant = np.flatnonzero(~(highest > lowest))
    if len(constant) == values.shape[1]:
        raise DataError(
            f"{name}: all {rows or len(values)} rows are alike; there is nothing to learn"
        )
    if len(constant):
        names = [columns[i] if columns else str(i) for i in constant[:_SHOWN]]
        more = f" and {len(constant) - _SHOWN} more" if len(constant) > _SHOWN else ""
        _logger.warning("%s: constant columns, scaled to 0: %s%s", name, ", ".join(names), more)


def refuse_constant(values: FloatArray, name: str) -> None:
    """Refuses rows that hold one and the same value everywhere.

    Raises:
        DataError: Naming the value.
    """
    lowest = np.fmin.reduce(values, axis=None)
    if lowest == np.fmax.reduce(values, axis=None):
        raise DataError(f"{name}: every value is {lowest:g}; there is nothing to learn")


def _first(found: NDArray[np.bool_]) -> tuple[int, int]:
    """The first row with a hit, and its position within the row."""
    row = int(found.reshape(len(found), -1).any(axis=1).argmax())
    return row, int(found[row].ravel().argmax())


def _column(column: int, columns: Sequence[str] | None, axes: int) -> str:
    if columns is not None:
        return f'column "{columns[column]}" '
    return f"column {column} " if axes == 2 else ""
