"""Compares what takes noise away, in the measure of the kind of data: a gain in dB, or an error."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from isthmus.core.noise_reduction import Measure
from isthmus.promotion.evidence import Noise, decide
from isthmus.promotion.intervals import Estimate, Numbers, ratio
from isthmus.promotion.verdict import Check


@dataclass(frozen=True)
class Gain:
    """The gain of some rows over others in dB, with its 95 % confidence interval.

    Attributes:
        found: The ratio of the means of squared errors, or the mean difference of ratios in dB.
        is_ratio: Whether `found` is the ratio, and not the difference.
    """

    found: Estimate
    is_ratio: bool

    @property
    def value(self) -> float:
        """The gain on the rows."""
        return _db(self.found.value) if self.is_ratio else self.found.value

    @property
    def low(self) -> float:
        """The lower end of the interval."""
        return _db(self.found.high) if self.is_ratio else self.found.low

    @property
    def high(self) -> float:
        """The upper end of the interval."""
        return _db(self.found.low) if self.is_ratio else self.found.high

    def chance_within(self, drop_db: float) -> float:
        """Returns how often rows that are equally good would be shown to be no worse than that."""
        return self.found.chance_within(10 ** (drop_db / 10) - 1 if self.is_ratio else drop_db)


def gain_of(measure: Measure, ours: Numbers, theirs: Numbers, *, seed: int) -> Gain:
    """Estimates how many dB ours are better than theirs, paired by the row.

    Rows are left out where theirs have no number; if only ours have none, ours are the worst.
    """
    ours, theirs = _paired(measure, ours, theirs)
    if measure.unit == "dB":
        return Gain(ratio(ours - theirs, np.ones(len(ours)), seed=seed), is_ratio=False)
    return Gain(ratio(ours, theirs, seed=seed), is_ratio=True)


def compared(
    check: str, name: str, ours: Numbers, theirs: Numbers, noise: Noise, *, seed: int, asked: bool
) -> Check:
    """Returns a check that ours are better than theirs beyond chance.

    Args:
        check: The name of the check.
        name: The quantity that is checked.
        ours: The numbers of the challenger's rows by the measure.
        theirs: Those of the same rows by something else.
        noise: The rows with noise.
        seed: The random seed of the bootstrap.
        asked: Whether ours must be better; else the check only informs.
    """
    measure = noise.measure
    ours, theirs = _paired(measure, ours, theirs)
    value, beside = (float(each.mean()) for each in (ours, theirs))
    if measure.unit == "dB":
        gain = gain_of(measure, ours, theirs, seed=seed)
        verdict = decide(gain.low, gain.high, 0.0, "from")
        change, low, high = gain.value, gain.low, gain.high
    else:
        found = ratio(ours, theirs, seed=seed)
        change, low, high = found.value - 1, found.low - 1, found.high - 1
        verdict = decide(low, high, 0.0, "below")
    return Check(
        check=check,
        name=name,
        value=value,
        beside=beside,
        change=change,
        low=low,
        high=high,
        bound=0.0 if asked else None,
        verdict=verdict if asked else "passed",
        unit="dB" if measure.unit == "dB" else "error",
        scale="difference" if measure.unit == "dB" else "relative",
    )


def _paired(measure: Measure, ours: Numbers, theirs: Numbers) -> tuple[Numbers, Numbers]:
    has_number = np.isfinite(theirs)
    return measure.beside(ours, theirs)[has_number], theirs[has_number]


def _db(ratio_of_errors: float) -> float:
    """Returns the gain that a ratio of squared errors means."""
    if ratio_of_errors <= 0:
        return math.inf
    return 0.0 - 10 * math.log10(ratio_of_errors)
