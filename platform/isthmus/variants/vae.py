"""The variational autoencoder: the latent is a distribution, held close to a standard normal."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from isthmus.core import Autoencoder, LossOutput
from isthmus.spec import SpecModel

# Beyond these a variance over- or underflows float32 before training has settled.
_LOG_VARIANCE_RANGE = (-20.0, 20.0)


class Vae(Autoencoder):
    """Minimises the negative evidence lower bound.

    `encode` gives the mean of the posterior, so that the same row has the same latent always.

    Source: Kingma & Welling 2013, "Auto-Encoding Variational Bayes", arXiv:1312.6114, equation 10;
    the KL term in closed form from its appendix B.
    """

    class Config(SpecModel):
        """The weight of the prior."""

        beta: float = Field(default=1.0, ge=0.0)
        """Weight of the KL term; 1 is the bound itself."""

    SUMMARY: ClassVar[str] = "a smooth latent space to sample from; for generation and scoring"
    ENCODER_OUTPUTS_PER_LATENT: ClassVar[int] = 2
    options: Config

    def latent(self, encoded: Tensor) -> Tensor:
        """The posterior's mean: (B, 2 * latent_dim) to (B, latent_dim)."""
        return encoded[:, : self.plan.latent_dim]

    def loss(self, x: Tensor) -> LossOutput:
        """Reconstruction plus beta times KL, of scaled rows (B, *row_shape)."""
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        log_variance = log_variance.clamp(*_LOG_VARIANCE_RANGE)
        z = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        reconstruction = self.reconstruction_term(self.decoder(z), x)
        kl = kl_to_standard_normal(mean, log_variance).mean()
        return LossOutput(
            total=reconstruction + self.options.beta * kl,
            parts={"reconstruction": reconstruction, "kl": kl},
        )


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence of N(mean, exp(log_variance)) from N(0, 1).

    Args:
        mean: Shape (B, D).
        log_variance: Shape (B, D).

    Returns:
        Shape (B,), in nats, summed over D.

    Source: Kingma & Welling 2013, arXiv:1312.6114, appendix B.
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).sum(dim=1)
