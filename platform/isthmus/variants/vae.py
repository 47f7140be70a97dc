"""The variational autoencoder: the latent is a distribution, kept close to a standard normal."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from isthmus.core import LatentPrior, LossOutput, VariationalAutoencoder
from isthmus.core.gaussian import draw, evidence_metrics, kl_to_standard_normal, posterior
from isthmus.spec import SpecModel


class Vae(VariationalAutoencoder):
    """Minimises the negative evidence lower bound.

    `encode` returns the mean of the posterior, so that the same row always has the same latent.

    With `mse` the bound assumes that the data have a variance of 1/2 around the reconstruction:
    far too much for pixels in [0, 1], so that most of the latent goes unused. `gaussian_nll` learns
    the variance.

    Source: Kingma & Welling 2013, "Auto-Encoding Variational Bayes", arXiv:1312.6114, equation 10;
    the KL term in closed form from its appendix B.
    """

    class Config(SpecModel):
        """The weight of the KL term."""

        beta: float = Field(default=1.0, ge=0.0)
        """Weight of the KL term; 1 gives the evidence lower bound itself."""
        warm_up_epochs: float = Field(default=20.0, ge=0.0)
        """Epochs over which the KL term's weight rises from 0 to `beta`, so that the posterior does
        not collapse before the decoder has learned anything."""

    SUMMARY: ClassVar[str] = "a smooth latent space to sample from; for generation and scoring"
    PRIOR: ClassVar[LatentPrior] = "standard_normal"
    CUDA_GRAPH_SAFE: ClassVar[bool] = True
    options: Config

    def loss(self, x: Tensor) -> LossOutput:
        """Computes reconstruction plus beta times KL, of scaled rows (B, *row_shape)."""
        mean, log_variance = posterior(self.encoder(x))
        reconstruction = self.reconstruction_term(self.decoder(draw(mean, log_variance)), x)
        kl = kl_to_standard_normal(mean, log_variance).mean()
        weight = self.options.beta * self.warm_up(self.options.warm_up_epochs)
        return LossOutput(
            total=reconstruction + weight * kl,
            parts={"reconstruction": reconstruction, "kl": kl},
        )

    def own_metrics(self, x: Tensor) -> dict[str, float]:
        """Computes the ELBO and its KL term, in nats per row, and the active units."""
        return evidence_metrics(self.loss(x).parts, self.latent(self.encoder(x)))
