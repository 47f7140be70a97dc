"""Which of many rows are anomalies, so that few of those that are found are false.

A false-alarm rate is a share of the normal rows, and among many normal rows even a small share may
be more than all anomalies. The false discovery rate is the share of false ones among the rows that
are found, on average; both procedures here keep it below a level.

P-values of one calibration share its rows, and are so positively dependent (PRDS): the procedure of
Benjamini and Hochberg keeps its level under that dependence (Bates et al. 2023, arXiv:2104.08279).
LORD++ is proven for p-values that are independent given the past; those of one calibration are that
given its rows, but exact only on average over them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
DEFAULT_LEVEL = 0.1
# The p-values are float32, so a tie with a step of the procedure may be missed by rounding alone.
_ROUNDING = 1e-6


@dataclass
class PValueTally:
    """The p-values of many rows, counted: one calibration gives few different ones.

    Source: Benjamini & Hochberg 1995, doi:10.1111/j.2517-6161.1995.tb02031.x.

    Attributes:
        values: The different p-values, ascending, shape (m,).
        counts: How many rows have each, shape (m,).
    """

    values: Numbers = field(default_factory=lambda: np.empty(0))
    counts: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def add(self, p_values: NDArray[np.floating]) -> None:
        """Counts the p-values of further rows, shape (B,)."""
        values, counts = np.unique(p_values.astype(np.float64), return_counts=True)
        merged = np.union1d(self.values, values)
        total = np.zeros(len(merged), dtype=np.int64)
        total[np.searchsorted(merged, self.values)] += self.counts
        total[np.searchsorted(merged, values)] += counts
        self.values, self.counts = merged, total

    def cut(self, level: float) -> float:
        """Returns the largest p-value of a discovery at that false discovery rate; 0 if none is."""
        ranks = np.cumsum(self.counts)
        if not len(ranks):
            return 0.0
        found = self.values <= level * ranks / ranks[-1] * (1 + _ROUNDING)
        return float(self.values[found][-1]) if found.any() else 0.0


# LORD++ holds for any weights that fall and sum to at most 1. These fall fast, as SAFFRON's do:
# p-values of n calibration rows are at least 1 / (n + 1), so a thin tail of levels finds nothing.
_EXPONENT, _SUM = 1.6, 2.285765666  # the sum over j of j ** -1.6, rounded up
# The share of the level that a stream has before its first discovery.
_WEALTH = 0.5
_MOST_RECENT = 256
_AT_ONCE = 4096


class OnlineDiscoveries:
    """LORD++: decides on one row after another, and never takes a decision back.

    The level of each row falls with the rows since the discoveries before it, and rises with every
    discovery. Only the latest 256 discoveries are remembered: this lowers levels a little, which
    keeps the false discovery rate, and bounds time and memory however long the stream is.

    Source: Ramdas et al. 2017, "Online control of the false discovery rate with decaying memory",
    arXiv:1710.00499, section 3.

    Attributes:
        level: The false discovery rate that is kept.
        tested: The number of rows so far.
        discoveries: The number of discoveries so far.
        first: The place of the first discovery, counted from 1; `None` if there is none.
        recent: The places of the latest discoveries, ascending.
    """

    def __init__(
        self,
        level: float,
        tested: int = 0,
        discoveries: int = 0,
        first: int | None = None,
        recent: Sequence[int] = (),
    ) -> None:
        """Begins a stream, or goes on with one whose attributes are given."""
        self.level = level
        self.tested = tested
        self.discoveries = discoveries
        self.first = first
        self.recent = list(recent)[-_MOST_RECENT:]

    @property
    def next_level(self) -> float:
        """The p-value that the next row must not exceed to be a discovery."""
        return float(self._levels(1)[0])

    def test(self, p_values: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Decides on the next rows of the stream, shape (B,); returns which are discoveries."""
        found = [
            self._test(p_values[start : start + _AT_ONCE])
            for start in range(0, len(p_values), _AT_ONCE)
        ]
        return np.concatenate([np.empty(0, dtype=bool), *found])

    def _test(self, p_values: NDArray[np.floating]) -> NDArray[np.bool_]:
        levels, is_found = self._levels(len(p_values)), np.zeros(len(p_values), dtype=bool)
        begun, done = self.tested, 0
        while (hits := np.flatnonzero(p_values[done:] <= levels[done:])).size:
            place = done + int(hits[0])
            is_found[place], done = True, place + 1
            levels[done:] += self._weight(begun + done) * _falling(len(levels) - done)
            self._remember(begun + done)
        self.tested = begun + len(p_values)
        return is_found

    def _remember(self, place: int) -> None:
        self.first = place if self.first is None else self.first
        self.discoveries += 1
        self.recent = [*self.recent, place][-_MOST_RECENT:]

    def _weight(self, place: int) -> float:
        """Returns the level that a discovery gives back: less for the first, as some was there."""
        is_first = self.first in (None, place)
        return self.level * (1 - _WEALTH) if is_first else self.level

    def _levels(self, count: int) -> Numbers:
        """Returns the levels of the next rows if none of them is a discovery, shape (count,)."""
        places = self.tested + 1 + np.arange(count, dtype=np.float64)
        levels = self.level * _WEALTH * places**-_EXPONENT / _SUM
        for place in self.recent:
            levels += self._weight(place) * (places - place) ** -_EXPONENT / _SUM
        return levels


def _falling(count: int) -> Numbers:
    """Returns the first weights of the sequence, shape (count,)."""
    return (1 + np.arange(count, dtype=np.float64)) ** -_EXPONENT / _SUM


def online_rows_needed(level: float) -> int:
    """Returns how many calibration rows a stream needs for its first row to be a discovery."""
    return int(np.ceil(_SUM / (level * _WEALTH))) - 1
