"""The noise that the best possible denoiser of the normal rows finds in a row."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from isthmus.scores._memory import MemoryScore
from isthmus.scores._score import Views

# The neighbour whose distance says how dense the normal rows lie.
_NEIGHBOUR = 5


class KernelDenoising(MemoryScore):
    """Scores a row by its distance to what a denoiser would make of it.

    Of normal rows that normal noise was added to, the best denoiser is known without training: it
    returns the mean of the rows of the memory, weighted by how likely the noise leads from each to
    the given row. The distance is large for rows that lie far away, and for rows at the edge of
    the normal ones, from which all neighbours lie in one direction.

    Source: Vincent 2011, "A Connection Between Score Matching and Denoising Autoencoders", Neural
    Computation 23, p. 1661; the norm of the noise as a score as in Livernoche et al. 2026,
    "Kurtosis-Guided Denoising Score Matching for Tabular Anomaly Detection", arXiv:2605.06955.
    """

    class Config(MemoryScore.Config):
        """The noise, the size of the memory, and the space of the distances."""

        noise: float = Field(default=0.25, gt=0.0, le=10.0)
        """The standard deviation of the noise, as a share of the usual distance of a normal row to
        its fifth neighbour."""

    SUMMARY: ClassVar[str] = "the distance to the normal rows that noise would lead from; tables"
    FITTED: ClassVar[tuple[str, ...]] = (*MemoryScore.FITTED, "sharpness")
    options: Config
    sharpness: Tensor

    def fit(self, train: Views, held_out: Views, seed: int) -> None:
        """Keeps a sample of the training rows, and measures how dense they lie."""
        super().fit(train, held_out, seed)
        k = max(1, min(_NEIGHBOUR, len(self.memory) - 1))
        fifth = self.apart().kthvalue(k, dim=1).values
        usual = fifth[torch.isfinite(fifth) & (fifth > 0)]
        square = usual.median() if len(usual) else torch.ones(())
        square = torch.maximum(square, self.resolution)
        self.keep("sharpness", 0.5 / (self.options.noise**2 * square))

    def from_distances(self, points: Tensor, squares: Tensor) -> Tensor:
        """Computes the distances to the denoised rows, shape (B,)."""
        weights = torch.softmax(-self.sharpness * squares, dim=1)
        noise = points - weights @ self.memory
        return (noise.square().sum(dim=1) + self.resolution).sqrt()
