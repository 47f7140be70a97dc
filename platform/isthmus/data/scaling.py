"""Statistics for scaling, of the training rows only; the module itself scales."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.data.rows import FloatArray
from isthmus.types import DataKind, ScalingMode

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


def fit_scaling(
    values: FloatArray,
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
        shape = (1,) * len(row_shape)
        return ScalingStatistics(np.zeros(shape, np.float32), np.ones(shape, np.float32))
    axes = _pooled_axes(values.ndim, mode, kind)
    if mode is ScalingMode.STANDARD:
        offset, scale = _moments(values, axes)
    else:
        # fmin and fmax pass over NaN, with no copy of the values.
        offset = np.fmin.reduce(values, axis=axes, keepdims=True)[0].astype(np.float64)
        scale = np.fmax.reduce(values, axis=axes, keepdims=True)[0] - offset
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


def _moments(
    values: FloatArray, axes: tuple[int, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation, in two passes over blocks of rows, in float64."""
    at_once = max(1, _SUMMED_AT_ONCE // max(1, values[0].size))
    blocks = [values[i : i + at_once] for i in range(0, len(values), at_once)]

    def total(of: list[NDArray[np.float64]]) -> NDArray[np.float64]:
        return np.asarray(np.sum(of, axis=0))

    count = total([np.isfinite(b).sum(axis=axes, keepdims=True)[0].astype(float) for b in blocks])
    count = np.where(count > 0, count, np.nan)
    mean = total([np.nansum(b, axis=axes, keepdims=True, dtype=float)[0] for b in blocks]) / count
    squares = [
        np.nansum(np.square(b.astype(np.float64) - mean), axis=axes, keepdims=True)[0]
        for b in blocks
    ]
    return mean, np.sqrt(total(squares) / count)
