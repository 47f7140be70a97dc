"""The features of rows that are compared: a table's own; of other kinds a few numbers for a row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.kinds import facts_of
from isthmus.spec import RowSchema


@dataclass(frozen=True, eq=False)
class Summaries:
    """The features of some rows.

    Attributes:
        values: Shape (N, F).
        names: The names of the F features.
    """

    values: NDArray[Any]
    names: tuple[str, ...]


def summaries_of(rows: NDArray[Any], schema: RowSchema) -> Summaries:
    """Returns the features by which rows are compared.

    Single pixels, steps and samples say little, and there are thousands of them. Images are
    compared by brightness and contrast, series by mean and spread, audio by loudness and the
    centre of the spectrum; each channel by itself.

    Args:
        rows: Shape (N, *row_shape).
        schema: The schema of the rows.
    """
    shown_as = facts_of(schema.kind).shown_as
    if shown_as == "numbers":
        names = schema.features or tuple(f"column {place}" for place in range(rows.shape[1]))
        return Summaries(rows, tuple(names))
    of_channels = rows.reshape(len(rows), rows.shape[1], -1)
    if shown_as == "sounds":
        loudness = np.sqrt(np.nanmean(np.square(of_channels), axis=2))
        columns = [("loudness", loudness), ("spectral centre", _spectral_centres(of_channels))]
    else:
        is_picture = shown_as == "pictures"
        words = ("brightness", "contrast") if is_picture else ("mean", "spread")
        columns = [
            (words[0], np.nanmean(of_channels, axis=2)),
            (words[1], np.nanstd(of_channels, axis=2)),
        ]
    return Summaries(
        np.concatenate([values for _, values in columns], axis=1),
        tuple(
            _called(schema, word, channel, rows.shape[1])
            for word, _ in columns
            for channel in range(rows.shape[1])
        ),
    )


def _spectral_centres(of_channels: NDArray[Any]) -> NDArray[Any]:
    """Returns the mean frequency of each signal, weighed by its spectrum, in cycles a sample."""
    spectra = np.abs(np.fft.rfft(of_channels, axis=2))
    total = spectra.sum(axis=2)
    frequencies = np.linspace(0, 0.5, spectra.shape[2])
    return np.asarray((spectra * frequencies).sum(axis=2) / np.where(total > 0, total, 1))


def _called(schema: RowSchema, word: str, channel: int, channels: int) -> str:
    if schema.features is not None:
        return f"{word} of {schema.features[channel]}"
    return word if channels == 1 else f"{word} of channel {channel}"
