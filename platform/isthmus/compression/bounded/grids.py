"""Columns of numbers as whole numbers: exactly, or on a grid of twice the largest error.

Every value of a column is either regular, and then stands for a whole number k on the column's
grid, or it is of a special class: missing (NaN), infinite, the negative zero, or kept bit by bit.
What turns k back into a value is one multiplication, division or view of float64, which IEEE 754
rounds in one way, so that it gives the same value on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

Whole = NDArray[np.int64]
Values = NDArray[Any]

# The order is the number in files: append, never insert.
DTYPES = tuple(
    np.dtype(name)
    for name in (
        "float64", "float32", "float16", "int64", "int32", "int16", "int8",
        "uint64", "uint32", "uint16", "uint8", "bool",
    )
)  # fmt: skip
# Divisors that make whole numbers of many columns: decimals, fixed point, pixels.
_SCALES = (
    *(10.0**digits for digits in range(18)),
    *(2.0**bits for bits in (1, 2, 3, 4, 6, 7, 8, 10, 12, 15, 16, 20, 23, 24, 31)),
    255.0,
)
_EXACT_BELOW = 2**53
_DECIMALS_BELOW = 2.0**48
# A grid that leaves a larger share of a column to the special classes is no grid of it.
_LARGEST_SPECIAL_SHARE = 1 / 32
_SAMPLE = 4096
# Decimals that were calculated are this many floats off at most; between the values of their grid
# there is room for more.
_MOST_LAST_DIGITS = 6
_ROOM = 2**12
# A grid's step stays this share below twice the error, as room for the rounding of float64.
_MARGIN = 2.0**-40


class Special(IntEnum):
    """The class of a value; the number is the one in files."""

    REGULAR = 0
    MISSING = 1
    INFINITE = 2
    MINUS_INFINITE = 3
    MINUS_ZERO = 4
    KEPT = 5


class GridKind(IntEnum):
    """The rule by which a whole number k becomes a value; its own number stands in files."""

    WHOLE = 0
    """k * step, in whole numbers of 64 bits."""
    RATIO = 1
    """(k * step) / scale, in float64."""
    PRODUCT = 2
    """k * step, in float64."""
    BITS = 3
    """The float whose bits, ordered by value, are k."""


@dataclass(frozen=True)
class Grid:
    """A grid of values.

    Attributes:
        kind: The rule by which a whole number becomes a value.
        step: The size of a step of 1, before the division by `scale`.
        scale: The divisor of a ratio.
        bits_of: The type of float whose bits are meant, for `BITS`, or that a ratio is rounded to.
    """

    kind: GridKind
    step: float = 1.0
    scale: float = 1.0
    bits_of: np.dtype[Any] = DTYPES[0]

    @property
    def spacing(self) -> float:
        """Returns the distance of neighbouring values; 0 if it differs between them."""
        return 0.0 if self.kind is GridKind.BITS else self.step / self.scale

    def values(self, k: Whole, dtype: np.dtype[Any]) -> Values:
        """Returns the values, shape (N,), that whole numbers stand for."""
        if self.kind is GridKind.BITS:
            return _from_ordered(k, self.bits_of).astype(dtype)
        if self.kind is GridKind.WHOLE:
            return (k * np.int64(self.step)).astype(dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            exact = k.astype(np.float64) * self.step / self.scale
            return exact.astype(self.bits_of).astype(dtype)

    def nearest(self, x: NDArray[np.float64]) -> Whole:
        """Returns the whole numbers, shape (N,), of the nearest values; 0 far outside the grid."""
        if self.kind is GridKind.BITS:
            with np.errstate(over="ignore", invalid="ignore"):
                return _ordered(x.astype(self.bits_of))
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            k = np.rint(x * self.scale / self.step)
            inside = np.abs(k) * max(self.step, 1.0) < _EXACT_BELOW
            inside &= np.abs(k) < _EXACT_BELOW
        return np.where(inside, k, 0).astype(np.int64)


@dataclass(frozen=True)
class Gridded:
    """A column on a grid.

    Attributes:
        grid: The grid.
        special: The class of every value, shape (N,), uint8.
        k: The whole numbers of the regular values only.
        last_digits: The distance of the values from the grid's, in floats, for decimals that carry
            the rounding of earlier calculations; `None` for none.
        kept: The values that are kept bit by bit.
    """

    grid: Grid
    special: NDArray[np.uint8]
    k: Whole
    kept: Values
    last_digits: Whole | None = None

    def values(self, dtype: np.dtype[Any]) -> Values:
        """Returns the column, shape (N,), as it is decoded."""
        out = np.zeros(len(self.special), dtype)
        out[self.special == Special.REGULAR] = _nudged(
            self.grid.values(self.k, dtype), self.last_digits, self.grid.bits_of
        )
        if dtype.kind == "f":
            out[self.special == Special.MISSING] = np.nan
            out[self.special == Special.INFINITE] = np.inf
            out[self.special == Special.MINUS_INFINITE] = -np.inf
            out[self.special == Special.MINUS_ZERO] = -0.0
        out[self.special == Special.KEPT] = self.kept
        return out


def on_grid(column: Values, max_error: float, digits: int | None = None) -> Gridded:
    """Finds the grid of a column and puts the column on it.

    Args:
        column: The values, shape (N,), of one of `DTYPES`.
        max_error: The largest error of a decoded value; 0 keeps every bit.
        digits: The number of decimals that the values are written with, if they are decimals; the
            decoded ones have no more of them, and the error is that of the decimals.

    Returns:
        The column, of which `values` is within the error: every value has been tried.
    """
    if digits is not None and max_error > 0:
        return _decimals_on_grid(column, max_error, digits)
    fitting = (_put(column, grid, max_error) for grid in _grids(column, max_error))
    tried = []
    for found in fitting:
        if len(found.kept) <= _LARGEST_SPECIAL_SHARE * len(column):
            return found
        tried.append(found)
    return min(tried, key=lambda each: len(each.kept))


def largest_error(column: Values, decoded: Values, digits: int | None = None) -> float:
    """Returns the largest distance of two columns; missing and infinite values must agree.

    Of decimals, it is the distance of the decimals: that of 0.5 and 0.2 is 0.3, not a bit above.
    """
    if not len(column):
        return 0.0
    if digits is not None:
        scale = 10.0**digits
        units = np.abs(np.rint(column * scale) - np.rint(decoded * scale)).max()
        return float(units / scale)
    return float(np.max(_errors(column, decoded)))


def _grids(column: Values, max_error: float) -> Iterator[Grid]:
    """Yields the grids to try, the coarsest that can be first."""
    if column.dtype.kind in "iub":
        yield Grid(GridKind.WHOLE, step=float(2 * int(min(max_error, 2.0**51)) + 1))
        if max_error >= 1:
            yield Grid(GridKind.WHOLE)
        return
    narrow = _narrowest(column)
    finite = column[np.isfinite(column)].astype(np.float64)
    scale = _scale_of(finite[:: max(1, len(finite) // _SAMPLE)].astype(narrow))
    if scale is not None:
        units = np.floor(max_error * scale * (1 + 1e-12))
        if units < 2**50:
            yield Grid(GridKind.RATIO, step=2 * units + 1, scale=scale, bits_of=narrow)
    if max_error > 0:
        step = 2 * max_error * (1 - _MARGIN)
        if np.isfinite(step) and step > 0:
            yield Grid(GridKind.PRODUCT, step=step)
    if scale is not None:
        yield Grid(GridKind.RATIO, scale=scale, bits_of=narrow)
    yield Grid(GridKind.BITS, bits_of=narrow)


def _decimals_on_grid(column: Values, max_error: float, digits: int) -> Gridded:
    """Puts decimals on a grid of decimals with as many digits, counted in units of the last one."""
    scale = 10.0**digits
    units = np.floor(min(max_error * scale * (1 + 1e-12), 2.0**49))
    if units / scale > max_error:
        units -= 1
    grid = Grid(GridKind.RATIO, step=2 * units + 1, scale=scale)
    whole = np.rint(column * scale)
    k = np.rint(whole / grid.step)
    far = np.abs(whole - k * grid.step) > units
    kept = far | ~(np.abs(whole) < _DECIMALS_BELOW)  # where a float has no room for its decimals
    special = np.where(kept, Special.KEPT, Special.REGULAR).astype(np.uint8)
    return Gridded(grid, special, k[~kept].astype(np.int64), column[kept])


def _narrowest(column: Values) -> np.dtype[Any]:
    """Returns the narrowest type of floats that holds all values of a column exactly."""
    for narrow in (np.dtype("float16"), np.dtype("float32")):
        if narrow.itemsize < column.dtype.itemsize:
            with np.errstate(over="ignore"):
                if np.array_equal(column.astype(narrow).astype(column.dtype), column, True):
                    return narrow
    return column.dtype


def _scale_of(sample: Values) -> float | None:
    """Returns the divisor that makes whole numbers of nearly all values, if there is one."""
    if not len(sample):
        return 1.0
    largest = np.spacing(np.abs(sample).max()).astype(np.float64)
    for scale in _SCALES:
        grid = Grid(GridKind.RATIO, scale=scale, bits_of=sample.dtype)
        near = grid.values(grid.nearest(sample.astype(np.float64)), sample.dtype)
        off = np.abs(_ordered(near) - _ordered(sample))
        # Where floats are nearly as far apart as the grid's values, all would fit.
        most = _MOST_LAST_DIGITS if 1 / scale > _ROOM * largest else 0
        if (off <= most).mean() >= 1 - _LARGEST_SPECIAL_SHARE:
            return scale
    return None


def _put(column: Values, grid: Grid, max_error: float) -> Gridded:
    if column.dtype.kind == "f":
        k = grid.nearest(column.astype(np.float64))
    elif column.dtype == np.uint64:
        k = column.view(np.int64)
    else:
        k = column.astype(np.int64)
    if grid.kind is GridKind.WHOLE and grid.step > 1:
        half, step = np.int64(grid.step) // 2, np.int64(grid.step)
        k = np.where(np.abs(k) < 2**62, np.floor_divide(k + half, step), 0)
    decoded = grid.values(k, column.dtype)
    last_digits = None
    if max_error == 0 and grid.kind is GridKind.RATIO:
        last_digits = _last_digits(column, decoded, grid)
        decoded = _nudged(decoded, last_digits, grid.bits_of)
    special = np.full(len(column), Special.REGULAR, np.uint8)
    if max_error > 0:
        special[_errors(column, decoded) > max_error] = Special.KEPT
        special[decoded != decoded] = Special.KEPT
    else:
        special[_bits(column) != _bits(decoded)] = Special.KEPT
    if column.dtype.kind == "f":
        _name_specials(column, special, is_exact=max_error == 0)
    regular = special == Special.REGULAR
    if last_digits is not None:
        last_digits = last_digits[regular]
    return Gridded(grid, special, k[regular], column[special == Special.KEPT], last_digits)


def _last_digits(column: Values, decoded: Values, grid: Grid) -> Whole | None:
    """Returns how many floats a column is further than the grid's values; `None` if nowhere."""
    with np.errstate(over="ignore"):
        apart = _ordered(column.astype(grid.bits_of)) - _ordered(decoded.astype(grid.bits_of))
    apart[np.abs(apart) > _MOST_LAST_DIGITS] = 0
    return apart if apart.any() else None


def _nudged(values: Values, last_digits: Whole | None, bits_of: np.dtype[Any]) -> Values:
    if last_digits is None:
        return values
    further = _ordered(values.astype(bits_of)) + last_digits
    return _from_ordered(further, bits_of).astype(values.dtype)


def _name_specials(column: Values, special: NDArray[np.uint8], *, is_exact: bool) -> None:
    """Gives the irregular values their classes, in place."""
    is_missing = np.isnan(column)
    if is_exact:  # a NaN may carry bits of its own
        is_missing = _bits(column) == _bits(np.array([np.nan], column.dtype))[0]
    special[is_missing] = Special.MISSING
    special[column == np.inf] = Special.INFINITE
    special[column == -np.inf] = Special.MINUS_INFINITE
    is_minus_zero = (column == 0) & np.signbit(column)
    special[is_minus_zero & (special == Special.KEPT)] = Special.MINUS_ZERO


def _errors(column: Values, decoded: Values) -> NDArray[np.float64]:
    if column.dtype.kind == "f":
        with np.errstate(invalid="ignore", over="ignore"):
            apart = np.abs(column.astype(np.float64) - decoded.astype(np.float64))
        same = (column == decoded) | (np.isnan(column) & np.isnan(decoded))
        return np.where(same, 0.0, np.where(np.isnan(apart), np.inf, apart))
    wide = np.maximum(column, decoded).astype(np.uint64) - np.minimum(column, decoded).astype(
        np.uint64
    )
    return wide.astype(np.float64)


def _bits(column: Values) -> Values:
    return column.view(f"u{column.dtype.itemsize}")


def _ordered(x: Values) -> Whole:
    """Returns the bits of floats as whole numbers in the order of the floats."""
    signed = x.view(f"i{x.dtype.itemsize}")
    rest = np.array(np.iinfo(signed.dtype).max, signed.dtype)
    return np.where(signed < 0, signed ^ rest, signed).astype(np.int64)


def _from_ordered(k: Whole, dtype: np.dtype[Any]) -> Values:
    signed = k.astype(f"i{dtype.itemsize}")
    rest = np.array(np.iinfo(signed.dtype).max, signed.dtype)
    return np.where(signed < 0, signed ^ rest, signed).astype(signed.dtype).view(dtype)
