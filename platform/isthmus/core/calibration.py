"""What scores are normal, as part of the module: learned on validation rows, used everywhere."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from isthmus.core.ranks import Ranks

QUANTILES = 1001
DEFAULT_FALSE_POSITIVE_RATE = 0.01
_WORTH_A_TABLE = 16_384
# Scores that are ranked at once: few enough that what is made of them on the way stays in the
# cache, and in memory that is asked for once.
_RANKED_AT_ONCE = 16_384


class Calibration(nn.Module):
    """The distribution of anomaly scores on rows held out of training.

    Attributes:
        quantiles: Shape (1001,). Validation scores at probabilities 0, 0.001, ..., 1.
        threshold: Shape (). Scores above it are anomalies: by default 1 % of normal rows.
    """

    quantiles: Tensor
    threshold: Tensor

    def __init__(self) -> None:
        super().__init__()
        # NaN, not 0: a module that was never calibrated must not call every row an anomaly.
        self.register_buffer("quantiles", torch.full((QUANTILES,), torch.nan))
        self.register_buffer("threshold", torch.tensor(torch.nan))
        self._ranks: Ranks | None = None

    def fit(self, scores: Tensor, false_positive_rate: float = DEFAULT_FALSE_POSITIVE_RATE) -> None:
        """Learns from the scores, shape (N,), of rows that are normal and were not trained on."""
        # numpy sorts without an index of all: of very many scores that is most of the memory.
        ordered = torch.from_numpy(np.sort(scores.detach().flatten().cpu().numpy()))
        probabilities = torch.linspace(0, 1, QUANTILES, dtype=torch.float64)
        self.quantiles.copy_(_interpolate(ordered, probabilities))
        wanted = torch.tensor([1 - false_positive_rate], dtype=torch.float64)
        self.threshold.copy_(_interpolate(ordered, wanted)[0])

    def p_values(self, scores: Tensor) -> Tensor:
        """The share of normal rows that score at least as high.

        Args:
            scores: Shape (B,).

        Returns:
            Shape (B,), in [1/1001, 1]: a finite sample cannot show a smaller one.
        """
        if len(scores) < _WORTH_A_TABLE:
            return _p_values(torch.searchsorted(self.quantiles, scores.contiguous(), right=False))
        # Made again only where the quantiles are others: that takes as long as many scores.
        if self._ranks is None or not torch.equal(self._ranks.ordered, self.quantiles):
            self._ranks = Ranks(self.quantiles)
        ranks, by_rank = self._ranks, _p_values(torch.arange(QUANTILES + 1))
        found = torch.empty_like(scores)
        parts = (torch.split(each, _RANKED_AT_ONCE) for each in (scores, found))
        for part, into in zip(*parts, strict=True):
            torch.index_select(by_rank, 0, ranks.below(part), out=into)
        return found

    def is_anomaly(self, scores: Tensor) -> Tensor:
        """Shape (B,), bool: which scores are above the threshold."""
        return scores > self.threshold


def _p_values(below: Tensor) -> Tensor:
    return (QUANTILES - below).clamp(min=1) / QUANTILES


def _interpolate(ordered: Tensor, probabilities: Tensor) -> Tensor:
    # torch.quantile does the same and refuses more than 16 million scores.
    position = probabilities * (len(ordered) - 1)
    below = position.floor().long()
    above = position.ceil().long()
    return torch.lerp(ordered[below].double(), ordered[above].double(), position - below)
