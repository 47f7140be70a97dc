"""From scores of windows to a score of each step: the mean over the windows that cover the step.

Shapes: N windows, T steps.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from isthmus.data.rows import IndexArray


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
