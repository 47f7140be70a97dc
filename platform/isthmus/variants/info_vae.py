"""The InfoVAE: all latents together follow the prior, while each stays informative of its row."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field, model_validator
from torch import Tensor

from isthmus.core import LatentPrior, LossOutput, VariationalAutoencoder
from isthmus.core.divergences import Kernel, mmd
from isthmus.core.gaussian import draw, evidence_metrics, kl_to_standard_normal, posterior
from isthmus.spec import SpecModel


class InfoVae(VariationalAutoencoder):
    """Minimises reconstruction + (1 - alpha) KL + (alpha + lambda - 1) MMD.

    The KL term draws each row's posterior to the prior, the MMD only all latents together.

    Source: Zhao et al. 2017, "InfoVAE: Information Maximizing Variational Autoencoders",
    arXiv:1706.02262, equation 6, with the maximum mean discrepancy as divergence.
    """

    class Config(SpecModel):
        """The weights of both divergences."""

        alpha: float = Field(default=0.98, le=1.0)
        """1 minus the weight of the KL term. 0 with `lambda_` 1 is the VAE; 1 is the paper's
        MMD-VAE, in which nothing keeps a posterior from collapsing to a point."""
        lambda_: float = Field(default=10.0, ge=0.0)
        """The weight of the MMD is alpha + lambda_ - 1."""
        kernel: Kernel = "inverse_multiquadratic"
        """The kernel of the MMD: `inverse_multiquadratic` at seven widths, or `gaussian` of
        variance latent_dim."""
        warm_up_epochs: float = Field(default=0.0, ge=0.0)
        """Epochs over which both weights rise from 0."""

        @model_validator(mode="after")
        def _weighs_the_mmd(self) -> InfoVae.Config:
            if self.alpha + self.lambda_ < 1.0:
                raise ValueError(
                    f"alpha={self.alpha:g} and lambda_={self.lambda_:g} weigh the MMD by less "
                    "than 0; use a sum of at least 1"
                )
            return self

    SUMMARY: ClassVar[str] = "latents together like N(0, 1), and each informative; to sample from"
    PRIOR: ClassVar[LatentPrior] = "standard_normal"
    CUDA_GRAPH_SAFE: ClassVar[bool] = True
    options: Config

    def loss(self, x: Tensor) -> LossOutput:
        """Computes reconstruction plus both divergences, of scaled rows (B, *row_shape)."""
        mean, log_variance = posterior(self.encoder(x))
        z = draw(mean, log_variance)
        reconstruction = self.reconstruction_term(self.decoder(z), x)
        kl = kl_to_standard_normal(mean, log_variance).mean()
        discrepancy = mmd(z, torch.randn_like(z), self.options.kernel)
        alpha, lambda_ = self.options.alpha, self.options.lambda_
        divergence = (1 - alpha) * kl + (alpha + lambda_ - 1) * discrepancy
        return LossOutput(
            total=reconstruction + self.warm_up(self.options.warm_up_epochs) * divergence,
            parts={"reconstruction": reconstruction, "kl": kl, "mmd": discrepancy},
        )

    def own_metrics(self, x: Tensor) -> dict[str, float]:
        """Computes the latents' MMD from N(0, 1), the ELBO and KL in nats, and the active units."""
        parts = self.loss(x).parts
        found = evidence_metrics(parts, self.latent(self.encoder(x)))
        return {"mmd": float(parts["mmd"]), **found}
