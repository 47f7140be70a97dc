"""VUS-PR: the precision of scores of steps, where a range may be found a little early or late.

The labels of each range fade out over a buffer on both sides, recall counts how many ranges are
found at all, and the area under the curve is averaged over all buffers up to a length.

Source: Paparrizos et al. 2022, "Volume under the surface", PVLDB 15(11),
doi:10.14778/3551793.3551830.
The figures are those of `RangeAUC_volume_opt` of the package vus 0.0.6, which TSB-AD uses; it is
not a dependency, as it asks for TensorFlow.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

_THRESHOLDS = 250
_LONGEST_PERIOD, _DEFAULT_PERIOD = 300, 125

Segments = list[tuple[int, int]]


def vus_pr(labels: NDArray[np.int64], scores: NDArray[np.float64], buffer: int) -> float:
    """Returns the mean area under the precision-recall curve over all buffers from 0.

    Args:
        labels: Shape (T,). 1 where a step is anomalous, else 0; not all alike.
        scores: Shape (T,). Higher scores are more anomalous.
        buffer: The longest buffer, in steps; TSB-AD takes `dominant_period` of the series.
    """
    segments = _segments(labels)
    order = np.argsort(-scores, kind="stable")
    descending = scores[order]
    thresholds = descending[np.linspace(0, len(scores) - 1, _THRESHOLDS).astype(int)]
    flagged = np.searchsorted(-descending, -thresholds, side="right")
    positives = int(labels.sum())
    found_inside = np.cumsum(labels[order])[flagged - 1]
    areas = []
    for length in range(buffer + 1):
        faded = _faded(labels, segments, length)
        found = np.cumsum(faded[order])[flagged - 1]
        expected = (2 * positives + found - found_inside) / 2
        heights = [
            scores[first : last + 1].max() for first, last in _merged(segments, length, len(labels))
        ]
        existence = (np.array(heights) >= thresholds[:, None]).mean(axis=1)
        recall = np.minimum(found / expected, 1) * existence
        areas.append(float(np.sum(np.diff(recall, prepend=0.0) * found / flagged)))
    return float(np.mean(areas))


def dominant_period(signal: NDArray[np.float64]) -> int:
    """Returns the lag of the highest local maximum of the autocorrelation; 125 if there is none.

    It is `find_length` of TSB-AD, which takes lags from 3 to 300 of the first 20,000 steps.
    """
    centred = signal[:20_000] - signal[:20_000].mean()
    spectrum = np.fft.rfft(centred, 2 * len(centred))
    correlation = np.fft.irfft(spectrum * np.conj(spectrum))[3 : min(401, len(centred))]
    inner = correlation[1:-1]
    tops = np.flatnonzero((inner > correlation[:-2]) & (inner > correlation[2:])) + 1
    if not len(tops):
        return _DEFAULT_PERIOD
    best = int(tops[np.argmax(correlation[tops])])
    return best + 3 if 3 <= best <= _LONGEST_PERIOD else _DEFAULT_PERIOD


def _segments(labels: NDArray[np.int64]) -> Segments:
    changes = np.diff(np.concatenate([[0], labels, [0]]))
    firsts, ends = np.flatnonzero(changes == 1), np.flatnonzero(changes == -1)
    return [(int(first), int(end) - 1) for first, end in zip(firsts, ends, strict=True)]


def _faded(labels: NDArray[np.int64], segments: Segments, buffer: int) -> NDArray[np.float64]:
    faded = labels.astype(np.float64)
    for first, last in segments:
        after = np.arange(last + 1, min(last + buffer // 2 + 1, len(labels)))
        before = np.arange(max(first - buffer // 2, 0), first)
        faded[after] += np.sqrt(1 - (after - last) / max(buffer, 1))
        faded[before] += np.sqrt(1 - (first - before) / max(buffer, 1))
    return np.minimum(faded, 1)


def _merged(segments: Segments, buffer: int, steps: int) -> Segments:
    """Returns the segments with their buffers, as one where two buffers meet."""
    half = buffer // 2
    first, merged = max(segments[0][0] - half, 0), []
    for (_, last), (following, _) in pairwise(segments):
        if last + half < following - half:
            merged.append((first, last + half))
            first = following - half
    return [*merged, (first, min(segments[-1][1] + half, steps - 1))]
