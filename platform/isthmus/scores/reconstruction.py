"""The reconstruction error, each feature in units of its own usual error."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from isthmus.scores._score import Score, Views, settled

# A feature whose error is smaller than this share of the usual one is not weighed up any further:
# rounding alone would then decide.
_LEAST_SHARE = 0.1


class Reconstruction(Score):
    """Scores a row by its mean squared residual, with each feature scaled by its usual residual.

    A mean squared error alone is ruled by the features that are hard to reconstruct. The scale is
    the mean absolute residual, which a few normal rows with large errors move little, and which
    counts held-out rows as much as the rows that the autoencoder was trained on.

    Source: Hawkins et al. 2002, "Outlier Detection Using Replicator Neural Networks", DaWaK.
    """

    SUMMARY: ClassVar[str] = "the squared error, each feature in its usual error; fastest"
    FITTED: ClassVar[tuple[str, ...]] = ("scale",)
    scale: Tensor

    def fit(self, train: Views, held_out: Views, seed: int) -> None:
        """Learns the usual residual of each feature."""
        errors = torch.stack([part.residuals.abs().mean(dim=0) for part in (train, held_out)])
        scale = errors.mean(dim=0)
        least = (_LEAST_SHARE * scale.square().mean().sqrt()).clamp(min=1e-9)
        self.keep("scale", torch.maximum(scale, least))

    def forward(self, views: Views) -> Tensor:
        """Computes the mean squares of the scaled residuals, shape (B,)."""
        return settled((views.residuals / self.scale).square().mean(dim=1))
