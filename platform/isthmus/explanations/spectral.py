"""Contributions of sound over time and frequency."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.explanations.contributions import Contributions, Explained

_LONGEST_SEGMENT = 256
_SEGMENTS = 8
_MOST_REFERENCE_ROWS = 256
_LEAST_SHARE = 0.01


@dataclass(frozen=True, eq=False)
class SpectralContributions:
    """The power of the residual over time and frequency, relative to what is usual.

    Attributes:
        values: Shape (K, frequencies, times), averaged over channels; 1 is usual.
        highest_hz: The highest of the frequencies, which begin at 0.
    """

    values: NDArray[np.float32]
    highest_hz: float


def spectral_contributions(
    contributions: Contributions, explained: Explained
) -> SpectralContributions:
    """Returns the contributions of windows of sound over time and frequency."""
    rate_hz = contributions.pair.manifest.rows_taken.sample_rate_hz or 1
    power = _power(explained.rows - explained.reconstructions)
    held_out = contributions.held_out
    if held_out is not None and len(held_out.rows):
        usual = contributions.of(held_out.rows[:_MOST_REFERENCE_ROWS])
        by_frequency = _power(usual.rows - usual.reconstructions).mean(axis=(0, 2))
    else:
        by_frequency = np.full(power.shape[1], power.mean())
    least = _LEAST_SHARE * float(by_frequency.mean())
    usual_power = np.maximum(by_frequency, least if least > 0 else 1.0)
    return SpectralContributions(
        (power / usual_power[:, None]).astype(np.float32), highest_hz=rate_hz / 2
    )


def _power(signals_NCT: NDArray[Any]) -> NDArray[Any]:
    """Returns the power of signals, shape (N, frequencies, times), averaged over channels."""
    from scipy.signal import stft

    longest = signals_NCT.shape[2]
    segment = max(4, min(_LONGEST_SEGMENT, 2 * longest // _SEGMENTS))
    _, _, found = stft(signals_NCT, nperseg=min(segment, longest), axis=-1)
    return np.asarray(np.square(np.abs(found)).mean(axis=1))
