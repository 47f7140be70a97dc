"""The Wasserstein autoencoder: deterministic latents that together follow the prior."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from isthmus.core import Autoencoder, LatentPrior, LossOutput
from isthmus.core.divergences import Kernel, mmd
from isthmus.spec import SpecModel


class WaeMmd(Autoencoder):
    """Minimises the reconstruction loss and the MMD of all latents from N(0, 1).

    Source: Tolstikhin et al. 2017, "Wasserstein Auto-Encoders", arXiv:1711.01558, algorithm 2,
    with a deterministic encoder; the kernel's widths are those of the authors' code.
    """

    class Config(SpecModel):
        """The MMD and its weight."""

        weight: float = Field(default=10.0, ge=0.0)
        """Weight of the MMD; the paper's lambda."""
        kernel: Kernel = "inverse_multiquadratic"
        """The kernel of the MMD: `inverse_multiquadratic` at the paper's seven widths, or
        `gaussian` of variance latent_dim."""
        warm_up_epochs: float = Field(default=0.0, ge=0.0)
        """Epochs over which the weight rises from 0."""

    SUMMARY: ClassVar[str] = "sharp reconstructions, and latents like draws of N(0, 1)"
    PRIOR: ClassVar[LatentPrior] = "standard_normal"
    CUDA_GRAPH_SAFE: ClassVar[bool] = True
    options: Config

    def loss(self, x: Tensor) -> LossOutput:
        """Computes reconstruction plus the weighted MMD, of scaled rows (B, *row_shape)."""
        z = self.encoder(x)
        reconstruction = self.reconstruction_term(self.decoder(z), x)
        discrepancy = mmd(z, torch.randn_like(z), self.options.kernel)
        weight = self.options.weight * self.warm_up(self.options.warm_up_epochs)
        return LossOutput(
            total=reconstruction + weight * discrepancy,
            parts={"reconstruction": reconstruction, "mmd": discrepancy},
        )

    def own_metrics(self, x: Tensor) -> dict[str, float]:
        """Computes the unbiased MMD of the latents from N(0, 1): 0 if they cannot be told apart."""
        return {"mmd": float(self.loss(x).parts["mmd"])}
