"""Decides which of many rows are anomalies, so that few of those that are found are false.

A false-alarm rate is a share of the normal rows, and among many normal rows even a small share may
be more than all anomalies. The false discovery rate is the share of false ones among the rows that
are found, on average; both procedures here keep it below a level.

P-values of one calibration share its rows, and are so positively dependent (PRDS): the procedure of
Benjamini and Hochberg keeps its level under that dependence (Bates et al. 2023, arXiv:2104.08279).
Alpha-investing is proven for p-values that are independent; those of one calibration are that given
its rows, but exact only on average over them, so a stream should be short beside their number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from isthmus.core.calibration import Calibration, readable
from isthmus.errors import UsageError, nearest

Numbers = NDArray[np.float64]
DEFAULT_LEVEL = 0.1
"""The false discovery rate that is kept if none is asked for."""
# The p-values are float32, so a tie with a step of the procedure may be missed by rounding alone.
_ROUNDING = 1e-6


def check_control(name: str, known: Sequence[str], rate: float | None, level: float | None) -> None:
    """Refuses a control that there is not, and a rate or a level that does not go with it.

    Args:
        name: The control: `rate` keeps a false-alarm rate, the others a false discovery rate.
        known: The names that are possible.
        rate: The false-alarm rate, if one is asked for.
        level: The false discovery rate, if one is asked for.

    Raises:
        UsageError: Naming what is wrong and what to do.
    """
    if name not in known:
        raise UsageError(f'no control "{name}"; {nearest(name, known)}')
    if rate is not None and name != "rate":
        raise UsageError(
            f"a false-alarm rate does not go with the control {name}, which has a level; "
            "leave one out"
        )
    if level is not None and name == "rate":
        others = " or ".join(other for other in known if other != "rate")
        raise UsageError(
            f"a level needs the control {others}; for rates of false alarms give a false-alarm rate"
        )
    if level is not None and not 0 < level < 1:
        raise UsageError(f"a level of {level:g} is no share of rows; use {DEFAULT_LEVEL:g}")


@dataclass
class PValueTally:
    """The p-values of many rows, counted: one calibration gives few different ones.

    Source: Benjamini & Hochberg 1995, doi:10.1111/j.2517-6161.1995.tb02031.x.

    Attributes:
        values: The different p-values, ascending, shape (m,).
        counts: The number of rows that have each, shape (m,).
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
        """Returns up to which p-value rows are discoveries at a false discovery rate; 0 if none is.

        It is that of the last discovery, plus what float32 may have rounded away.
        """
        ranks = np.cumsum(self.counts)
        if not len(ranks):
            return 0.0
        found = self.values <= level * ranks / ranks[-1] * (1 + _ROUNDING)
        return float(self.values[found][-1]) * (1 + _ROUNDING) if found.any() else 0.0


def too_coarse(rows: int, level: float, calibration: Calibration) -> str | None:
    """Returns why none of the rows is found, if the smallest p-value is too large for any.

    Args:
        rows: The number of rows, none of which is found.
        level: The false discovery rate that is kept.
        calibration: The calibration that the p-values are of.
    """
    needed = rows * calibration.least_rate / level
    if needed <= 1:
        return None
    return (
        f"no row of {rows} is found at a false discovery rate of {level:g}: with "
        f"{calibration.rows} calibration rows at least {readable(needed)} rows would need the "
        f"smallest p-value, {calibration.least_rate:.2g}; train on more rows, or detect fewer at "
        "once"
    )


# A row is tested at least at this share of the wealth: more of it is spent while there is much.
_SHARE_SPENT = 1 / 1000


class OnlineDiscoveries:
    """Alpha-investing: decides on one row after another, and never takes a decision back.

    The stream begins with a wealth of the level. Each row is tested at a level of its own, which is
    paid for, and each discovery but the first earns the level again; so the levels of all rows sum
    to at most the level times the discoveries, which keeps the false discovery rate.

    LORD++ and SAFFRON are of the same family, and spread the wealth over infinitely many rows. The
    p-values of n calibration rows are at least 1 / (n + 1), so after some ten rows without a
    discovery their levels could find nothing. Here a row is never tested below the smallest
    p-value, until the wealth is spent.

    Source: Ramdas et al. 2017, "Online control of the false discovery rate with decaying memory",
    arXiv:1710.00499, section 3 (GAI++), for levels that rise with each discovery before them.

    Attributes:
        level: The false discovery rate that is kept.
        smallest: The smallest p-value.
        wealth: The wealth that is left to be spent.
        tested: The number of rows so far.
        discoveries: The number of discoveries so far.
    """

    def __init__(
        self,
        level: float,
        smallest: float,
        wealth: float | None = None,
        tested: int = 0,
        discoveries: int = 0,
    ) -> None:
        """Begins a stream, or goes on with one whose attributes are given."""
        self.level = level
        self.smallest = smallest
        self.wealth = level if wealth is None else wealth
        self.tested = tested
        self.discoveries = discoveries

    @property
    def is_spent(self) -> bool:
        """Whether no row can be a discovery any more."""
        return self.wealth < self.smallest * (1 - _ROUNDING)

    def test(self, p_values: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Decides on the next rows of the stream, shape (B,); returns which are discoveries."""
        found = np.zeros(len(p_values), dtype=bool)
        wealth, smallest = self.wealth, self.smallest
        for place, p_value in enumerate(p_values.tolist()):
            level = min(wealth, max(smallest, wealth * _SHARE_SPENT))
            wealth -= level
            if p_value <= level * (1 + _ROUNDING):
                found[place] = True
                wealth += self.level if self.discoveries else 0.0
                self.discoveries += 1
        self.wealth, self.tested = wealth, self.tested + len(p_values)
        return found
