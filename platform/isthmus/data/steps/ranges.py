"""Ranges of anomalous steps: where an anomaly begins and ends, its peak, and one p-value.

Shapes: T steps, in the order of time, those of a series together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.data.rows import IndexArray


@dataclass(frozen=True)
class Range:
    """Anomalous steps that belong together.

    Attributes:
        first: The position of the first anomalous step.
        last: The position of the last one.
        peak: The position of the highest score.
        peak_score: The highest score.
        p_value: Simes' p-value of the hypothesis that every step of the range is normal.
    """

    first: int
    last: int
    peak: int
    peak_score: float
    p_value: float


def ranges_of(
    scores: NDArray[np.floating],
    p_values: NDArray[np.floating],
    anomalies: NDArray[np.bool_],
    pieces: IndexArray,
    nearest: int,
) -> tuple[Range, ...]:
    """Finds the ranges of anomalous steps.

    Args:
        scores: Shape (T,). The scores of the steps.
        p_values: Shape (T,). Their p-values.
        anomalies: Shape (T,). Which of them are anomalous.
        pieces: Shape (T,), rising. The unbroken piece of a series that each step lies in; no range
            leaves one.
        nearest: Anomalous steps that are fewer steps apart than this belong to one range. Windows
            of that length see both.
    """
    found = np.flatnonzero(anomalies)
    if not len(found):
        return ()
    apart = (np.diff(found) >= nearest) | (np.diff(pieces[found]) != 0)
    return tuple(
        _range(int(group[0]), int(group[-1]), scores, p_values)
        for group in np.split(found, np.flatnonzero(apart) + 1)
    )


def _range(
    first: int, last: int, scores: NDArray[np.floating], p_values: NDArray[np.floating]
) -> Range:
    within = slice(first, last + 1)
    # A score that is no number, as of values that overflow, is above all others.
    height = np.where(np.isnan(scores[within]), np.inf, scores[within])
    peak = first + int(np.argmax(height))
    return Range(first, last, peak, float(scores[peak]), simes(p_values[within]))


def simes(p_values: NDArray[np.floating]) -> float:
    """Returns Simes' p-value of the hypothesis that all of several hypotheses hold.

    It holds where the p-values are independent or rise and fall together, as those of neighbouring
    steps do. Source: Simes 1986, doi:10.1093/biomet/73.3.751; Sarkar 1998,
    doi:10.1214/aos/1028144846.
    """
    ordered = np.sort(p_values)
    return float(min(1.0, np.min(ordered * len(ordered) / np.arange(1, len(ordered) + 1))))
