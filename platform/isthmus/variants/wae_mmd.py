"""The Wasserstein autoencoder: points, not distributions, that together follow the prior."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from isthmus.core import Autoencoder, LossOutput
from isthmus.core.divergences import Kernel, mmd
from isthmus.spec import SpecModel


class WaeMmd(Autoencoder):
    """Minimises reconstruction and the MMD of all latents from N(0, 1); the encoder draws nothing.

    Source: Tolstikhin et al. 2017, "Wasserstein Auto-Encoders", arXiv:1711.01558, algorithm 2,
    with a deterministic encoder; the kernel's widths are those of the authors' code.
    """

    class Config(SpecModel):
        """The weight of the prior."""

        weight: float = Field(default=10.0, ge=0.0)
        """Weight of the MMD; the paper's lambda."""
        kernel: Kernel = "inverse_multiquadratic"
        """What the MMD compares latents by: `inverse_multiquadratic` at seven widths, the
        paper's, or `gaussian`, of variance latent_dim."""
        warm_up_epochs: float = Field(default=0.0, ge=0.0)
        """Epochs over which the weight rises from 0."""

    SUMMARY: ClassVar[str] = "sharp reconstructions, and latents like draws of N(0, 1)"
    CUDA_GRAPH_SAFE: ClassVar[bool] = True
    options: Config

    def loss(self, x: Tensor) -> LossOutput:
        """Reconstruction plus the weighted MMD, of scaled rows (B, *row_shape)."""
        z = self.encoder(x)
        reconstruction = self.reconstruction_term(self.decoder(z), x)
        discrepancy = mmd(z, torch.randn_like(z), self.options.kernel)
        weight = self.options.weight * self.warm_up(self.options.warm_up_epochs)
        return LossOutput(
            total=reconstruction + weight * discrepancy,
            parts={"reconstruction": reconstruction, "mmd": discrepancy},
        )

    def own_metrics(self, x: Tensor) -> dict[str, float]:
        """The MMD of the latents from N(0, 1), without bias: 0 where they cannot be told apart."""
        return {"mmd": float(self.loss(x).parts["mmd"])}
