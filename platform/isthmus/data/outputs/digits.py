"""Numbers as texts, with as many digits as it takes to tell them apart from what is usual."""

from __future__ import annotations

import math

import numpy as np

# Of float32 and of float64: with so many significant digits, a number is read as what it was.
_ALL_SINGLE, _ALL_DOUBLE = 9, 17


def shown(value: float, low: float, high: float, digits: int) -> str:
    """Returns a number with enough digits to see how it lies to a usual range.

    Args:
        value: The number.
        low: The lower end of the range; NaN if it is not known.
        high: The upper end.
        digits: The least number of significant digits. Where the range is narrow for
            the size of its numbers, that many tell its width.
    """
    if low == high:  # a constant: what matters is how far the value is from it
        low, high = min(low, value), max(high, value)
    return f"{value:.{_significant(low, high, digits)}g}"


def shown_range(low: float, high: float, digits: int, between: str = "..") -> str:
    """Returns a range as `low..high`; nothing if it is not known."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return ""
    count = _significant(low, high, digits)
    return f"{low:.{count}g}{between}{high:.{count}g}"


def _significant(low: float, high: float, digits: int) -> int:
    width, largest = high - low, max(abs(low), abs(high))
    if width == 0:
        return _of_constant(low, digits)
    if not 0 < width < math.inf:
        return digits
    return min(_ALL_DOUBLE, digits + max(0, math.floor(math.log10(largest / width))))


def _of_constant(value: float, digits: int) -> int:
    """Returns how many digits a float32 needs; what is constant is not centred in float64."""
    single = np.float32(value)
    enough = (n for n in range(digits, _ALL_SINGLE) if np.float32(f"{value:.{n}g}") == single)
    return next(enough, _ALL_SINGLE)
