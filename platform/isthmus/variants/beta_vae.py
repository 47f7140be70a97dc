"""The beta-VAE: a heavier KL term, or a set amount of information, for disentangled latents."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from isthmus.core import LatentPrior, LossOutput, VariationalAutoencoder
from isthmus.core.gaussian import draw, evidence_metrics, kl_to_standard_normal, posterior
from isthmus.spec import SpecModel


class BetaVae(VariationalAutoencoder):
    """Minimises the reconstruction loss and a weighted KL term, or its distance from a capacity.

    The capacity objective sets how many nats a latent carries, whatever the scale of the
    reconstruction loss; a fixed beta is a different trade-off for every loss and row size.

    Source: Higgins et al. 2017, "beta-VAE: Learning Basic Visual Concepts with a Constrained
    Variational Framework", ICLR, equation 4; the capacity objective from Burgess et al. 2018,
    "Understanding disentangling in beta-VAE", arXiv:1804.03599, equation 8.
    """

    class Config(SpecModel):
        """The objective for the KL term."""

        objective: Literal["capacity", "beta"] = "capacity"
        """`capacity`: gamma * |KL - C|, where C rises to `capacity`; `beta`: beta * KL."""
        beta: float = Field(default=4.0, ge=0.0)
        """Weight of the KL term; for `beta`."""
        warm_up_epochs: float = Field(default=20.0, ge=0.0)
        """Epochs over which the KL term's weight rises from 0 to `beta`; for `beta`."""
        capacity: float = Field(default=25.0, ge=0.0)
        """Information that the latent carries in the end, in nats per row; for `capacity`."""
        capacity_epochs: float = Field(default=25.0, ge=0.0)
        """Epochs over which C rises linearly from 0 to `capacity`; for `capacity`."""
        gamma: float = Field(default=10.0, ge=0.0)
        """Weight of the distance from C; for `capacity`. The paper's is 1000: the larger it is, the
        more the noise of the KL term dominates the rest of the loss."""

    SUMMARY: ClassVar[str] = "latent numbers that mean one thing each, at a set budget of nats"
    PRIOR: ClassVar[LatentPrior] = "standard_normal"
    CUDA_GRAPH_SAFE: ClassVar[bool] = True
    options: Config

    def loss(self, x: Tensor) -> LossOutput:
        """Computes reconstruction plus the KL objective, of scaled rows (B, *row_shape)."""
        mean, log_variance = posterior(self.encoder(x))
        reconstruction = self.reconstruction_term(self.decoder(draw(mean, log_variance)), x)
        kl = kl_to_standard_normal(mean, log_variance).mean()
        return LossOutput(
            total=reconstruction + self._held(kl),
            parts={"reconstruction": reconstruction, "kl": kl},
        )

    def own_metrics(self, x: Tensor) -> dict[str, float]:
        """Computes the ELBO and its KL term, in nats per row, and the active units."""
        return evidence_metrics(self.loss(x).parts, self.latent(self.encoder(x)))

    def _held(self, kl: Tensor) -> Tensor:
        """Computes the current objective of the KL term, shape ()."""
        options = self.options
        if options.objective == "beta":
            return options.beta * self.warm_up(options.warm_up_epochs) * kl
        target = options.capacity * self.warm_up(options.capacity_epochs)
        return options.gamma * (kl - target).abs()
