"""Long signals as overlapping windows, and windows back to one signal.

Shapes: signal_TC is (T, C), steps by channels; windows_NCW is (N, C, window).
"""

from __future__ import annotations

import numpy as np

from isthmus.data.rows import FloatArray, IndexArray

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


def merge_windows(windows_NCW: FloatArray, starts: IndexArray, length: int) -> FloatArray:
    """One signal from windows, averaged where they overlap.

    Returns:
        Shape (T, C); NaN at steps that no window covers.
    """
    count, channels, window = windows_NCW.shape
    sums = np.zeros((length, channels))
    counts = np.zeros(length)
    at_once = max(1, _MERGED_AT_ONCE // window)
    for first in range(0, count, at_once):
        part = slice(first, first + at_once)
        begin, end = int(starts[part].min()), int(starts[part].max()) + window
        steps = (starts[part, None] - begin + np.arange(window)).ravel()
        counts[begin:end] += np.bincount(steps, minlength=end - begin)
        for channel in range(channels):
            weights = windows_NCW[part, channel].ravel()
            sums[begin:end, channel] += np.bincount(steps, weights, minlength=end - begin)
    merged = np.full((length, channels), np.nan, dtype=np.float32)
    covered = counts > 0
    merged[covered] = sums[covered] / counts[covered, None]
    return merged
