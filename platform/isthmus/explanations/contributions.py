"""Computes how much each value of a row contributes to its strangeness.

A contribution is the squared residual of a value, relative to the squared residual that this value
usually has on rows that were held out of training. A feature that is always reconstructed badly
thus explains nothing, and one that is usually exact explains much.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.bundle.held_out import HeldOutSample
from isthmus.data.prepared.centring import restored
from isthmus.kinds import facts_of
from isthmus.registry import Pair

Floats = NDArray[np.float32]
# Farther from the offset than this, in scaled units, float32 loses the other values of a row beside
# one of its own, and still farther it overflows: the reconstruction then says nothing of any value.
_FARTHEST = 1e6
# What is no number, or too large for float32, counts as this; sums of it are finite.
_MOST = 1e30
# A value that is nearly always exact would otherwise turn rounding into an explanation.
_LEAST_OF_TABLES, _LEAST_OF_OTHERS = 1e-3, 0.05
# The largest residuals of held-out rows are left out: a few of those rows may be strange as well.
_KEPT_QUANTILE = 0.99
_MOST_REFERENCE_NUMBERS = 2**24
# Measured on tables in which one feature was changed: it is named first in 72 % of the rows by its
# residual alone, in 88 % after one repair, in 92 % after two, and no more often after four.
_REPAIRS = 2
# The usual range is the middle 99 % of the held-out rows, if these are enough to tell it.
_USUAL_QUANTILES = (0.005, 0.995)
_FEWEST_FOR_QUANTILES = 200


@dataclass(frozen=True, eq=False)
class Explained:
    """Rows with their reconstructions and contributions.

    Attributes:
        rows: Shape (N, *row_shape), in data units, with the centre that rows may have.
        reconstructions: The same shape and units. A value that is too far out to compute with is
            taken as a million scaled units from the offset, in its own direction.
        contributions: The same shape, at least 0; 1 is what a value usually contributes.
    """

    rows: NDArray[Any]
    reconstructions: NDArray[Any]
    contributions: Floats


class Contributions:
    """Explains the rows of one pair.

    An ensemble scores rows by all of its members. They are explained by the pair's own, since it is
    the one whose reconstructions the pair returns.

    Attributes:
        pair: The pair.
        held_out: Rows that the pair was not trained on; `None` if it was registered without.
    """

    def __init__(self, pair: Pair, held_out: HeldOutSample | None) -> None:
        """Measures the usual residuals on the held-out rows.

        Without these rows, the residuals are compared in scaled units, and the usual range is that
        of the training rows.
        """
        self.pair, self.held_out = pair, held_out
        scaling = pair.module.scaling
        self._offset, self._scale = scaling.offset.cpu().numpy(), scaling.scale.cpu().numpy()
        self._usual = self._usual_squares()

    def of(self, rows: Floats) -> Explained:
        """Explains rows as a source reads them, shape (N, *row_shape)."""
        bounded = self._bounded(rows)
        made = self.pair.reconstruct(bounded, as_read=True)
        centre = self.pair.manifest.rows_taken.centre
        return Explained(
            rows=restored(rows, centre),
            reconstructions=restored(made, centre),
            contributions=self._in_usual(self._squares(bounded, made)),
        )

    def excess(self, rows: Floats) -> Floats:
        """Returns how far out the values are that are too far out to compute with, in scaled units.

        Args:
            rows: Shape (N, *row_shape), as a source reads them.

        Returns:
            The same shape; 0 for all other values.
        """
        with np.errstate(over="ignore"):
            distance = np.abs((rows - self._offset) / self._scale)
        return np.where(distance > _FARTHEST, distance, 0).astype(np.float32)

    def remaining(self, rows: Floats, is_repaired: NDArray[np.bool_]) -> Floats:
        """Returns the contributions of rows after some of their values are repaired.

        A repaired value is what the other values of its row say that it should be: the
        reconstruction takes its place, and is itself reconstructed. One that is too far out to
        compute with starts as a missing value does, since it leaves no trace of the others.

        Args:
            rows: Shape (N, *row_shape), as a source reads them.
            is_repaired: Broadcastable to the rows.
        """
        bounded = self._bounded(rows)
        repaired = np.where(is_repaired & (self.excess(rows) > 0), self._offset, bounded)
        for _ in range(_REPAIRS):
            made = self.pair.reconstruct(repaired, as_read=True)
            repaired = np.where(is_repaired, made, bounded).astype(np.float32)
        made = self.pair.reconstruct(repaired, as_read=True)
        return self._in_usual(self._squares(repaired, made))

    def usual_range(self) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Returns the usual lowest and highest value of each feature or channel, shape (F,) each.

        That is the range of the middle 99 % of the held-out rows, or the range of the training
        rows where fewer than 200 rows were held out; `None` if neither is known.
        """
        schema = self.pair.manifest.rows_taken
        if self.held_out is not None and len(self.held_out.rows) >= _FEWEST_FOR_QUANTILES:
            rows = restored(self.held_out.rows, schema.centre).astype(np.float64)
            by_feature = np.moveaxis(rows, 1, -1).reshape(-1, rows.shape[1])
            low, high = np.nanquantile(by_feature, _USUAL_QUANTILES, axis=0)
            return low, high
        if schema.lowest is None or schema.highest is None:
            return None
        return np.array(schema.lowest), np.array(schema.highest)

    def _bounded(self, rows: Floats) -> Floats:
        with np.errstate(over="ignore"):
            farthest = _FARTHEST * self._scale
            bounded = np.clip(rows, self._offset - farthest, self._offset + farthest)
        return np.asarray(bounded, dtype=np.float32)

    def _squares(self, rows: Floats, made: NDArray[Any]) -> Floats:
        """Returns the squared residuals in scaled units; a missing value counts as the mean."""
        known = np.where(np.isnan(rows), self._offset, rows)
        with np.errstate(over="ignore", invalid="ignore"):
            return _finite(np.square((known - made) / self._scale))

    def _in_usual(self, squares: Floats) -> Floats:
        with np.errstate(over="ignore"):
            return _finite(squares / self._usual)

    def _usual_squares(self) -> NDArray[np.float32]:
        """Returns the usual squared residual of each value, broadcastable to a row."""
        row_shape = self.pair.manifest.plan.row_shape
        ones = np.ones((1,) * len(row_shape), dtype=np.float32)
        if self.held_out is None or not len(self.held_out.rows):
            return ones
        most = max(1, _MOST_REFERENCE_NUMBERS // self.held_out.rows[0].size)
        rows = self._bounded(self.held_out.rows[:most])
        squares = self._squares(rows, self.pair.reconstruct(rows, as_read=True))
        kind = self.pair.manifest.plan.kind
        if facts_of(kind).are_windows:
            # All steps of a window are alike; its beginning is only a matter of the cut.
            squares = squares.mean(axis=2, keepdims=True)
        usual = np.minimum(squares, np.quantile(squares, _KEPT_QUANTILE, axis=0)).mean(axis=0)
        least = _LEAST_OF_TABLES if len(row_shape) == 1 else _LEAST_OF_OTHERS
        floor = least * float(usual.mean())
        return np.asarray(np.maximum(usual, floor if floor > 0 else 1.0), dtype=np.float32)


def _finite(numbers: NDArray[Any]) -> Floats:
    """Returns numbers of at least 0 as finite ones: what is no number is as large as can be."""
    known = np.nan_to_num(numbers, nan=_MOST, posinf=_MOST)
    return np.asarray(np.minimum(known, _MOST), dtype=np.float32)
