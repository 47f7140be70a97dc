"""The axis of a chart: where a value lies, and which values are named."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

_TICKS = 5
_LEAST_DECADES = 1.0
_FAR = 4.0


@dataclass(frozen=True)
class Scale:
    """An axis.

    Attributes:
        low: The value at its start.
        high: The value at its end, which is larger.
        is_log: Whether it is logarithmic.
        start: The place of its start in the chart.
        end: The place of its end.
    """

    low: float
    high: float
    is_log: bool = False
    start: float = 0.0
    end: float = 1.0

    @classmethod
    def over(cls, values: NDArray[Any], *, may_be_log: bool = True) -> Scale:
        """Returns the axis for values, logarithmic if they are above 0 and span a decade.

        On a linear axis, values that are very far from all others are drawn at its end.
        """
        known = np.asarray(values, dtype=float)
        known = known[np.isfinite(known)]
        low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
        if high <= low:
            pad = abs(low) * 0.1 or 1.0
            return cls(low - pad, high + pad)
        if may_be_log and low > 0 and np.log10(high / low) > _LEAST_DECADES:
            return cls(low, high * 1.05, is_log=True)
        middle = np.quantile(known, (0.01, 0.99))
        width = float(middle[1] - middle[0])
        if may_be_log and width > 0:
            low, high = (
                max(low, float(middle[0]) - _FAR * width),
                min(high, float(middle[1]) + _FAR * width),
            )
        pad = 0.03 * (high - low)
        return cls(low - pad, high + pad)

    @classmethod
    def of_counts(cls, most: int, *, is_log: bool) -> Scale:
        """Returns the axis for counts up to a number."""
        return cls(0.7, most * 1.3, is_log=True) if is_log else cls(0.0, most * 1.05)

    def between(self, start: float, end: float) -> Scale:
        """Returns the axis at another place."""
        return replace(self, start=start, end=end)

    def at(self, values: Any) -> NDArray[np.float64]:
        """Returns the places of values; those outside are put at the ends."""
        clipped = np.clip(np.asarray(values, dtype=np.float64), self.low, self.high)
        low, high = self._inner(self.low), self._inner(self.high)
        share = (self._inner(clipped) - low) / (high - low)
        return np.asarray(self.start + share * (self.end - self.start))

    def edges(self, bins: int) -> NDArray[np.float64]:
        """Returns the borders of bins that have the same width on this axis."""
        make = np.geomspace if self.is_log else np.linspace
        return np.asarray(make(self.low, self.high, bins + 1))

    def ticks(self) -> list[tuple[float, str]]:
        """Returns the values to be named, with their texts."""
        if self.is_log:
            return [(value, _short(value)) for value in self._log_ticks()]
        step = _round_step((self.high - self.low) / _TICKS)
        first = np.ceil(self.low / step - 1e-9) * step
        values = np.arange(first, self.high + step * 1e-9, step)
        return [(float(value), _short(_cleaned(float(value), step))) for value in values]

    def _log_ticks(self) -> list[float]:
        decades = np.log10(self.high / self.low)
        factors = (1, 2, 5) if decades < 2 else (1,)
        every = max(1, int(np.ceil(decades / (_TICKS + 1))))
        first, last = int(np.floor(np.log10(self.low))), int(np.ceil(np.log10(self.high)))
        values = [f * 10.0**e for e in range(last, first - 1, -every) for f in factors]
        near = 1 + 1e-9
        return sorted(v for v in values if self.low / near <= v <= self.high * near)

    def _inner(self, values: Any) -> Any:
        return np.log10(np.maximum(values, 1e-300)) if self.is_log else values


def _round_step(least: float) -> float:
    power = 10.0 ** np.floor(np.log10(least))
    return float(next((f * power for f in (1, 2, 5) if f * power >= least), 10 * power))


def _cleaned(value: float, step: float) -> float:
    return 0.0 if abs(value) < step * 1e-6 else value


def _short(value: float) -> str:
    if value and not 1e-4 <= abs(value) < 1e6:
        mantissa, exponent = f"{value:.0e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{value:,.6g}" if abs(value) < 1e4 else f"{value:,.0f}"
