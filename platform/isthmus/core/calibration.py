"""The anomaly scores of normal rows, which turn a score into a p-value and a label.

The p-value of a score is that of split conformal prediction: if the row is normal, then it and the
n calibration rows are exchangeable, and the p-value is at most any rate with at most that
probability. The promise is kept on average over draws of the calibration rows; with one draw, the
share of false alarms at a rate r varies as Beta(k, n + 1 - k) does, where k = floor(r (n + 1)).

Source: Vovk, Gammerman & Shafer 2005, "Algorithmic learning in a random world", chapter 2;
Bates et al. 2023, "Testing for outliers with conformal p-values", arXiv:2104.08279.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from isthmus.errors import UsageError

QUANTILES = 1001
"""The number of quantiles that pairs of formats 1 and 2 hold instead of scores."""
DEFAULT_RATE = 0.01
MOST_SCORES = 100_000
"""The most scores that are kept. Of more, as many at evenly spaced ranks are kept."""
# A rate times n + 1 may lie below a whole number by rounding alone: 0.29 * 100 = 28.999999999999996
_ROUNDING = 1e-9
# Float64 tells all whole numbers below this apart.
_COUNTED = 1e15


class Calibration(nn.Module):
    """The scores of normal rows that were not trained on.

    A tie counts as a calibration row that is at least as strange, so that ties make p-values
    larger and never smaller. A score that is NaN gets the smallest p-value.

    Attributes:
        scores: Shape (m,), float32, ascending. The scores that are kept: all of them, or those at
            `MOST_SCORES` evenly spaced ranks, the first and the last included.
        count: Shape (), int64. The number n of rows that the module was calibrated on.
        scored: Shape (), int64. The number of scores that the n stand for, where the scores depend
            on each other; `None` where they do not.
    """

    scores: Tensor
    count: Tensor
    scored: Tensor | None

    def __init__(self) -> None:
        """Creates a calibration on no rows, by which every p-value is 1."""
        super().__init__()
        self.register_buffer("scores", torch.empty(0))
        self.register_buffer("count", torch.tensor(0))
        self.register_buffer("scored", None)

    @classmethod
    def restored(cls, state: Mapping[str, Tensor]) -> Calibration:
        """Returns the calibration whose `state_dict` is given, of any format.

        Raises:
            RuntimeError: If a tensor is missing, unknown or of another shape.
        """
        if set(state) == {"quantiles", "threshold"}:
            return cls.from_quantiles(state["quantiles"], state["threshold"])
        calibration = cls()
        calibration.restore(state)
        return calibration

    @staticmethod
    def from_quantiles(quantiles: Tensor, threshold: Tensor | float) -> Calibration:
        """Returns the calibration of a pair of format 1 or 2, with the p-values that it had.

        Args:
            quantiles: Shape (1001,). The scores at the probabilities 0, 0.001, ..., 1.
            threshold: The score that 1 % of normal rows are above.
        """
        return _OfQuantiles(quantiles, float(threshold))

    def fit(self, scores: Tensor, independent: int | None = None) -> None:
        """Takes the scores of normal rows that nothing was trained or chosen on.

        A score that is NaN counts as the highest of all.

        Args:
            scores: Shape (N,).
            independent: The number of independent scores that they are worth, if neighbours depend
                on each other, as those of overlapping windows do: at least 1. So many are kept, at
                evenly spaced ranks from the highest, so that p-values count them and not all N.
        """
        # numpy sorts without the index that torch.sort returns, which takes twice the memory of
        # the scores themselves.
        values = scores.detach().flatten().to("cpu", torch.float32).numpy()
        ordered = np.sort(np.nan_to_num(values, nan=np.inf, posinf=np.inf, neginf=-np.inf))
        total = len(ordered)
        if independent is not None and independent < total:
            from_above = np.arange(independent, dtype=np.int64) * total // independent
            ordered = ordered[total - 1 - from_above[::-1]]
            self.register_buffer("scored", torch.tensor(total))
        count, kept = len(ordered), min(len(ordered), MOST_SCORES)
        self._keep(torch.from_numpy(ordered[_ranks(kept, count)]), count)

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Sets the buffers from a `state_dict`, of whatever number of scores.

        Raises:
            RuntimeError: If a tensor is missing, unknown or of another shape.
        """
        if set(state) - {"scored"} != {"scores", "count"}:
            raise RuntimeError(f"a calibration has scores and count, and not {sorted(state)}")
        scores, count = state["scores"], int(state["count"])
        if scores.shape != (min(count, MOST_SCORES),):
            raise RuntimeError(f"{count} calibration rows have no scores of shape {scores.shape}")
        self._keep(scores.detach(), count)
        self.register_buffer("scored", state.get("scored"))

    def _keep(self, scores: Tensor, count: int) -> None:
        self.register_buffer("scores", scores.contiguous())
        self.register_buffer("count", torch.tensor(count))

    # -- what the calibration can tell -------------------------------------------------------------

    @property
    def rows(self) -> int:
        """The number n of rows that the module was calibrated on, or that these are worth."""
        return int(self.count)

    def size(self, what: str = "") -> str:
        """Returns how many calibration rows there are and, if fewer, what they are worth.

        Args:
            what: The noun that follows the number.
        """
        count = f"{self.rows if self.scored is None else int(self.scored)} {what}".rstrip()
        if self.scored is None:
            return count
        return (
            f"{count} (worth about {self.rows} independent {'one' if self.rows == 1 else 'ones'})"
        )

    @property
    def least_rate(self) -> float:
        """The smallest p-value, which is also the smallest false-alarm rate: 1 / (n + 1)."""
        return 1 / (self.rows + self._itself)

    @property
    def rate(self) -> float:
        """The false-alarm rate of the threshold: 0.01, or the smallest if that is larger."""
        return max(DEFAULT_RATE, self.least_rate)

    @property
    def threshold(self) -> float:
        """The score that rows must exceed to be anomalies at the pair's own false-alarm rate."""
        return self.threshold_at(self.rate) if self.rows else math.nan

    @property
    def largest_rank_error(self) -> int:
        """The most of the n rows by which a p-value is too large, as not all scores are kept."""
        return _largest_rank_error(self.rows)

    def check_rate(self, rate: float, whose: str, what: str = "rows") -> None:
        """Refuses a false-alarm rate that the calibration rows cannot resolve.

        Args:
            rate: The rate.
            whose: The pair's name, for the message.
            what: The things that are scored, for the message.

        Raises:
            UsageError: If the rate is no share, or smaller than the smallest p-value.
        """
        if not 0 < rate < 1:
            raise UsageError(f"a false-alarm rate of {rate:g} is no share of rows; use 0.01")
        if self._rank_at(rate) < 1:
            needed = readable(1 / rate - _ROUNDING - self._itself)
            kind = "calibration" if self.scored is None else "independent calibration"
            raise UsageError(
                f"a false-alarm rate of {rate:g} needs at least {needed} {kind} {what}, and "
                f"{whose} has {self.size()}; ask for {_rounded_up(self.least_rate):g} or more, or "
                f"train on more {what}"
            )

    def p_values(self, scores: Tensor) -> Tensor:
        """Computes the p-values (1 + #{calibration scores >= score}) / (n + 1).

        Args:
            scores: Shape (B,).

        Returns:
            Shape (B,), float32, in [1 / (n + 1), 1].
        """
        kept_below = torch.searchsorted(self.scores, _ordered(scores), right=False)
        return self._counting()(scores, kept_below)

    def threshold_at(self, rate: float) -> float:
        """Returns the score that rows must exceed to have a p-value of at most the rate.

        It is a calibration score itself: a row that scores the same is no anomaly.
        """
        rank = self._rank_at(rate)
        if rank < 1:
            return math.inf
        # So many calibration rows, less one, score at least as high as the threshold does.
        from_below = max(self.rows - 1 - (rank - self._itself), 0)
        kept, gaps = len(self.scores), max(self.rows - 1, 1)
        # The kept score of least rank that is not below the one looked for.
        return float(self.scores[-(-from_below * (kept - 1) // gaps)])

    def is_anomaly(self, scores: Tensor, rate: float | None = None) -> Tensor:
        """Returns which scores have a p-value of at most the rate, shape (B,), bool.

        A score that is NaN, as of a row whose numbers overflow, is no normal row's.

        Args:
            scores: Shape (B,).
            rate: The false-alarm rate; by default the pair's own.
        """
        threshold = self.threshold if rate is None else self.threshold_at(rate)
        return (scores > threshold) | torch.isnan(scores)

    def exportable(self) -> Callable[[Tensor], Tensor]:
        """Returns a function that computes `p_values` with operations that ONNX has.

        ONNX cannot search a sorted array, and comparing each score with 100,000 others is slow: a
        score is compared with the greatest of each block first, and then with one block.
        """
        kept = len(self.scores)
        width = max(1, math.isqrt(kept))
        blocks = torch.full((-(-max(kept, 1) // width) * width,), torch.inf)
        blocks[:kept] = self.scores
        blocks_KW = blocks.reshape(-1, width)
        greatest_K = blocks_KW[:, -1].contiguous()

        last, p_values_of = len(blocks_KW) - 1, self._counting()

        def p_values(scores: Tensor) -> Tensor:
            ordered_B1 = _ordered(scores).unsqueeze(1)
            block_B = (greatest_K < ordered_B1).sum(dim=1).clamp(max=last)
            below_B = (blocks_KW.index_select(0, block_B) < ordered_B1).sum(dim=1)
            return p_values_of(scores, block_B * width + below_B)

        return p_values

    # -- what differs in pairs of older formats ----------------------------------------------------

    _itself: int = 1
    """1, as a row counts as one of those that are at least as strange as itself."""

    def _rank_at(self, rate: float) -> int:
        """Returns the greatest k for which a p-value of k / (n + 1) is at most the rate."""
        return math.floor(rate * (self.rows + self._itself) + _ROUNDING)

    def _counting(self) -> Callable[[Tensor, Tensor], Tensor]:
        """Returns a function of scores, and of how many kept scores are below each: p-values."""
        # Plain numbers, so that an exporter takes them for constants.
        count, kept, itself = self.rows, len(self.scores), self._itself
        # Certainly below are the rows up to the rank of the last kept score that is.
        rows_below = torch.from_numpy(np.append(0, _ranks(kept, count) + 1))

        def p_values(scores: Tensor, kept_below: Tensor) -> Tensor:
            below = kept_below if kept == count else rows_below[kept_below]
            at_least = (count - below + itself).clamp(min=1)
            at_least = torch.where(torch.isnan(scores), torch.ones_like(at_least), at_least)
            return (at_least.double() / (count + itself)).float()

        return p_values


class _OfQuantiles(Calibration):
    """The calibration of pairs of formats 1 and 2: interpolated quantiles of an unknown number."""

    _itself = 0

    def __init__(self, quantiles: Tensor, threshold: float) -> None:
        super().__init__()
        if quantiles.shape != (QUANTILES,):
            raise RuntimeError(f"there are {QUANTILES} quantiles, not {tuple(quantiles.shape)}")
        self._keep(quantiles.detach(), QUANTILES)
        self._threshold = threshold

    @property
    def threshold(self) -> float:
        return self._threshold


def largest_error(rows: int) -> float | None:
    """Returns the most by which a p-value of a calibration on so many rows is too large.

    Returns:
        The error, as a share; `None` if all scores are kept, so that p-values are exact.
    """
    return _largest_rank_error(rows) / (rows + 1) if rows > MOST_SCORES else None


def error_in_words(error: float) -> str:
    """Returns a sentence about the `largest_error` of p-values."""
    return (
        f"p-values may be too large by up to {error:.2g} and are never too small, as only "
        f"{MOST_SCORES:,} of the calibration scores are kept"
    )


def _largest_rank_error(rows: int) -> int:
    kept = min(rows, MOST_SCORES)
    return math.ceil((rows - 1) / (kept - 1)) - 1 if kept > 1 else 0


def readable(count: float) -> str:
    """Returns how many of something are needed, rounded up; so many that no one counts, roughly."""
    return f"{math.ceil(count)}" if count < _COUNTED else f"{min(count, sys.float_info.max):.3g}"


def _ranks(kept: int, count: int) -> NDArray[np.int64]:
    """Returns the ranks of the scores that are kept, counted from 0: the first to the last."""
    return np.arange(kept, dtype=np.int64) * (count - 1) // max(kept - 1, 1)


def _ordered(scores: Tensor) -> Tensor:
    """Returns scores that can be compared: NaN is above all others."""
    return torch.where(torch.isnan(scores), torch.full_like(scores, torch.inf), scores).contiguous()


def _rounded_up(rate: float) -> float:
    """Returns the rate with three digits, rounded up, so that it can be asked for."""
    unit = 10.0 ** (math.floor(math.log10(rate)) - 2)
    return math.ceil(rate / unit - _ROUNDING) * unit
