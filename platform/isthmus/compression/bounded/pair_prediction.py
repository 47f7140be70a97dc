"""The pair's reconstructions as predictions that are the same on every machine.

They are floats, and may differ in their last digits between machines. They are rounded to multiples
of a spacing, and those that lie so near to the middle between two that another machine could round
them otherwise are left out: the bytes list these rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.compression.bounded.bit_fields import FieldReader, FieldWriter
from isthmus.compression.bounded.grids import Grid, GridKind
from isthmus.errors import DataError

Whole = NDArray[np.int64]
Floats = NDArray[np.float64]

# Floats of 64 bits have 53 of precision. Predictions of another machine differ by far less than
# this share of a spacing, if they are at most so many spacings from 0.
_NEAR = 1e-6
_MOST_STEPS = 2.0**22
_MOST_EXPONENT = 1100


@dataclass(frozen=True)
class RoundedPrediction:
    """Predictions in whole numbers of a column's grid.

    Attributes:
        k: The whole numbers, shape (N,); 0 for what is left out.
        exponent: The spacing that they were rounded to is that of the grid, or 1 for a grid that
            has none, times 2**exponent.
        left_out: The rows that are left out.
    """

    k: Whole
    exponent: int
    left_out: NDArray[np.intp]

    @classmethod
    def of(cls, predictions: Floats, grid: Grid) -> RoundedPrediction:
        """Rounds predictions, shape (N,)."""
        finite = predictions[np.isfinite(predictions)]
        largest = float(np.abs(finite).max(initial=0.0))
        exponent = int(np.ceil(np.log2(max(largest, 1e-300) / _unit(grid) / _MOST_STEPS)))
        if grid.spacing:
            exponent = max(exponent, 0)
        exponent = int(np.clip(exponent, -_MOST_EXPONENT, _MOST_EXPONENT))
        steps, is_near = _steps(predictions, grid, exponent)
        return cls(_whole(steps, is_near, grid, exponent), exponent, np.flatnonzero(is_near))

    def write(self, fields: FieldWriter) -> None:
        """Writes what the decoder must know to round its own predictions alike."""
        fields.numbers([self.exponent, len(self.left_out)])
        fields.numbers(np.diff(self.left_out, prepend=0))


@dataclass(frozen=True)
class FloatPrediction:
    """The predictions of this machine, shape (N,), for a column on a grid."""

    predictions: Floats
    grid: Grid

    def read(self, fields: FieldReader) -> Whole:
        """Returns the whole numbers that the encoder had.

        Raises:
            DataError: If the bytes are damaged.
        """
        exponent = fields.number()
        if abs(exponent) > _MOST_EXPONENT:
            raise DataError(f"a chunk has an exponent of {exponent}; it is damaged")
        rows = len(self.predictions)
        count = fields.count(rows)
        left_out = np.cumsum([fields.count(rows) for _ in range(count)], dtype=np.int64)
        if count and left_out[-1] >= rows:
            raise DataError("a chunk leaves out a row that it does not have; it is damaged")
        is_left_out = np.zeros(rows, np.bool_)
        is_left_out[left_out] = True
        steps, _ = _steps(self.predictions, self.grid, exponent)
        return _whole(steps, is_left_out, self.grid, exponent)


def _unit(grid: Grid) -> float:
    return grid.spacing or 1.0


def _steps(predictions: Floats, grid: Grid, exponent: int) -> tuple[Floats, NDArray[np.bool_]]:
    """Returns predictions in steps, and which of them could be rounded otherwise elsewhere."""
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        steps = np.ldexp(predictions / _unit(grid), -exponent)
        to_middle = np.abs(np.abs(steps - np.rint(steps)) - 0.5)
        is_sure = (to_middle > _NEAR) & (np.abs(steps) <= 2 * _MOST_STEPS)
    return steps, ~is_sure


def _whole(steps: Floats, left_out: NDArray[np.bool_], grid: Grid, exponent: int) -> Whole:
    rounded = np.where(left_out, 0.0, np.rint(steps))
    if grid.kind is GridKind.BITS:
        with np.errstate(over="ignore"):
            return grid.nearest(np.ldexp(rounded, exponent))
    scaled = np.ldexp(rounded, min(exponent, 40))  # a whole number below 2**63
    return np.where(np.isfinite(scaled), scaled, 0.0).astype(np.int64)
