"""Residual vector quantisation: each codebook encodes what the ones before it left over."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from isthmus.core import IndexCoded, LossOutput, PlanLike
from isthmus.core.quantization import Codebook, bits, straight_through, usage
from isthmus.spec import SpecModel


class ResidualVq(IndexCoded):
    """Minimises reconstruction from a sum of codes, one per stage, and the commitment loss.

    Source: Zeghidour et al. 2021, "SoundStream: An End-to-End Neural Audio Codec",
    arXiv:2107.03312, algorithm 1; commitment at every stage as in Lee et al. 2022,
    "Autoregressive Image Generation using Residual Quantization", arXiv:2203.01941, equation 7.
    """

    class Config(SpecModel):
        """The codebooks."""

        stages: Annotated[int, Field(ge=1, le=64)] = 8
        """Number of codebooks, which are applied one after another."""
        codes: Annotated[int, Field(ge=2, le=65_536)] = 128
        """Codes per codebook; a code has the size of the latent."""
        commitment: float = Field(default=0.25, ge=0.0)
        """Weight of the squared distance between encodings and the sums of codes so far."""
        decay: float = Field(default=0.99, gt=0.0, lt=1.0)
        """Decay of the codes' moving averages, per batch."""
        least_count: float = Field(default=0.1, ge=0.0)
        """A code chosen less often than this per batch, on average, is restarted elsewhere."""

    SUMMARY: ClassVar[str] = "a code upon a code, coarse to fine; to compress at several rates"
    ENCODER_PARTS: ClassVar[tuple[str, ...]] = (*IndexCoded.ENCODER_PARTS, "codebooks")
    DECODER_PARTS: ClassVar[tuple[str, ...]] = (*IndexCoded.DECODER_PARTS, "codebooks")
    CUDA_GRAPH_SAFE: ClassVar[bool] = True
    options: Config

    def __init__(self, plan: PlanLike) -> None:
        """Builds an `IndexCoded` autoencoder with a codebook for each stage."""
        super().__init__(plan)
        options = self.options
        self.codebooks = nn.ModuleList(
            Codebook(options.codes, self.plan.latent_dim, options.decay, options.least_count)
            for _ in range(options.stages)
        )

    def latent(self, encoded: Tensor) -> Tensor:
        """Returns the sum of all stages' codes: (B, latent_dim) to (B, latent_dim)."""
        return self.partial_sums(encoded)[-1]

    def partial_sums(self, encoded: Tensor) -> list[Tensor]:
        """Returns the sum of codes after each stage, each (B, latent_dim).

        In training, it also updates the codes.
        """
        # Not zeros_like: an ONNX export may fix its number of rows.
        total, sums = encoded.detach().clamp(0, 0), []
        for book in self.codebooks:
            assert isinstance(book, Codebook)  # noqa: S101 (for the type checker)
            residual = encoded.detach() - total
            if self.training:
                book.update(residual)
            total = total + book.look_up(book.nearest(residual))
            sums.append(total)
        return sums

    def alphabet(self) -> list[int]:
        """Returns the number of codes, for each stage."""
        return [self.options.codes] * self.options.stages

    def indices_of(self, encoded: Tensor) -> Tensor:
        """Returns the index of each stage's code: (B, latent_dim) to (B, stages)."""
        total, chosen = torch.zeros_like(encoded), []
        for book in self.codebooks:
            assert isinstance(book, Codebook)  # noqa: S101 (for the type checker)
            chosen.append(book.nearest(encoded - total))
            total = total + book.look_up(chosen[-1])
        return torch.stack(chosen, dim=1)

    def from_indices(self, indices: Tensor) -> Tensor:
        """Returns the sum of these codes: (B, stages) to (B, latent_dim)."""
        first = self.codebooks[0]
        assert isinstance(first, Codebook)  # noqa: S101 (for the type checker)
        total = first.codes.new_zeros(len(indices), self.plan.latent_dim)
        for stage, book in zip(indices.unbind(dim=1), self.codebooks, strict=True):
            assert isinstance(book, Codebook)  # noqa: S101 (for the type checker)
            total = total + book.look_up(stage)
        return total

    def loss(self, x: Tensor) -> LossOutput:
        """Computes reconstruction plus the commitment loss, of scaled rows (B, *row_shape)."""
        encoded = self.encoder(x)
        sums = self.partial_sums(encoded)
        output = self.decoder(straight_through(encoded, sums[-1]))
        reconstruction = self.reconstruction_term(output, x)
        distances = [(encoded - so_far).square().sum(dim=1).mean() for so_far in sums]
        commitment = torch.stack(distances).mean()
        return LossOutput(
            total=reconstruction + self.options.commitment * commitment,
            parts={"reconstruction": reconstruction, "commitment": commitment},
        )

    def own_metrics(self, x: Tensor) -> dict[str, float]:
        """Computes the mean `perplexity` and `dead_codes` of a stage, and all `bits_per_row`."""
        indices = self.indices_of(self.encoder(x))
        found = [usage(stage, self.options.codes) for stage in indices.unbind(dim=1)]
        average = {name: sum(each[name] for each in found) / len(found) for name in found[0]}
        return {**average, "bits_per_row": bits(self.options.codes, self.options.stages)}
