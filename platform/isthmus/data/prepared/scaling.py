"""Measures the training rows and scales rows by the result, as `core.Scaling` does in the model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from math import prod
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from isthmus.data.prepared.spread import EvenSample, quantiles_of
from isthmus.data.rows import FloatArray
from isthmus.kinds import facts_of
from isthmus.spec import RowSchema
from isthmus.types import DataKind, ScalingMode, Shape

_SUMMED_AT_ONCE = 1_000_000
# So many rows tell the quantiles of a column.
_MOST_ROWS_OF_QUANTILES = 4096
Doubles = NDArray[np.float64]


class SlicedRows(Protocol):
    """Rows in memory or in a file, of which a slice is read at a time."""

    @property
    def shape(self) -> Shape:
        """(N, *row_shape)."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> FloatArray: ...


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
        copy = np.array(values, dtype=np.float32)
        self.scale_in_place(copy)
        return copy

    def scale_in_place(self, values: FloatArray) -> None:
        """Scales rows in their place."""
        values -= self.offset
        values /= self.scale
        np.nan_to_num(values, copy=False, nan=0.0)


@dataclass(frozen=True, eq=False)
class Moments:
    """The moments of some rows by feature or channel; missing values (NaN) are passed over.

    Those of two sets of rows can be merged. Source: Chan, Golub & LeVeque 1979, "Updating formulae
    and a pairwise algorithm for computing sample variances", Stanford CS-TR-79-773.

    Attributes:
        seen: The number of values of each feature, missing ones too.
        count: Shape (F,). The number of values that are not missing.
        mean: Shape (F,). Their mean; 0 where there is none.
        squares: Shape (F,). The sum of their squared distances from the mean.
        lowest: Shape (F,). The least of them; NaN where there is none.
        highest: Shape (F,). The greatest of them; NaN where there is none.
    """

    seen: int
    count: Doubles
    mean: Doubles
    squares: Doubles
    lowest: Doubles
    highest: Doubles

    @classmethod
    def none(cls, features: int) -> Moments:
        """Returns the moments of no rows."""
        zeros, nothing = np.zeros(features), np.full(features, np.nan)
        return cls(0, zeros, zeros, zeros, nothing, nothing)

    @classmethod
    def of(cls, values: FloatArray) -> Moments:
        """Returns the moments of rows of shape (n, F), (n, C, T) or (n, C, H, W)."""
        if not len(values):
            return cls.none(values.shape[1])
        axes = tuple(axis for axis in range(values.ndim) if axis != 1)
        keep = (1, -1, *[1] * (values.ndim - 2))
        missing = np.isnan(values)
        seen = values.size // values.shape[1]
        count = (seen - missing.sum(axis=axes)).astype(np.float64)
        has_any = np.where(count > 0, count, 1)
        mean = np.nansum(values, axis=axes, dtype=np.float64) / has_any
        away = values - mean.reshape(keep)  # float64
        away[missing] = 0
        return cls(
            seen=seen,
            count=count,
            mean=mean,
            squares=np.square(away, out=away).sum(axis=axes),
            lowest=np.fmin.reduce(values, axis=axes).astype(np.float64),
            highest=np.fmax.reduce(values, axis=axes).astype(np.float64),
        )

    def merged(self, other: Moments) -> Moments:
        """Returns the moments of the rows of both."""
        count = self.count + other.count
        has_any = np.where(count > 0, count, 1)
        apart = other.mean - self.mean
        return Moments(
            seen=self.seen + other.seen,
            count=count,
            mean=self.mean + apart * other.count / has_any,
            squares=self.squares
            + other.squares
            + np.square(apart) * self.count * other.count / has_any,
            lowest=np.fmin(self.lowest, other.lowest),
            highest=np.fmax(self.highest, other.highest),
        )


def moments_of(values: SlicedRows) -> Moments:
    """Returns the moments of rows in memory or in a file."""
    return merge_all(values.shape[1], (Moments.of(block) for block in _blocks(values)))


def merge_all(features: int, moments: Iterable[Moments]) -> Moments:
    """Returns the moments of all rows, merged in order, so that the last digit never varies."""
    return reduce(Moments.merged, moments, Moments.none(features))


def fit_scaling(
    values: SlicedRows,
    mode: ScalingMode,
    kind: DataKind,
    indicators: Sequence[bool] | None = None,
) -> ScalingStatistics:
    """Returns the statistics that scale rows, as `scaling_by` does by their moments.

    Args:
        values: Shape (N, *row_shape): the training rows.
        mode: The way to scale.
        kind: The kind of a row.
        indicators: Whether each feature of a table stays as it is.
    """
    return scaling_by(moments_of(values), mode, kind, len(values.shape) - 1, indicators)


def scaling_by(
    moments: Moments,
    mode: ScalingMode,
    kind: DataKind,
    row_axes: int,
    indicators: Sequence[bool] | None = None,
) -> ScalingStatistics:
    """Returns the statistics that scale rows.

    Standard is by feature (tabular) or channel; minmax by feature (tabular), by channel (series),
    or over everything (images, audio).

    Args:
        moments: The moments of the training rows.
        mode: The way to scale.
        kind: The kind of a row.
        row_axes: The number of axes of a row.
        indicators: Whether each feature of a table stays as it is: 0 or 1 for a category's value,
            where standard scaling would make the rarest value weigh most.
    """
    if mode is ScalingMode.NONE:
        shape = (1,) * row_axes
        return ScalingStatistics(np.zeros(shape, np.float32), np.ones(shape, np.float32))
    if mode is ScalingMode.STANDARD:
        has_value = moments.count > 0
        offset = np.where(has_value, moments.mean, np.nan)
        scale = np.sqrt(moments.squares / np.where(has_value, moments.count, 1))
    else:
        lowest, highest = moments.lowest, moments.highest
        if facts_of(kind).feature is None:
            lowest, highest = np.fmin.reduce(lowest)[None], np.fmax.reduce(highest)[None]
        offset, scale = lowest, highest - lowest
    by_row = (-1, *[1] * (row_axes - 1))
    return _settled(offset.reshape(by_row), scale.reshape(by_row), indicators)


def _settled(
    offset: Doubles, scale: Doubles, indicators: Sequence[bool] | None
) -> ScalingStatistics:
    """Makes statistics of what was measured: nothing without a value or variation is divided by."""
    offset = np.where(np.isnan(offset), 0, offset)
    # Less than float32 can tell apart at that offset is rounding, not variation.
    varies = scale > np.spacing(np.abs(offset).astype(np.float32))
    scale = np.where(varies, scale, 1)
    if indicators is not None:
        offset, scale = np.where(indicators, 0, offset), np.where(indicators, 1, scale)
    return ScalingStatistics(offset.astype(np.float32), scale.astype(np.float32))


def remembered(schema: RowSchema, moments: Moments, rows: SlicedRows | None = None) -> RowSchema:
    """Returns a schema with the ranges and the missing shares of the training rows.

    Args:
        schema: The schema of the source.
        moments: The moments of the training rows.
        rows: The training rows or some of them, in data units less the centre. Of those of tables
            and series the quantiles are remembered too.
    """
    centre = np.zeros(len(moments.mean)) if schema.centre is None else np.array(schema.centre)
    share = 1 - moments.count / max(1, moments.seen)
    quantiles = None
    if rows is not None and facts_of(schema.kind).from_tables:
        some = rows[:: max(1, len(rows) // _MOST_ROWS_OF_QUANTILES)]
        if schema.kind is DataKind.SERIES:
            sample = EvenSample(len(centre))
            sample.look(some)
            some = sample.rows
        quantiles = tuple(map(tuple, (quantiles_of(some) + centre[:, None]).tolist()))
    return schema.model_copy(
        update={
            "quantiles": quantiles,
            "lowest": tuple((moments.lowest + centre).tolist()),
            "highest": tuple((moments.highest + centre).tolist()),
            "missing_share": tuple(share.tolist()),
        }
    )


def _blocks(values: SlicedRows) -> Iterator[FloatArray]:
    at_once = max(1, _SUMMED_AT_ONCE // max(1, prod(values.shape[1:])))
    for first in range(0, len(values), at_once):
        yield values[first : first + at_once]
