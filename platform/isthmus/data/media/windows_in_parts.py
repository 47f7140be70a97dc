"""Windows of a signal that is read part by part, and the signal again from windows.

It does what `windows` does, in memory that does not grow with the signal.
Shapes: signal_TC is (T, C), steps by channels; windows_NCW is (N, C, window).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from isthmus.data.rows import FloatArray, IndexArray
from isthmus.data.steps.windows import cross_fade, cut_windows, merge_windows

_SKIPPED_AT_ONCE = 2**16
Read = Callable[[int], FloatArray]
"""Returns the next steps of a signal: as many as asked for, or what is left of it."""


def count_windows(length: int, window: int, stride: int) -> int:
    """Returns the number of windows of a signal; the last ends where the signal does."""
    return -(-(length - window) // stride) + 1


def cut_in_parts(
    read: Read, length: int, window: int, stride: int, at_once: int
) -> Iterator[tuple[IndexArray, FloatArray]]:
    """Cuts a signal into windows, like `window_starts` and `cut_windows`.

    Args:
        read: Reads the signal from its start.
        length: The number of its steps.
        window: The steps of a window.
        stride: From the start of one window to that of the next.
        at_once: The most windows to give at once.

    Yields:
        The first step of each window, and the windows, shape (n, C, window).
    """
    count = count_windows(length, window, stride)
    begin = 0  # the first step of what was read and is still needed
    kept_TC: FloatArray | None = None
    for first in range(0, count, at_once):
        numbers = np.arange(first, min(first + at_once, count), dtype=np.int64)
        starts = np.minimum(numbers * stride, length - window)
        if kept_TC is None:
            kept_TC = read(int(starts[-1]) + window)
        else:
            kept_TC, begin = _moved_on(kept_TC, begin, int(starts[0]), read)
            more = int(starts[-1]) + window - begin - len(kept_TC)
            kept_TC = np.concatenate([kept_TC, read(more)])
        yield starts, cut_windows(kept_TC, starts - begin, window)


def _moved_on(kept_TC: FloatArray, begin: int, start: int, read: Read) -> tuple[FloatArray, int]:
    """Lets go of what comes before a start, which may not have been read yet."""
    end = begin + len(kept_TC)
    if start > end:
        while end < start:
            end += len(read(min(_SKIPPED_AT_ONCE, start - end)))
        return kept_TC[:0], start
    return kept_TC[start - begin :].copy(), start


class Merger:
    """Makes one signal of windows that come in order, which fade into one another.

    Args:
        length: The number of the signal's steps.
    """

    def __init__(self, length: int) -> None:
        self._length = length
        self._done = 0
        self._windows_NCW: FloatArray | None = None
        self._starts: IndexArray = np.empty(0, dtype=np.int64)

    def add(self, windows_NCW: FloatArray, starts: IndexArray) -> FloatArray:
        """Takes the next windows.

        Returns:
            Shape (T, C). The next steps, up to where later windows may begin; NaN at steps that
            no window covers.
        """
        self._hold(windows_NCW, starts)
        return self._merged_to(int(starts[-1]))

    def finish(self) -> FloatArray:
        """Returns the steps that are left, shape (T, C)."""
        return self._merged_to(self._length)

    def _hold(self, windows_NCW: FloatArray, starts: IndexArray) -> None:
        if self._windows_NCW is None:
            self._windows_NCW, self._starts = windows_NCW, starts
        else:
            self._windows_NCW = np.concatenate([self._windows_NCW, windows_NCW])
            self._starts = np.concatenate([self._starts, starts])

    def _merged_to(self, end: int) -> FloatArray:
        """Merges the steps to `end`, and lets go of windows that cover none after it."""
        assert self._windows_NCW is not None  # noqa: S101 (a caller adds before it finishes)
        window = self._windows_NCW.shape[2]
        base = min(self._done, int(self._starts[0]))
        span = max(end, int(self._starts[-1]) + window) - base
        merged_TC = merge_windows(self._windows_NCW, self._starts - base, span, cross_fade(window))
        part_TC = merged_TC[self._done - base : end - base]
        is_needed = self._starts + window > end
        self._windows_NCW = self._windows_NCW[is_needed]
        self._starts = self._starts[is_needed]
        self._done = end
        return part_TC
