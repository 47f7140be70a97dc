"""Bootstrap confidence intervals; all models and metrics are computed on the same resampled rows.

Source: Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 8 (paired data) and
chapter 13 (percentile intervals).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Interval = tuple[float, float]
Statistic = Callable[..., Numbers]
"""A function that computes R values of a metric. It takes how often each row was drawn, as an array
of shape (R, N) for each group of rows."""

RESAMPLES = 2000
CONFIDENCE = 0.95
# The resamples per call, so that the table of draws does not grow with their total number.
_AT_ONCE = 50


def resampled(statistic: Statistic, *groups: int, seed: int) -> Interval:
    """Returns the 95 % confidence interval of a statistic over resampled rows.

    Args:
        statistic: The statistic.
        groups: The number of rows in each group. Each group is resampled separately and keeps its
            size.
        seed: The random seed. The same seed draws the same rows.
    """
    generator = np.random.default_rng(seed)
    draws = np.concatenate(
        [
            statistic(*(_counts(rows, generator) for rows in groups))
            for _ in range(RESAMPLES // _AT_ONCE)
        ]
    )
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)


def improvement(new: Numbers, old: Numbers) -> Statistic:
    """Returns the statistic of the fraction by which the new errors, shape (N,), are lower."""
    return lambda counts: 1 - (counts @ new) / (counts @ old)


def auroc_gain(new: tuple[Numbers, Numbers], old: tuple[Numbers, Numbers]) -> Statistic:
    """Returns the statistic of how much higher the new scores' AUROC is than the old scores'.

    Args:
        new: The new scores of normal rows, and of other rows.
        old: The old scores of normal rows, and of other rows.
    """
    of_new, of_old = auroc(*new), auroc(*old)
    return lambda normal, other: of_new(normal, other) - of_old(normal, other)


def auroc(normal: Numbers, other: Numbers) -> Statistic:
    """Returns the statistic of the AUROC, where ties count half.

    The AUROC is the probability that another row scores higher than a normal one. A NaN score
    detects nothing, so it counts as wrong: as the highest for a normal row, as the lowest for
    another.
    """
    normal = np.where(np.isnan(normal), np.inf, normal)
    other = np.where(np.isnan(other), -np.inf, other)
    order = np.argsort(normal)
    below = np.searchsorted(normal[order], other, side="left")
    up_to = np.searchsorted(normal[order], other, side="right")

    def of_counts(normal_counts: Numbers, other_counts: Numbers) -> Numbers:
        before = np.cumsum(normal_counts[:, order], axis=1)
        before = np.pad(before, ((0, 0), (1, 0)))
        wins = (before[:, below] + before[:, up_to]) / 2
        share: Numbers = (wins * other_counts).sum(axis=1) / (len(normal) * len(other))
        return share

    return of_counts


def once(statistic: Statistic, *groups: int) -> float:
    """Returns the value of a statistic on the original rows."""
    return float(statistic(*(np.ones((1, rows)) for rows in groups))[0])


def _counts(rows: int, generator: np.random.Generator) -> Numbers:
    """Draws how often each of `rows` rows occurs in each resample, shape (50, rows)."""
    drawn = generator.integers(0, rows, (_AT_ONCE, rows)) + rows * np.arange(_AT_ONCE)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=_AT_ONCE * rows)
    return counts.reshape(_AT_ONCE, rows).astype(np.float64)
