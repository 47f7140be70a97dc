"""Puts scores of different units on the scale of normal rows, so that they can be added."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from isthmus.scores._fitted import Fitted

# A score is put on a logarithmic scale above this share of the median normal score, so that rows
# without any distance do not lie infinitely low.
_FLOOR = 0.05
# Normal rows that score almost the same must not make every other row infinitely strange.
_LEAST_SPREAD = 0.05


class Reference(Fitted):
    """Puts scores of at least 0 on the scale of normal rows: 0 is usual, 1 is a usual deviation.

    The scale is logarithmic and has no end. A p-value by ranks would be the same for all rows
    that are stranger than the few rows it is made from, and their order would be lost.
    """

    FITTED: ClassVar[tuple[str, ...]] = ("floor", "middle", "spread")
    floor: Tensor
    middle: Tensor
    spread: Tensor

    def fit(self, scores: Tensor) -> None:
        """Learns the scale from the scores of normal rows, shape (n,)."""
        positive = scores[scores > 0]
        usual = positive.median() if len(positive) else torch.ones(())
        self.keep("floor", _FLOOR * torch.maximum(scores.median(), _FLOOR * usual))
        logarithms = self._log(scores)
        self.keep("middle", logarithms.median())
        spread = (logarithms - self.middle).square().mean().sqrt()
        self.keep("spread", spread.clamp(min=_LEAST_SPREAD))

    def forward(self, scores: Tensor) -> Tensor:
        """Returns the scores on the scale of normal rows, shape (B,)."""
        return (self._log(scores) - self.middle) / self.spread

    def _log(self, scores: Tensor) -> Tensor:
        return torch.log(scores.clamp(min=0) + self.floor)
