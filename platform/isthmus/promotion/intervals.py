"""95 % confidence intervals of metrics over held-out rows that hold what they promise.

Per-row errors have heavy tails, and there may be few rows. A percentile bootstrap is then too
narrow: at 10 to 30 rows it lets twice as many wrong versions pass as it says. The ratio of two
means over the same rows therefore has Fieller's interval, whose critical values are those of a
studentised bootstrap, but never less than Student's. `tests/benchmarks/gate.py` measures how often
it is wrong.

Source: Fieller 1954, "Some problems in interval estimation", J. R. Stat. Soc. B 16; Efron &
Tibshirani 1993, An Introduction to the Bootstrap, chapter 12 (bootstrap-t); DeLong et al. 1988,
"Comparing the areas under two or more correlated ROC curves", Biometrics 44; Brown, Cai & DasGupta
2001, "Interval estimation for a binomial proportion", Statistical Science 16 (modified Jeffreys).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

CONFIDENCE = 0.95
RESAMPLES = 2000
_TAIL = (1 - CONFIDENCE) / 2
# The resamples per call, so that the table of draws does not grow with their total number.
_AT_ONCE = 50
# A ratio beyond the exponential of it is out of all proportion, and could be beyond a float.
_LARGEST_LOG = 20.0
# The 95 % quantile of Kolmogorov's distribution: the distance that 95 % of samples of N rows stay
# within, times the root of N (Massart 1990, "The tight constant in the Dvoretzky-Kiefer-Wolfowitz
# inequality").
_KOLMOGOROV_95 = 1.36


@dataclass(frozen=True)
class Estimate:
    """A metric with its 95 % confidence interval.

    Attributes:
        value: The metric on the rows.
        low: The lower end; -inf if the rows do not bound it.
        high: The upper end; inf if the rows do not bound it.
        error: The standard error.
        critical: The distance of the ends, in standard errors, at least.
        freedom: The degrees of freedom of the standard error.
    """

    value: float
    low: float
    high: float
    error: float = 0.0
    critical: float = 0.0
    freedom: float = math.inf

    def chance_within(self, margin: float) -> float:
        """Returns the chance that an interval of this width lies within a margin on one side.

        It is the power of a check: how often a version without any difference would pass it.
        """
        from scipy.stats import t

        if self.error == 0:
            return 1.0
        return float(t.cdf(margin / self.error - self.critical, self.freedom))


def ratio(top: Numbers, bottom: Numbers, *, seed: int) -> Estimate:
    """Estimates the ratio of the means of two paired samples, shape (N,) each.

    Args:
        top: The values of each row above the line, such as the challenger's errors.
        bottom: The values below it, such as the champion's; none is negative.
        seed: The random seed of the bootstrap. The same seed draws the same rows.
    """
    mean_top, mean_bottom = float(top.mean()), float(bottom.mean())
    if mean_bottom == 0:
        value = 1.0 if mean_top == 0 else math.inf
        return Estimate(value, value, value)
    value, rows = mean_top / mean_bottom, len(top)
    residuals = top - value * bottom
    error = float(residuals.std(ddof=1)) / math.sqrt(rows)
    if error <= 1e-12 * abs(mean_top):
        return Estimate(value, value, value)
    lower, upper = _critical_values(residuals, seed)
    low = _fieller(top, bottom, upper, side=-1)
    high = _fieller(top, bottom, lower, side=1)
    if (top >= 0).all():
        low = max(low, 0.0)
    return Estimate(value, low, high, error / mean_bottom, lower, rows - 1)


def scaled_ratio(top: Numbers, bottom: Numbers, logs: Numbers, *, seed: int) -> Estimate:
    """Estimates the ratio of two means times the exponential of a third, of the same rows.

    The interval is that of the logarithm, whose estimate is near to normal even where the
    exponential's is not.

    Args:
        top: The values of each row above the line; none is negative.
        bottom: The values below it; none is negative.
        logs: The values whose mean is the logarithm of the scale.
        seed: The random seed of the bootstrap.
    """
    mean_top, mean_bottom = float(top.mean()), float(bottom.mean())
    if mean_top == 0 or mean_bottom == 0:
        return ratio(top, bottom, seed=seed)
    middle = math.log(mean_top / mean_bottom) + float(logs.mean())
    residuals = top / mean_top - bottom / mean_bottom + logs - logs.mean()
    error = float(residuals.std(ddof=1)) / math.sqrt(len(top))
    if error <= 1e-12 * max(1.0, abs(middle)):
        return Estimate(*(_exponential(middle),) * 3)
    lower, upper = _critical_values(residuals, seed)
    value, low, high = (_exponential(middle + reach * error) for reach in (0.0, -upper, lower))
    return Estimate(value, low, high, error, lower, len(top) - 1)


def auroc_of(new: tuple[Numbers, Numbers], old: tuple[Numbers, Numbers] | None = None) -> Estimate:
    """Estimates an AUROC, or how much higher it is than that of other scores of the same rows.

    The AUROC is the probability that another row scores higher than a normal one; ties count half.
    A NaN score detects nothing, so it counts as wrong: as the highest for a normal row, as the
    lowest for another.

    Args:
        new: The scores of the normal rows, and of the other rows.
        old: The scores that they are compared with.
    """
    from scipy.stats import t

    normal, other = _placements(*new)
    value = float(normal.mean())
    if old is not None:
        normal_before, other_before = _placements(*old)
        normal, other = normal - normal_before, other - other_before
        value -= float(normal_before.mean())
    parts = [
        float(each.var(ddof=1)) / len(each) if len(each) > 1 else math.inf
        for each in (normal, other)
    ]
    variance = sum(parts)
    if variance == 0:
        return Estimate(value, value, value)
    if math.isinf(variance):
        return Estimate(value, -math.inf, math.inf, math.inf, 0.0, 1)
    # Welch's degrees of freedom.
    freedom = variance**2 / sum(
        part**2 / (len(each) - 1) for part, each in zip(parts, (normal, other), strict=True)
    )
    error, critical = math.sqrt(variance), float(t.ppf(1 - _TAIL, freedom))
    reach = critical * error
    return Estimate(value, value - reach, value + reach, error, critical, freedom)


def share(is_so: NDArray[np.bool_]) -> Estimate:
    """Estimates the share of rows of which something is so."""
    from scipy.stats import beta

    rows, found = len(is_so), int(is_so.sum())
    low, high = beta.ppf([_TAIL, 1 - _TAIL], found + 0.5, rows - found + 0.5)
    if found == 0:
        low, high = 0.0, 1 - _TAIL ** (1 / rows)
    if found == rows:
        low, high = _TAIL ** (1 / rows), 1.0
    return Estimate(found / rows, float(low), float(high))


def distance_from_uniform(p_values: Numbers) -> Estimate:
    """Estimates the Kolmogorov-Smirnov distance of p-values from the uniform distribution."""
    ordered = np.sort(p_values)
    steps = np.arange(len(ordered) + 1) / len(ordered)
    found = float(max((steps[1:] - ordered).max(), (ordered - steps[:-1]).max()))
    chance = _KOLMOGOROV_95 / math.sqrt(len(ordered))
    return Estimate(found, max(0.0, found - chance), min(1.0, found + chance))


def _critical_values(residuals: Numbers, seed: int) -> tuple[float, float]:
    """Returns how many standard errors the mean of such residuals falls below and rises above 0.

    They are the quantiles of a studentised bootstrap, but not less than those of Student's t, which
    the bootstrap misses if there are few rows.
    """
    from scipy.stats import t

    generator, rows = np.random.default_rng(seed), len(residuals)
    squares = residuals**2
    # A resample may be of one row alone, which has no spread.
    least = 1e-6 * residuals.std() / math.sqrt(rows)
    drawn = []
    for _ in range(RESAMPLES // _AT_ONCE):
        counts = _counts(rows, generator)
        mean = counts @ residuals / rows
        variance = np.maximum(counts @ squares / rows - mean**2, 0.0) / (rows - 1)
        drawn.append(mean / np.maximum(np.sqrt(variance), least))
    below, above = np.quantile(np.concatenate(drawn), [_TAIL, 1 - _TAIL])
    student = float(t.ppf(1 - _TAIL, rows - 1))
    return max(-float(below), student), max(float(above), student)


def _exponential(value: float) -> float:
    return math.exp(min(value, _LARGEST_LOG))


def _fieller(top: Numbers, bottom: Numbers, critical: float, *, side: int) -> float:
    """Returns the end of Fieller's interval on one side: where a ratio is just not refuted."""
    covariance = critical**2 * np.cov(top, bottom) / len(top)
    square = bottom.mean() ** 2 - covariance[1, 1]
    if square <= 0:
        return side * math.inf
    half = top.mean() * bottom.mean() - covariance[0, 1]
    rest = top.mean() ** 2 - covariance[0, 0]
    return float((half + side * math.sqrt(max(half**2 - square * rest, 0.0))) / square)


def _placements(normal: Numbers, other: Numbers) -> tuple[Numbers, Numbers]:
    """Returns for each row the share of the rows of the other group that it is ranked right to."""
    normal = np.where(np.isnan(normal), np.inf, normal)
    other = np.where(np.isnan(other), -np.inf, other)
    return 1 - _share_below(other, normal), _share_below(normal, other)


def _share_below(of: Numbers, values: Numbers) -> Numbers:
    """Returns the share of some numbers below each value, where ties count half."""
    ordered = np.sort(of)
    below = np.searchsorted(ordered, values, side="left")
    up_to = np.searchsorted(ordered, values, side="right")
    return np.asarray((below + up_to) / (2 * len(of)))


def _counts(rows: int, generator: np.random.Generator) -> Numbers:
    """Draws how often each of `rows` rows occurs in each resample, shape (50, rows)."""
    drawn = generator.integers(0, rows, (_AT_ONCE, rows)) + rows * np.arange(_AT_ONCE)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=_AT_ONCE * rows)
    return counts.reshape(_AT_ONCE, rows).astype(np.float64)
