"""Intervals by resampling rows: the same rows of every model and figure, drawn together.

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
"""From how often each row was drawn, shape (R, N) for each group of rows, to R figures."""

RESAMPLES = 2000
CONFIDENCE = 0.95
# Resamples of one call: the table of draws must not grow with their number.
_AT_ONCE = 50


def resampled(statistic: Statistic, *groups: int, seed: int) -> Interval:
    """The 95 % interval of a statistic over resampled rows.

    Args:
        statistic: The figure, of resampled rows.
        groups: Rows of each group; each is resampled for itself, and keeps its size.
        seed: The same seed draws the same rows.
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
    """The share of the old errors, shape (N,), that the new ones do without."""
    return lambda counts: 1 - (counts @ new) / (counts @ old)


def auroc_gain(new: tuple[Numbers, Numbers], old: tuple[Numbers, Numbers]) -> Statistic:
    """How much higher the new scores' AUROC is; each are the scores of normal rows, of others."""
    of_new, of_old = auroc(*new), auroc(*old)
    return lambda normal, other: of_new(normal, other) - of_old(normal, other)


def auroc(normal: Numbers, other: Numbers) -> Statistic:
    """The chance that another row scores higher than a normal one; ties count half.

    A score that is NaN finds nothing: it counts as the wrong one of its side.
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
    """The figure itself: every row once."""
    return float(statistic(*(np.ones((1, rows)) for rows in groups))[0])


def _counts(rows: int, generator: np.random.Generator) -> Numbers:
    """How often each of `rows` is drawn, shape (50, rows)."""
    drawn = generator.integers(0, rows, (_AT_ONCE, rows)) + rows * np.arange(_AT_ONCE)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=_AT_ONCE * rows)
    return counts.reshape(_AT_ONCE, rows).astype(np.float64)
