"""Large values that vary little: centred in float64, because float32 could not tell them apart."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.data.rows import FloatArray
from isthmus.errors import DataError

_logger = logging.getLogger(__name__)
# The grid of centres, in spreads: so coarse that data which grow keep the centre that they had, and
# with it the hash of each row, by which it is trained on or held out; so fine that float32 still
# tells values apart that differ by a hundred-thousandth of the spread. The borders of its cells are
# at an odd share of the grid, since data lie around round numbers.
_GRID_SPREADS, _BORDER = 64, 0.618
# The distance of two neighbouring float32 must be below this share of the spread of a feature.
_FINEST_SHARE = 1e-3
# Values that spread over fewer neighbouring float64 are rounding, or rounded until little is left.
_FEWEST_STEPS = 16
_SHOWN = 8


def find_centre(
    values: NDArray[Any], columns: Sequence[str] | None, name: str
) -> tuple[float, ...] | None:
    """Returns what to subtract from each feature in float64, and logs which need it.

    Args:
        values: Shape (n, F). Some of the rows, in their own precision.
        columns: The names of the features, if they have any.
        name: The name of the source for messages.

    Returns:
        F numbers, 0 where nothing needs to be subtracted; `None` if all are 0.

    Raises:
        DataError: If no feature varies by more than float64 tells apart.
    """
    doubles = values.astype(np.float64)
    with np.errstate(all="ignore"):
        doubles[~np.isfinite(doubles)] = np.nan
        lowest, highest = np.fmin.reduce(doubles, axis=0), np.fmax.reduce(doubles, axis=0)
        largest = np.fmax(np.abs(lowest), np.abs(highest))
        gap = np.spacing(largest.astype(np.float32)).astype(np.float64)
        count = np.maximum(np.isfinite(doubles).sum(axis=0), 1)
        mean = np.nansum(doubles, axis=0) / count
        spread = np.sqrt(np.nansum(np.square(doubles - mean), axis=0) / count)
        step = np.spacing(largest)
    needs = (highest > lowest) & (gap > _FINEST_SHARE * spread) & np.isfinite(gap)
    is_coarse = needs & (spread <= _FEWEST_STEPS * step)
    _tell_coarse(is_coarse, is_coarse | (highest == lowest), largest, spread, columns, name)
    needs &= ~is_coarse
    if not needs.any():
        return None
    grid = np.exp2(np.ceil(np.log2(np.where(needs, _GRID_SPREADS * spread, 1.0))))
    cells = np.floor((lowest + highest) / 2 / grid + 1 - _BORDER)
    centre = np.where(needs, cells * grid, 0.0)
    places = np.flatnonzero(needs)
    shown = ", ".join(str(columns[i]) if columns else str(i) for i in places[:_SHOWN])
    more = f" and {len(places) - _SHOWN} more" if len(places) > _SHOWN else ""
    _logger.warning(
        "%s: %s%s: values are large and vary little (spread %.3g at %.6g), so they are centred "
        "before they become float32",
        *(name, shown, more, spread[places[0]], centre[places[0]]),
    )
    return tuple(float(each) for each in centre)


def _tell_coarse(
    is_coarse: NDArray[np.bool_],
    is_constant: NDArray[np.bool_],
    largest: NDArray[np.float64],
    spread: NDArray[np.float64],
    columns: Sequence[str] | None,
    name: str,
) -> None:
    """Tells of a feature whose values are so large that even float64 hardly tells them apart."""
    if not is_coarse.any():
        return
    place = int(np.flatnonzero(is_coarse)[0])
    count = int(is_coarse.sum())
    said = (
        f"{name}: {columns[place] if columns else place}"
        f"{f' and {count - 1} more' if count > 1 else ''}: float64 has a spacing of "
        f"{np.spacing(largest[place]):.3g} at {largest[place]:.6g}, and the values spread by "
        f"{spread[place]:.3g}, so they count as constant; subtract an offset where they are written"
    )
    if is_constant.all():
        raise DataError(said)
    _logger.warning("%s", said)


def centred(values: NDArray[Any], centre: Sequence[float] | None) -> FloatArray:
    """Returns rows of shape (N, F, ...) as float32, less the centre of each feature."""
    with np.errstate(over="ignore"):  # beyond float32: infinite, and refused as that
        if centre is None:
            return np.ascontiguousarray(values, dtype=np.float32)
        return np.asarray(values.astype(np.float64) - _like(values, centre), dtype=np.float32)


def recentred(
    values: FloatArray, centre: Sequence[float] | None, other: Sequence[float] | None
) -> FloatArray:
    """Returns centred values less another centre instead."""
    return values if centre == other else centred(restored(values, centre), other)


def restored(values: FloatArray, centre: Sequence[float] | None) -> NDArray[Any]:
    """Returns rows with the centre added again, in float64 if there is one."""
    return values if centre is None else values.astype(np.float64) + _like(values, centre)


def _like(values: NDArray[Any], centre: Sequence[float]) -> NDArray[np.float64]:
    """Returns the centre in a shape that goes with rows; those of a series have a second axis."""
    return np.reshape(np.asarray(centre, dtype=np.float64), (-1, *[1] * (values.ndim - 2)))
