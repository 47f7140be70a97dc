"""The beta-TCVAE: puts its own weight on the dependence between latent dimensions."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from isthmus.core import LatentPrior, LossOutput, VariationalAutoencoder
from isthmus.core.divergences import kl_parts
from isthmus.core.gaussian import active_units, draw, kl_to_standard_normal, posterior
from isthmus.spec import SpecModel


class BetaTcvae(VariationalAutoencoder):
    """Minimises the reconstruction loss and the KL term's three parts, each with its own weight.

    The parts are estimated by minibatch-weighted sampling, each off by a constant (see
    `core.divergences`); `own_metrics` returns them without it.

    Source: Chen et al. 2018, "Isolating Sources of Disentanglement in Variational Autoencoders",
    arXiv:1802.04942, equation 4.
    """

    class Config(SpecModel):
        """The weights of the parts."""

        alpha: float = Field(default=1.0, ge=0.0)
        """Weight of the mutual information between a row and its latent."""
        beta: float = Field(default=2.0, ge=0.0)
        """Weight of the total correlation of the latent dimensions; 1, with the other weights 1,
        is the VAE. The paper's 6 is for images of many pixels with a Bernoulli likelihood (`bce`);
        the latents of small rows then carry no information."""
        gamma: float = Field(default=1.0, ge=0.0)
        """Weight of the KL divergence of each dimension's own distribution from N(0, 1)."""
        warm_up_epochs: float = Field(default=20.0, ge=0.0)
        """Epochs over which all three weights rise from 0."""

    SUMMARY: ClassVar[str] = "latent numbers independent of each other; to tell factors apart"
    PRIOR: ClassVar[LatentPrior] = "standard_normal"
    CUDA_GRAPH_SAFE: ClassVar[bool] = True
    options: Config

    def loss(self, x: Tensor) -> LossOutput:
        """Computes reconstruction plus the weighted KL parts, of scaled rows (B, *row_shape)."""
        mean, log_variance = posterior(self.encoder(x))
        z = draw(mean, log_variance)
        reconstruction = self.reconstruction_term(self.decoder(z), x)
        found = kl_parts(z, mean, log_variance, max(1, self.clock.training_rows))
        regularization = (
            self.options.alpha * found.mutual_information
            + self.options.beta * found.total_correlation
            + self.options.gamma * found.dimension_wise
        )
        return LossOutput(
            total=reconstruction + self.warm_up(self.options.warm_up_epochs) * regularization,
            parts={
                "reconstruction": reconstruction,
                "mutual_information": found.mutual_information,
                "total_correlation": found.total_correlation,
                "dimension_wise_kl": found.dimension_wise,
            },
        )

    def own_metrics(self, x: Tensor) -> dict[str, float]:
        """Computes the ELBO, the KL term and its parts, in nats per row, and the active units.

        The parts treat these rows as the whole dataset: the mutual information cannot be above the
        log of their number.
        """
        mean, log_variance = posterior(self.encoder(x))
        z = draw(mean, log_variance)
        found = kl_parts(z, mean, log_variance)
        kl = kl_to_standard_normal(mean, log_variance).mean()
        return {
            "elbo_nats": -float(self.reconstruction_term(self.decoder(z), x) + kl),
            "kl_nats": float(kl),
            "mutual_information_nats": float(found.mutual_information),
            "total_correlation_nats": float(found.total_correlation),
            "dimension_wise_kl_nats": float(found.dimension_wise),
            "active_units": active_units(mean),
        }
