"""From scores of windows to a score of each step: the mean over the windows that cover the step.

Shapes: N windows, T steps, C channels, W steps in a window.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from isthmus.data.rows import FloatArray, IndexArray, Rows, rows_in_a_block
from isthmus.data.steps.windows import cut_windows, merge_windows
from isthmus.types import DataKind


def mean_of_covering_windows(
    scores: NDArray[np.floating], starts: IndexArray, window: int, length: int
) -> NDArray[np.float64]:
    """Returns the score of each step: the mean score of all windows that cover it.

    A step that is covered by many windows is seen at every place in a window, so a chance error of
    one window counts little (arXiv:2606.09874). The mean of each step is of its own windows only: a
    huge score reaches no step beyond the window that has it, not even by rounding.

    Args:
        scores: Shape (N,). The scores of the windows.
        starts: Shape (N,). The first step of each window, rising. Windows of a stretch follow each
            other by one step; two stretches have no step in common.
        window: The number of steps in a window.
        length: T, the number of steps.

    Returns:
        Shape (T,); NaN where no window covers the step.
    """
    means = np.full(length, np.nan)
    borders = np.flatnonzero(np.diff(starts) != 1) + 1
    for stretch in np.split(np.arange(len(starts)), borders):
        if len(stretch):
            first = int(starts[stretch[0]])
            own = scores[stretch[0] : stretch[-1] + 1].astype(np.float64)
            means[first : first + len(own) + window - 1] = _means_of_stretch(own, window)
    return means


def _means_of_stretch(scores: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Returns the means of the steps of one stretch, shape (n + window - 1,)."""
    count = len(scores) + window - 1
    # The windows of step t start at t - window + 1 to t. Blocks of `window` numbers: each sum is
    # the end of one block and the beginning of the next (van Herk 1992), two sums for any length.
    padded = np.zeros(-(-(count + window - 1) // window) * window)
    padded[window - 1 : window - 1 + len(scores)] = scores
    blocks = padded.reshape(-1, window)
    heads = np.cumsum(blocks, axis=1).ravel()
    tails = np.cumsum(blocks[:, ::-1], axis=1)[:, ::-1].ravel()
    first = np.arange(count)
    last = first + window - 1
    sums = np.where(first % window == 0, heads[last], tails[first] + heads[last])
    covering = np.minimum(first, len(scores) - 1) - np.maximum(first - window + 1, 0) + 1
    return np.asarray(sums / covering)


def scores_of_steps(
    windows_NCW: FloatArray, starts: IndexArray, score: Callable[[FloatArray], FloatArray]
) -> NDArray[np.float64]:
    """Scores the steps of series that are given as windows, as steps of new series are scored.

    Windows that overlap are put together, and cut again at every step.

    Args:
        windows_NCW: The windows.
        starts: Shape (N,). The first step of each window, rising; see `starts_in_one_line`.
        score: Computes the scores, shape (n,), of windows, shape (n, C, W).

    Returns:
        The scores of all steps that the windows have.
    """
    window = windows_NCW.shape[-1]
    at_once = rows_in_a_block(windows_NCW.shape[1:])
    found = []
    # Windows that share no step may lie on two sides of a gap in time.
    for stretch in np.split(np.arange(len(starts)), np.flatnonzero(np.diff(starts) >= window) + 1):
        own = starts[stretch] - starts[stretch[0]]
        signal_TC = merge_windows(windows_NCW[stretch], own, int(own[-1]) + window)
        every = np.arange(own[-1] + 1)
        of_windows = [
            score(cut_windows(signal_TC, every[first : first + at_once], window))
            for first in range(0, len(every), at_once)
        ]
        found.append(
            mean_of_covering_windows(np.concatenate(of_windows), every, window, len(signal_TC))
        )
    return np.concatenate(found)


def starts_in_one_line(rows: Rows) -> IndexArray | None:
    """Returns the first step of each window as if all series lay behind each other in one line.

    Returns:
        Shape (N,), rising, with no step in common for windows of two series; `None` for rows that
        are no windows of series.
    """
    if rows.starts is None or rows.lengths is None or rows.schema.kind is not DataKind.SERIES:
        return None
    series = rows.index.get("series_id", np.zeros(len(rows)))
    is_new = np.concatenate([[False], series[1:] != series[:-1]])
    lengths_before = np.concatenate([[0], rows.lengths[:-1]])
    return np.asarray(rows.starts + np.cumsum(np.where(is_new, lengths_before, 0)))
