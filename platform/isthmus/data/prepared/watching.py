"""Holds the values of new rows against those that a pair was trained on, and warns of misfits."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from isthmus.data.outputs.digits import shown, shown_range
from isthmus.data.prepared.spread import EvenSample, in_other_units
from isthmus.data.rows import FloatArray
from isthmus.kinds import facts_of
from isthmus.spec import RowSchema
from isthmus.types import DataKind

_logger = logging.getLogger(__name__)
# Values may leave the trained range by this share of its width before a warning.
FAR_OUTSIDE, FAR_OUTSIDE_OF_NOISE = 1.0, 4.0
# Values that fill less than this share of the trained range are probably in other units.
_FAR_INSIDE = 0.02
# So few rows, or windows, may well lie in a narrow range; a large image counts as many of so many
# pixels.
_FEWEST_ROWS, _PIXELS_OF_A_ROW = 20, 32 * 32
_SHOWN, _DIGITS = 5, 6
# Of rows in memory, a sample of so many numbers tells their units, in a time that does not count.
_MOST_NUMBERS_LOOKED_AT = 2**20
# numpy reduces rows of so many numbers as fast as they come from memory, and does little else than
# to begin anew where they are much shorter.
_NUMBERS_AT_ONCE = 4096


class RangeWatch:
    """Looks at every block of an input, and logs at the end what does not fit the trained range."""

    def __init__(
        self,
        schema: RowSchema,
        name: str,
        *,
        indicators: Sequence[bool] | None = None,
        may_leave: float = FAR_OUTSIDE,
    ) -> None:
        """Creates the watch.

        Args:
            schema: The schema of the pair's training rows. Old pairs do not know the ranges, and
                nothing is looked at then.
            name: The name of the input for messages.
            indicators: Whether each feature of a table is 0 or 1 for a value of a category.
            may_leave: By how many widths of the trained range a value may lie outside it; rows
                with noise lie further outside than those without.
        """
        self._schema = schema
        self._may_leave = may_leave
        self._name = name
        self._indicators = indicators
        self._rows = 0
        self._sample = None if schema.quantiles is None else EvenSample(len(schema.quantiles))
        self._lowest: FloatArray | None = None
        self._highest: FloatArray | None = None

    def look(self, values: FloatArray) -> None:
        """Looks at rows, shape (n, *row_shape)."""
        if self._schema.lowest is None or not len(values):
            return
        # Twice as fast as fmin and fmax, which pass over NaN; it comes through where there is one.
        lowest, highest = _reduced(np.minimum, values), _reduced(np.maximum, values)
        if np.isnan(lowest).any():
            lowest, highest = _reduced(np.fmin, values), _reduced(np.fmax, values)
        self._lowest = lowest if self._lowest is None else np.fmin(self._lowest, lowest)
        self._highest = highest if self._highest is None else np.fmax(self._highest, highest)
        self._rows += self._rows_in(values)
        if self._sample is not None:
            self._sample.look(values)

    def report(self) -> None:
        """Logs a line for each kind of misfit."""
        if self._lowest is None or self._highest is None:
            return
        schema = self._schema
        centre = np.zeros(len(self._lowest)) if schema.centre is None else np.array(schema.centre)
        lowest, highest = self._lowest + centre, self._highest + centre
        least, most = np.array(schema.lowest), np.array(schema.highest)
        if facts_of(schema.kind).feature is None:
            lowest, highest = np.fmin.reduce(lowest)[None], np.fmax.reduce(highest)[None]
            least, most = np.fmin.reduce(least)[None], np.fmax.reduce(most)[None]
        self._report_missing(lowest)
        width = most - least
        with np.errstate(invalid="ignore"):
            is_outside = (lowest < least - self._may_leave * width) | (
                highest > most + self._may_leave * width
            )
            is_inside = (highest - lowest < _FAR_INSIDE * width) & (width > 0)
        # Whether rows are of a category tells nothing of the units of the others.
        is_indicator = np.array(self._indicators or np.zeros(len(least)), dtype=bool)
        varies = (width > 0) & ~is_indicator
        if is_outside.any():
            self._warn("values far outside", is_outside, lowest, highest, least, most)
        if self._rows >= _FEWEST_ROWS and varies.any() and is_inside[varies].all():
            self._warn(
                "values that fill little of", is_inside & varies, lowest, highest, least, most
            )
        elif self._rows >= _FEWEST_ROWS or schema.kind is DataKind.TABULAR:
            self._report_units(varies & ~is_outside, centre)

    def _rows_in(self, values: FloatArray) -> int:
        if self._schema.kind is not DataKind.IMAGES:
            return len(values)
        pixels = int(values.shape[-2]) * int(values.shape[-1])
        return len(values) * max(1, pixels // _PIXELS_OF_A_ROW)

    def _report_units(self, asked: np.ndarray, centre: np.ndarray) -> None:
        """Logs a line about those of the features asked for that come in another unit."""
        if self._sample is None or self._schema.quantiles is None:
            return
        trained = np.array(self._schema.quantiles)
        is_other, found = in_other_units(self._sample.rows + centre, trained)
        places = np.flatnonzero(is_other & asked)
        said = "; ".join(
            f"{self._called(int(place))} {_middle(found[place])}, trained on "
            f"{_middle(trained[place])}"
            for place in places[:_SHOWN]
        )
        more = f"; and {len(places) - _SHOWN} more" if len(places) > _SHOWN else ""
        if said:
            _logger.warning(
                "%s: the middle 90 %% of the values lie beside the trained ones (%s%s); is the "
                "unit the same?",
                *(self._name, said, more),
            )

    def _report_missing(self, lowest: np.ndarray) -> None:
        is_absent = np.isnan(lowest)
        share = np.array(self._schema.missing_share or np.zeros(len(lowest)))
        if is_absent.any() and len(share) == len(lowest):
            for place in np.flatnonzero(is_absent & (share < 1))[:_SHOWN]:
                _logger.warning(
                    "%s: %s has no value at all, and %.3g %% were missing in training; the mean "
                    "stands for it, so what the model says of it means nothing",
                    *(self._name, self._called(int(place)), 100 * share[place]),
                )

    def _warn(
        self,
        what: str,
        found: np.ndarray,
        lowest: np.ndarray,
        highest: np.ndarray,
        least: np.ndarray,
        most: np.ndarray,
    ) -> None:
        places = np.flatnonzero(found)
        said = "; ".join(
            f"{self._called(int(place))} "
            f"{shown(lowest[place], least[place], most[place], _DIGITS)} to "
            f"{shown(highest[place], least[place], most[place], _DIGITS)}, trained on "
            f"{shown_range(least[place], most[place], _DIGITS, ' to ')}"
            for place in places[:_SHOWN]
        )
        more = f"; and {len(places) - _SHOWN} more" if len(places) > _SHOWN else ""
        _logger.warning(
            "%s: has %s the trained range (%s%s); are the units the same?",
            *(self._name, what, said, more),
        )

    def _called(self, place: int) -> str:
        if facts_of(self._schema.kind).feature is None:
            return "the values are" if place == 0 else f"channel {place}"
        features = self._schema.features
        return f'"{features[place]}"' if features else f"column {place}"


def warn_of_misfits(
    schema: RowSchema,
    rows: FloatArray,
    name: str,
    *,
    indicators: Sequence[bool] | None = None,
    may_leave: float = FAR_OUTSIDE,
) -> None:
    """Logs what does not fit the trained range in rows in memory, of which many are sampled.

    The arguments are those of `RangeWatch`, and rows of shape (N, *row_shape).
    """
    watch = RangeWatch(schema, name, indicators=indicators, may_leave=may_leave)
    watch.look(rows[:: max(1, rows.size // _MOST_NUMBERS_LOOKED_AT)])
    watch.report()


def _middle(quantiles: np.ndarray) -> str:
    """Returns the middle 90 % of a column as a range in words."""
    return f"{quantiles[0]:.{_DIGITS}g} to {quantiles[-1]:.{_DIGITS}g}"


def _reduced(extreme: np.ufunc, values: FloatArray) -> FloatArray:
    """Returns the least or the greatest value of each feature or channel of rows, shape (F,)."""
    if values.ndim > 2:
        axes = tuple(axis for axis in range(values.ndim) if axis != 1)
        return np.asarray(extreme.reduce(values, axis=axes))
    rows, features = values.shape
    # Several rows side by side, and those that are left at the end.
    together = max(1, min(_NUMBERS_AT_ONCE // features, rows))
    whole = rows - rows % together
    wide = extreme.reduce(values[:whole].reshape(-1, together * features), axis=0)
    narrow = np.concatenate([wide.reshape(together, features), values[whole:]])
    return np.asarray(extreme.reduce(narrow, axis=0))
