"""Finite scalar quantisation: each latent value is one of a few levels, without a codebook."""

from __future__ import annotations

from math import log2
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from isthmus.core import IndexCoded, LossOutput, PlanLike
from isthmus.core.quantization import straight_through
from isthmus.spec import SpecModel

Levels = Annotated[int, Field(ge=2, le=1024)]
# How far the tanh reaches past the outermost levels, in steps between levels.
_MARGIN = 1e-3


class Fsq(IndexCoded):
    """Minimises the reconstruction loss from a latent whose values are bounded and rounded.

    Source: Mentzer et al. 2023, "Finite Scalar Quantization: VQ-VAE Made Simple",
    arXiv:2309.15505, section 3 and appendix A.1.
    """

    class Config(SpecModel):
        """The quantisation levels."""

        levels: tuple[Levels, ...] = Field(default=(8, 5, 5, 5), min_length=1)
        """Number of levels of each latent dimension, repeated if the latent has more dimensions."""

    SUMMARY: ClassVar[str] = "a latent of whole levels, with no codebook to collapse; to compress"
    ENCODER_PARTS: ClassVar[tuple[str, ...]] = (*IndexCoded.ENCODER_PARTS, "rounding")
    CUDA_GRAPH_SAFE: ClassVar[bool] = True
    options: Config

    def __init__(self, plan: PlanLike) -> None:
        """Builds an `IndexCoded` autoencoder with the levels of each latent dimension."""
        super().__init__(plan)
        given = self.options.levels
        self.rounding = Rounding([given[i % len(given)] for i in range(self.plan.latent_dim)])

    def latent(self, encoded: Tensor) -> Tensor:
        """Rounds encodings (B, latent_dim) to levels in [-1, 1]; gradients pass straight."""
        rounded: Tensor = self.rounding(encoded)
        return rounded

    def alphabet(self) -> list[int]:
        """Returns the number of levels of each latent dimension."""
        return self.rounding.counts

    def indices_of(self, encoded: Tensor) -> Tensor:
        """Returns the level of each encoding, from 0: (B, latent_dim) to (B, latent_dim)."""
        return self.rounding.indices(self.latent(encoded))

    def from_indices(self, indices: Tensor) -> Tensor:
        """Returns the latent of levels: (B, latent_dim) to (B, latent_dim)."""
        return self.rounding.from_indices(indices)

    def loss(self, x: Tensor) -> LossOutput:
        """Computes the loss of scaled rows (B, *row_shape), through the rounded latent."""
        output = self.decoder(self.latent(self.encoder(x)))
        reconstruction = self.reconstruction_term(output, x)
        return LossOutput(total=reconstruction, parts={"reconstruction": reconstruction})

    def own_metrics(self, x: Tensor) -> dict[str, float]:
        """Computes `level_perplexity` and `bits_per_row`.

        The perplexity is a dimension's, as a share of its levels, averaged over dimensions.
        """
        indices = self.indices_of(self.encoder(x))
        shares = []
        for column, levels in zip(indices.unbind(dim=1), self.rounding.counts, strict=True):
            share = torch.bincount(column, minlength=levels).double() / len(column)
            shares.append(float((-torch.xlogy(share, share).sum()).exp()) / levels)
        return {
            "level_perplexity": sum(shares) / len(shares),
            "bits_per_row": sum(log2(levels) for levels in self.rounding.counts),
        }


class Rounding(nn.Module):
    """Bounds each value and rounds it to one of its dimension's levels.

    Attributes:
        levels: The number of levels of each dimension, shape (D,).
        shift: The shift that moves an encoding of 0 to a level, shape (D,).
    """

    levels: Tensor
    shift: Tensor

    def __init__(self, levels: list[int]) -> None:
        super().__init__()
        self.counts = levels
        self.register_buffer("levels", torch.tensor(levels, dtype=torch.float32))
        # Follows from the levels, so it is not stored; a buffer, as ONNX's exporter has no atanh.
        self.register_buffer("shift", torch.atanh(self._aside() / self._half()), persistent=False)

    def forward(self, encoded: Tensor) -> Tensor:
        """Converts any values (B, D) to levels (B, D), evenly spaced in [-1, 1]."""
        bounded = (encoded + self.shift).tanh() * self._half() - self._aside()
        return straight_through(bounded, bounded.round()) / self._radius()

    def indices(self, z: Tensor) -> Tensor:
        """Converts levels (B, D) to integers from 0."""
        return (z * self._radius() + self._radius()).round().long()

    def from_indices(self, indices: Tensor) -> Tensor:
        """Converts integers from 0 to levels, (B, D) to (B, D); the inverse of `indices`."""
        return (indices - self._radius()) / self._radius()

    def _half(self) -> Tensor:
        return (self.levels - 1 + _MARGIN) / 2

    def _aside(self) -> Tensor:
        """Returns half a step for even numbers of levels, which have no level at 0; else 0."""
        return torch.where(self.levels % 2 == 0, 0.5, 0.0)

    def _radius(self) -> Tensor:
        return (self.levels / 2).floor()
