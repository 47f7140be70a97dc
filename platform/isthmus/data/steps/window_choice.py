"""Chooses the length and the stride of a series' windows where the job file gives none."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from isthmus.data.prepared.splits import auto_calibration_fraction
from isthmus.spec import DataSpec

SHORTEST = 4
_LONGEST = 128
# The share of a held-out part that one window may take, so that there are several.
_SHARE_OF_A_PART = 0.8
_WINDOWS_TO_TRAIN_ON = 20_000
# 128 MiB of float32: many channels are cut into fewer windows.
_NUMBERS_TO_TRAIN_ON = 2**25


def default_window(
    is_break: NDArray[np.bool_], new_series: NDArray[np.bool_], spec: DataSpec
) -> int:
    """Returns the length of a window: 128 steps, halved until it suits the series.

    A window that is seen whole in more context finds more, but each part of the split needs windows
    of its own, and pieces that are shorter than a window have no score. Halving keeps the length
    when the data grow a little, so that the pairs of both can be compared.

    Args:
        is_break: Shape (T,). The steps at which an unbroken piece of a series begins.
        new_series: Shape (T,). The steps at which a series begins.
        spec: The data section, which says how large the held-out parts are.
    """
    calibration = spec.calibration_share or auto_calibration_fraction(spec)
    share = min(spec.validation_fraction, calibration, spec.test_fraction)
    part = _SHARE_OF_A_PART * share * int(_lengths(new_series).max())
    pieces = np.sort(_lengths(is_break))
    # At least half of the steps lie in pieces of this length or more.
    piece = int(pieces[np.searchsorted(np.cumsum(pieces), pieces.sum() / 2)])
    window = _LONGEST
    while window > max(SHORTEST, min(part, piece)):
        window //= 2
    return window


def training_stride(steps: int, channels: int, window: int) -> int:
    """Returns the steps from one training window to the next: few, where there are few windows.

    A net that sees each pattern at every place in its window needs no luck in where windows begin.

    Returns:
        From 1 to half a window.
    """
    most = min(_WINDOWS_TO_TRAIN_ON, _NUMBERS_TO_TRAIN_ON // (channels * window))
    return max(1, min(window // 2, -(-steps // max(most, 1))))


def _lengths(begins: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Returns the lengths of the pieces that begin where it says so, and at the first step."""
    first = np.flatnonzero(begins[1:]) + 1
    return np.diff(np.concatenate([[0], first, [len(begins)]]))
