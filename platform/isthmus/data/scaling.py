"""Statistics for scaling, of the training rows only; the module itself scales."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from isthmus.data.rows import FloatArray
from isthmus.types import DataKind, ScalingMode

if TYPE_CHECKING:
    from isthmus.data.stored import StoredRows

_SUMMED_AT_ONCE = 4_000_000


@dataclass(frozen=True, eq=False)
class ScalingStatistics:
    """`scaled = (x - offset) / scale`.

    Attributes:
        offset: float32, broadcastable to a row: (F,), (C, 1, 1), (C, 1), (1, 1) or (1, 1, 1).
        scale: The same shape; above 0. 1 where nothing varies, so that those values become 0.
    """

    offset: FloatArray
    scale: FloatArray

    def scaled(self, values: FloatArray) -> FloatArray:
        """Returns scaled rows, as `core.Scaling` does; NaN becomes 0, which is the mean."""
        scaled: FloatArray = (values - self.offset) / self.scale
        np.nan_to_num(scaled, copy=False, nan=0.0)
        return scaled


def fit_scaling(
    values: FloatArray | StoredRows,
    mode: ScalingMode,
    kind: DataKind,
    indicators: Sequence[bool] | None = None,
) -> ScalingStatistics:
    """The statistics of rows; missing values (NaN) are passed over.

    Standard is by feature (tabular) or channel; minmax by feature (tabular), by channel (series),
    or over everything (images, audio).

    Args:
        values: Shape (N, *row_shape): the training rows.
        mode: How to scale.
        kind: What a row is.
        indicators: Which features of a table stay as they are: 0 or 1 for a category's value,
            where standard scaling would make the rarest value weigh most.
    """
    row_shape = values.shape[1:]
    if mode is ScalingMode.NONE:
        return no_scaling(len(row_shape))
    axes = _pooled_axes(len(values.shape), mode, kind)
    if mode is ScalingMode.STANDARD:
        offset, scale = _moments(values, axes)
    else:
        lowest, highest = _extremes(values, axes)
        offset, scale = lowest, highest - lowest
    return settle_scaling(offset, scale, indicators)


def no_scaling(row_axes: int) -> ScalingStatistics:
    """Returns the statistics that leave rows of so many axes as they are."""
    shape = (1,) * row_axes
    return ScalingStatistics(np.zeros(shape, np.float32), np.ones(shape, np.float32))


def settle_scaling(
    offset: NDArray[np.float64],
    scale: NDArray[np.float64],
    indicators: Sequence[bool] | None = None,
) -> ScalingStatistics:
    """Makes statistics of what was measured: nothing without a value or variation is divided by.

    Args:
        offset: The mean or the least of each feature; NaN for one without a value.
        scale: The standard deviation or the range; the same shape.
        indicators: As of `fit_scaling`.
    """
    has_no_value = np.isnan(offset)
    offset = np.where(has_no_value, 0, offset)
    # Less than float32 can tell apart at that offset is rounding, not variation.
    varies = scale > np.spacing(np.abs(offset).astype(np.float32))
    scale = np.where(varies, scale, 1)
    if indicators is not None:
        offset, scale = np.where(indicators, 0, offset), np.where(indicators, 1, scale)
    return ScalingStatistics(offset.astype(np.float32), scale.astype(np.float32))


def _pooled_axes(axes: int, mode: ScalingMode, kind: DataKind) -> tuple[int, ...]:
    """Axes of (N, *row_shape) that share one statistic."""
    if mode is ScalingMode.MINMAX and kind in (DataKind.IMAGES, DataKind.AUDIO):
        return tuple(range(axes))
    return tuple(axis for axis in range(axes) if axis != 1)


def _extremes(
    values: FloatArray | StoredRows, axes: tuple[int, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The least and the greatest; fmin and fmax pass over NaN, with no copy of the values."""
    lowest = [np.fmin.reduce(b, axis=axes, keepdims=True)[0] for b in _blocks(values)]
    highest = [np.fmax.reduce(b, axis=axes, keepdims=True)[0] for b in _blocks(values)]
    return (
        np.fmin.reduce(lowest).astype(np.float64),
        np.fmax.reduce(highest).astype(np.float64),
    )


def _moments(
    values: FloatArray | StoredRows, axes: tuple[int, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation, in two passes over blocks of rows, in float64."""
    counts, sums = [], []
    for block in _blocks(values):
        counts.append(np.isfinite(block).sum(axis=axes, keepdims=True)[0].astype(float))
        sums.append(np.nansum(block, axis=axes, keepdims=True, dtype=float)[0])
    count = np.sum(counts, axis=0)
    count = np.where(count > 0, count, np.nan)
    mean = np.sum(sums, axis=0) / count
    squares = [
        np.nansum(np.square(block.astype(np.float64) - mean), axis=axes, keepdims=True)[0]
        for block in _blocks(values)
    ]
    return mean, np.sqrt(np.sum(squares, axis=0) / count)


def _blocks(values: FloatArray | StoredRows) -> Iterator[FloatArray]:
    at_once = max(1, _SUMMED_AT_ONCE // max(1, prod(values.shape[1:])))
    for first in range(0, len(values), at_once):
        yield values[first : first + at_once]
