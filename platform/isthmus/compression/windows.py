"""Windows for compression: those of series do not overlap, those of sounds only to fade over."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from isthmus.data import RowSource
from isthmus.data.media.sound_files import SoundFiles
from isthmus.data.steps.series_rows import SeriesRows
from isthmus.data.steps.windows import window_starts

# Where one window of a sound begins abruptly after another, one hears a click.
_FADED_SHARE = 16


def without_overlap(source: RowSource) -> RowSource:
    """Returns a source of windows with as little overlap as they can be put together from."""
    window = source.schema.shape[-1]
    if isinstance(source, SoundFiles):
        return replace(source, stride=max(1, window - window // _FADED_SHARE))
    if isinstance(source, SeriesRows):
        return replace(source, starts=starts_in_pieces(np.bincount(source.pieces), window))
    return source


def starts_in_pieces(
    pieces: np.ndarray[tuple[int], np.dtype[np.int64]], window: int
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Returns the first steps of windows, one after another, in each piece that has room for one.

    Args:
        pieces: The number of steps of each piece.
        window: The number of steps of a window.
    """
    begins = np.cumsum(pieces) - pieces
    found = [
        begin + window_starts(int(size), window, window)
        for begin, size in zip(begins, pieces, strict=True)
        if size >= window
    ]
    return np.concatenate([np.empty(0, dtype=np.int64), *found])
