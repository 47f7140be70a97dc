"""The columns that `detect --explain` adds to each row of its output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.data import Block
from isthmus.explanations.contributions import Contributions, Explained
from isthmus.explanations.features import (
    NO_FEATURE,
    Responsible,
    TableFeatures,
    most_responsible,
)
from isthmus.kinds import facts_of

MOST_FEATURES = 3
"""The number of features or channels that are named for each row."""
Columns = Mapping[str, NDArray[Any]]
# The part of a window of sound, and the pixels, over which contributions are averaged before the
# place of the greatest is looked for: one noisy value says little.
_SMOOTHED_SHARE, _SMOOTHED_PIXELS = 32, 3
_DECIMALS = 6


def columns_of(contributions: Contributions, features: TableFeatures, block: Block) -> Columns:
    """Returns the columns that explain the rows of a block.

    Tables and series have `feature_1`, `share_1`, `value_1`, `reconstruction_1` and `usual_1`, and
    so on to 3, and series also `step_1`; where fewer features may be responsible, the rest is
    empty. Images have `peak_row` and `peak_column`, the pixel around which the reconstruction
    misses most. Audio has `peak_s`, the time, and `peak_hz`, the frequency at which it does.

    Args:
        contributions: The explainer of the pair's rows.
        features: The pair's features.
        block: The rows.
    """
    explained = contributions.of(block.values)
    match facts_of(contributions.pair.manifest.plan.kind).shown_as:
        case "pictures":
            return _of_images(explained)
        case "sounds":
            rate_hz = contributions.pair.manifest.rows_taken.sample_rate_hz
            return _of_audio(explained, block, rate_hz)
    found = most_responsible(contributions, features, block.values, explained, MOST_FEATURES)
    return _of_features(found, block)


def _of_features(found: Responsible, block: Block) -> Columns:
    said = {
        "feature": found.names,
        "share": found.shares,
        "step": None if found.steps is None else found.steps + _first_steps(block),
        "value": found.values,
        "reconstruction": found.reconstructions,
        "usual": found.usual,
    }
    is_empty = found.names == NO_FEATURE
    return {
        f"{what}_{place + 1}": _emptied(cells[:, place], is_empty[:, place])
        for place in range(found.names.shape[1])
        for what, cells in said.items()
        if cells is not None
    }


def _first_steps(block: Block) -> NDArray[np.int64]:
    return np.reshape(np.asarray(block.index.get("first_step", 0), dtype=np.int64), (-1, 1))


def _emptied(cells: NDArray[Any], is_empty: NDArray[np.bool_]) -> NDArray[Any]:
    if cells.dtype.kind == "U":
        return np.where(is_empty, "", cells)
    if cells.dtype.kind == "f":
        cells = np.where(is_empty, np.nan, cells).astype(cells.dtype)  # as arrays hold it
    return np.ma.masked_array(cells, is_empty) if is_empty.any() else cells


def _of_images(explained: Explained) -> Columns:
    from scipy.ndimage import uniform_filter

    heat_NHW = explained.contributions.mean(axis=1)
    heat_NHW = uniform_filter(heat_NHW, size=(0, _SMOOTHED_PIXELS, _SMOOTHED_PIXELS))
    peaks = heat_NHW.reshape(len(heat_NHW), -1).argmax(axis=1)
    rows, columns = np.unravel_index(peaks, heat_NHW.shape[1:])
    return {"peak_row": rows, "peak_column": columns}


def _of_audio(explained: Explained, block: Block, rate_hz: int | None) -> Columns:
    from scipy.ndimage import uniform_filter1d

    rate_hz = rate_hz or 1
    heat_NT = explained.contributions.mean(axis=1)
    smoothed = max(1, heat_NT.shape[1] // _SMOOTHED_SHARE)
    samples = uniform_filter1d(heat_NT, smoothed, axis=1).argmax(axis=1)
    residuals = explained.rows - explained.reconstructions
    spectra = np.square(np.abs(np.fft.rfft(residuals, axis=2))).mean(axis=1)
    frequencies = np.fft.rfftfreq(residuals.shape[2], 1 / rate_hz)
    return {
        "peak_s": np.round(samples / rate_hz + block.index.get("start_s", 0), _DECIMALS),
        "peak_hz": frequencies[spectra.argmax(axis=1)],
    }
