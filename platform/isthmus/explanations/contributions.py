"""How much each value of a row contributes to its strangeness.

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
from isthmus.data.centring import restored
from isthmus.registry import Pair
from isthmus.types import DataKind

Floats = NDArray[np.float32]
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
        reconstructions: The same shape and units.
        contributions: The same shape, at least 0; 1 is what a value usually contributes.
    """

    rows: NDArray[Any]
    reconstructions: NDArray[Any]
    contributions: Floats


class Contributions:
    """Explains the rows of one pair.

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
        made = self.pair.reconstruct(rows, as_read=True)
        centre = self.pair.manifest.rows_taken.centre
        return Explained(
            rows=restored(rows, centre),
            reconstructions=restored(made, centre),
            contributions=np.asarray(self._squares(rows, made) / self._usual, dtype=np.float32),
        )

    def remaining(self, rows: Floats, is_repaired: NDArray[np.bool_]) -> Floats:
        """Returns the contributions of rows after some of their values are repaired.

        A repaired value is what the other values of its row say that it should be: the
        reconstruction takes its place, and is itself reconstructed.

        Args:
            rows: Shape (N, *row_shape), as a source reads them.
            is_repaired: Broadcastable to the rows.
        """
        repaired = rows
        for _ in range(_REPAIRS):
            made = self.pair.reconstruct(repaired, as_read=True)
            repaired = np.where(is_repaired, made, rows).astype(np.float32)
        made = self.pair.reconstruct(repaired, as_read=True)
        return np.asarray(self._squares(repaired, made) / self._usual, dtype=np.float32)

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

    def _squares(self, rows: Floats, made: NDArray[Any]) -> NDArray[np.float32]:
        """Returns the squared residuals in scaled units; a missing value counts as the mean."""
        known = np.where(np.isnan(rows), self._offset, rows)
        with np.errstate(over="ignore"):
            return np.asarray(np.square((known - made) / self._scale), dtype=np.float32)

    def _usual_squares(self) -> NDArray[np.float32]:
        """Returns the usual squared residual of each value, broadcastable to a row."""
        row_shape = self.pair.manifest.plan.row_shape
        ones = np.ones((1,) * len(row_shape), dtype=np.float32)
        if self.held_out is None or not len(self.held_out.rows):
            return ones
        most = max(1, _MOST_REFERENCE_NUMBERS // self.held_out.rows[0].size)
        rows = self.held_out.rows[:most]
        squares = self._squares(rows, self.pair.reconstruct(rows, as_read=True))
        kind = self.pair.manifest.plan.kind
        if kind in (DataKind.SERIES, DataKind.AUDIO):
            # All steps of a window are alike; its beginning is only a matter of the cut.
            squares = squares.mean(axis=2, keepdims=True)
        usual = np.minimum(squares, np.quantile(squares, _KEPT_QUANTILE, axis=0)).mean(axis=0)
        least = _LEAST_OF_TABLES if kind is DataKind.TABULAR else _LEAST_OF_OTHERS
        floor = least * float(usual.mean())
        return np.asarray(np.maximum(usual, floor if floor > 0 else 1.0), dtype=np.float32)
