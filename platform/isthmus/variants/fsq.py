"""Finite scalar quantisation: each number of the latent is one of a few levels; no codebook."""

from __future__ import annotations

from math import log2
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from isthmus.core import Autoencoder, LossOutput, PlanLike
from isthmus.core.quantization import straight_through
from isthmus.spec import SpecModel

Levels = Annotated[int, Field(ge=2, le=1024)]
# Of a step, by which the tanh reaches past the outermost levels.
_MARGIN = 1e-3


class Fsq(Autoencoder):
    """Minimises reconstruction from a latent whose numbers are bounded and rounded.

    Source: Mentzer et al. 2023, "Finite Scalar Quantization: VQ-VAE Made Simple",
    arXiv:2309.15505, section 3 and appendix A.1.
    """

    class Config(SpecModel):
        """The levels."""

        levels: tuple[Levels, ...] = Field(default=(8, 5, 5, 5), min_length=1)
        """Levels of the latent's numbers, repeated from the start where the latent has more."""

    SUMMARY: ClassVar[str] = "a latent of whole levels, with no codebook to collapse; to compress"
    ENCODER_PARTS: ClassVar[tuple[str, ...]] = (*Autoencoder.ENCODER_PARTS, "rounding")
    CUDA_GRAPH_SAFE: ClassVar[bool] = True
    options: Config

    def __init__(self, plan: PlanLike, **training: Any) -> None:
        """As `Autoencoder`, with the levels of each number."""
        super().__init__(plan, **training)
        given = self.options.levels
        self.rounding = Rounding([given[i % len(given)] for i in range(self.plan.latent_dim)])

    def latent(self, encoded: Tensor) -> Tensor:
        """The levels, in [-1, 1]: (B, latent_dim) to (B, latent_dim); gradients pass straight."""
        rounded: Tensor = self.rounding(encoded)
        return rounded

    def loss(self, x: Tensor) -> LossOutput:
        """The reconstruction loss of scaled rows (B, *row_shape), through the rounded latent."""
        output = self.decoder(self.latent(self.encoder(x)))
        reconstruction = self.reconstruction_term(output, x)
        return LossOutput(total=reconstruction, parts={"reconstruction": reconstruction})

    def own_metrics(self, x: Tensor) -> dict[str, float]:
        """`level_perplexity`: of a number, as a share of its levels; and `bits_per_row`."""
        indices = self.rounding.indices(self.latent(self.encoder(x)))
        shares = []
        for column, levels in zip(indices.unbind(dim=1), self.rounding.counts, strict=True):
            share = torch.bincount(column, minlength=levels).double() / len(column)
            shares.append(float((-torch.xlogy(share, share).sum()).exp()) / levels)
        return {
            "level_perplexity": sum(shares) / len(shares),
            "bits_per_row": sum(log2(levels) for levels in self.rounding.counts),
        }


class Rounding(nn.Module):
    """Bounds each number and rounds it to one of its levels.

    Attributes:
        levels: Shape (D,). How many each number has.
        shift: Shape (D,). What an encoding of 0 is moved by, to lie at a level.
    """

    levels: Tensor
    shift: Tensor

    def __init__(self, levels: list[int]) -> None:
        super().__init__()
        self.counts = levels
        self.register_buffer("levels", torch.tensor(levels, dtype=torch.float32))
        # Of the levels alone, and so no part of what is stored; ONNX's exporter has no atanh.
        self.register_buffer("shift", torch.atanh(self._aside() / self._half()), persistent=False)

    def forward(self, encoded: Tensor) -> Tensor:
        """Any numbers (B, D) to levels (B, D), evenly spaced in [-1, 1]."""
        bounded = (encoded + self.shift).tanh() * self._half() - self._aside()
        return straight_through(bounded, bounded.round()) / self._radius()

    def indices(self, z: Tensor) -> Tensor:
        """Levels (B, D) as whole numbers from 0."""
        return (z * self._radius() + self._radius()).round().long()

    def from_indices(self, indices: Tensor) -> Tensor:
        """Whole numbers from 0 as levels, (B, D) to (B, D): what `indices` was given."""
        return (indices - self._radius()) / self._radius()

    def _half(self) -> Tensor:
        return (self.levels - 1 + _MARGIN) / 2

    def _aside(self) -> Tensor:
        """An even count of levels has none at 0: they lie half a step aside."""
        return torch.where(self.levels % 2 == 0, 0.5, 0.0)

    def _radius(self) -> Tensor:
        return (self.levels / 2).floor()
