"""The spread of the values of columns and channels, which tells one in another unit."""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.typing import NDArray

from isthmus.data.rows import FloatArray

LEVELS = (0.05, 0.5, 0.95)
"""The quantiles that a pair remembers of each column."""
FEWEST_VALUES = 50
"""The number of values from which the spread of a column means something."""
# So many rows tell a quantile to within a percent or two; wide rows are fewer.
_MOST_ROWS, _MOST_NUMBERS = 2048, 2**20
# Units differ by factors such as 10, 60, 255 or 1000; a drift is less.
_LEAST_RATIO = 5.0
# In another unit, width and size change by the same factor, but for what a sample varies. Where one
# setting of many is all that a table holds, its width changes far more.
_MOST_APART = 3.0

Doubles = NDArray[np.float64]


def quantiles_of(values: NDArray[np.floating]) -> Doubles:
    """Computes the quantiles `LEVELS` of each column, shape (F, 3); NaN where there is no value."""
    found = np.full((values.shape[1], len(LEVELS)), np.nan)
    has_any = ~np.isnan(values).all(axis=0)
    if has_any.any():
        with np.errstate(invalid="ignore"):  # infinities have no values between them
            quantiles = np.nanquantile(values[:, has_any].astype(np.float64), LEVELS, axis=0)
        found[has_any] = quantiles.T
    return found


class EvenSample:
    """Keeps at most 2,048 rows of a table while they pass, at even distances from each other.

    Of windows of series it keeps steps: one at a random place in each distance, because even
    distances could meet a signal that repeats itself at the same place each time.
    """

    def __init__(self, features: int) -> None:
        """Creates an empty sample of rows of so many features."""
        self._most = max(FEWEST_VALUES, min(_MOST_ROWS, _MOST_NUMBERS // features))
        self._rows: FloatArray = np.empty((0, features), dtype=np.float32)
        self._distance, self._seen = 1, 0
        self._random = np.random.default_rng(0)

    def look(self, values: FloatArray) -> None:
        """Looks at the next rows, shape (n, F), or windows, shape (n, F, T)."""
        count = len(values) * prod(values.shape[2:])
        first = -self._seen % self._distance
        while len(self._rows) + len(range(first, count, self._distance)) > self._most:
            self._rows = self._rows[::2]
            self._distance *= 2
            first = -self._seen % self._distance
        self._seen += count
        if first >= count:
            return
        taken = values[first :: self._distance] if values.ndim == 2 else self._steps(values, first)
        self._rows = np.concatenate([self._rows, taken])

    def _steps(self, windows: FloatArray, first: int) -> FloatArray:
        count, length = len(windows) * windows.shape[2], windows.shape[2]
        places = np.arange(first, count, self._distance)
        places += self._random.integers(self._distance, size=len(places))
        windows_of, steps = np.divmod(np.minimum(places, count - 1), length)
        return np.asarray(windows[windows_of, :, steps])

    @property
    def rows(self) -> FloatArray:
        """The rows or steps that were kept, shape (M, F)."""
        return self._rows


def in_other_units(
    rows: NDArray[np.floating], trained: Doubles
) -> tuple[NDArray[np.bool_], Doubles]:
    """Finds the columns whose values lie where those of another unit would.

    That is a column whose middle 90 % lie beside those of training, and are both smaller or both
    larger in width and in size, by about the same factor. Columns of one value, and of few values,
    are none.

    Args:
        rows: Shape (n, F).
        trained: The quantiles of the training rows, shape (F, 3).

    Returns:
        Which columns are in another unit, shape (F,), and the quantiles, shape (F, 3), which are
        NaN for columns that most values of training are like.
    """
    low, _, high = trained.T
    is_between = (rows >= low) & (rows <= high)
    count = (~np.isnan(rows)).sum(axis=0)
    # Quantiles take time, and only columns with few values among those of training need them.
    is_beside = (count >= FEWEST_VALUES) & (is_between.sum(axis=0) <= 0.1 * count) & (high > low)
    found = np.full(trained.shape, np.nan)
    found[is_beside] = quantiles_of(rows[:, is_beside])
    is_apart = (found[:, 2] < low) | (found[:, 0] > high)
    with np.errstate(divide="ignore", invalid="ignore"):
        width = (found[:, 2] - found[:, 0]) / (high - low)
        size = np.abs(found).max(axis=1) / np.abs(trained).max(axis=1)
        is_smaller = (np.maximum(width, size) * _LEAST_RATIO <= 1) & (width > 0)
        is_larger = np.minimum(width, size) >= _LEAST_RATIO
        is_alike = (width <= size * _MOST_APART) & (size <= width * _MOST_APART)
    return is_apart & is_alike & (is_smaller | is_larger), found
