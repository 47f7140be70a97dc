"""Long signals as overlapping windows, and windows back to one signal.

Shapes: signal_TC is (T, C), steps by channels; windows_NCW is (N, C, window).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from isthmus.data.rows import FloatArray, IndexArray, Labels

_MERGED_AT_ONCE = 4_000_000


def window_starts(length: int, window: int, stride: int) -> IndexArray:
    """First steps of windows over a signal; the last is moved back so that the tail is covered."""
    starts = np.arange(0, length - window + 1, stride, dtype=np.int64)
    if starts[-1] + window < length:
        starts = np.append(starts, length - window)
    return starts


def cut_windows(signal_TC: FloatArray, starts: IndexArray, window: int) -> FloatArray:
    """Windows of a signal.

    Returns:
        Shape (N, C, window), C-contiguous.
    """
    views = np.lib.stride_tricks.sliding_window_view(signal_TC, window, axis=0)
    return np.ascontiguousarray(views[starts])


def merge_windows(
    windows_NCW: FloatArray,
    starts: IndexArray,
    length: int,
    weights_W: NDArray[np.float64] | None = None,
) -> FloatArray:
    """One signal from windows, averaged where they overlap.

    Args:
        windows_NCW: The windows.
        starts: The first step of each.
        length: The number of steps of the signal.
        weights_W: The weight of each step of a window, above 0; by default all are alike.

    Returns:
        Shape (T, C); NaN at steps that no window covers.
    """
    count, channels, window = windows_NCW.shape
    weights_W = np.ones(window) if weights_W is None else weights_W
    sums = np.zeros((length, channels))
    totals = np.zeros(length)
    at_once = max(1, _MERGED_AT_ONCE // window)
    for first in range(0, count, at_once):
        part = slice(first, first + at_once)
        begin, end = int(starts[part].min()), int(starts[part].max()) + window
        steps = (starts[part, None] - begin + np.arange(window)).ravel()
        weights = np.broadcast_to(weights_W, (len(starts[part]), window)).ravel()
        totals[begin:end] += np.bincount(steps, weights, minlength=end - begin)
        for channel in range(channels):
            weighted = (windows_NCW[part, channel] * weights_W).ravel()
            sums[begin:end, channel] += np.bincount(steps, weighted, minlength=end - begin)
    merged = np.full((length, channels), np.nan, dtype=np.float32)
    covered = totals > 0
    merged[covered] = sums[covered] / totals[covered, None]
    return merged


def cross_fade(window: int) -> NDArray[np.float64]:
    """Returns a Hann window without the zeros at its ends, shape (window,).

    Windows with these weights fade into one another where they overlap. A net knows least about
    the ends of a window, where it sees one side only.
    """
    return np.hanning(window + 2)[1:-1]


def window_labels(labels: Labels, starts: IndexArray, window: int) -> Labels:
    """Returns the rarest label among each window's steps: one anomalous step is enough."""
    present, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    rarest_first = np.argsort(counts, kind="stable")
    rank = np.empty(len(present), dtype=np.int64)
    rank[rarest_first] = np.arange(len(present))
    views = np.lib.stride_tricks.sliding_window_view(rank[codes], window)
    return np.asarray(present[rarest_first[views[starts].min(axis=1)]])
