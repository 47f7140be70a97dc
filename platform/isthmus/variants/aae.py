"""The adversarial autoencoder: a discriminator, not a KL term, shapes the latent space."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from isthmus.core import LatentPrior, LossOutput, PlanLike
from isthmus.core.adversary import (
    AdversarialAutoencoder,
    Discriminator,
    discriminator_loss,
    frozen,
    generator_loss,
)
from isthmus.spec import SpecModel


class Aae(AdversarialAutoencoder):
    """Minimises the reconstruction loss, and draws all encodings together towards N(0, 1).

    The encoder is deterministic. A discriminator learns to distinguish its encodings from draws of
    N(0, 1), and the encoder learns to fool it.

    Source: Makhzani et al. 2015, "Adversarial Autoencoders", arXiv:1511.05644, section 2 and
    figure 1.
    """

    class Config(SpecModel):
        """The discriminator and its weight."""

        weight: float = Field(default=0.1, ge=0.0)
        """Weight of the encoder's loss against the discriminator, in nats, beside a reconstruction
        loss that is summed over the row. From about 1 on training does not converge, and encodings
        are further from the prior, not nearer."""
        hidden: Annotated[int, Field(ge=1, le=65_536)] = 128
        """Width of the discriminator's two hidden layers."""

    SUMMARY: ClassVar[str] = "latents like draws of N(0, 1), reconstructed sharply; to sample from"
    PRIOR: ClassVar[LatentPrior] = "standard_normal"
    TRAINING_PARTS: ClassVar[tuple[str, ...]] = ("discriminator",)
    options: Config

    def __init__(self, plan: PlanLike) -> None:
        """Builds an `Autoencoder` with a discriminator of latents."""
        super().__init__(plan)
        self.discriminator = Discriminator(self.plan.latent_dim, self.options.hidden)

    def adversary(self) -> nn.Module:
        """Returns the discriminator, which has an optimizer of its own."""
        return self.discriminator

    def loss(self, x: Tensor) -> LossOutput:
        """Computes reconstruction and both adversarial losses, of scaled rows (B, *row_shape).

        In training the discriminator's own loss is part of the total, so that one backward pass
        trains both; see `core.adversary`. On validation rows it is not, because it says nothing
        about the quality of the encoder and decoder.
        """
        z = self.encoder(x)
        reconstruction = self.reconstruction_term(self.decoder(z), x)
        generator = generator_loss(frozen(self.discriminator, z))
        drawn = self.discriminator(torch.randn_like(z))
        discriminator = discriminator_loss(drawn, self.discriminator(z.detach()))
        total = reconstruction + self.options.weight * generator
        return LossOutput(
            total=total + discriminator if self.training else total,
            parts={
                "reconstruction": reconstruction,
                "generator": generator,
                "discriminator": discriminator,
            },
        )

    def own_metrics(self, x: Tensor) -> dict[str, float]:
        """Computes how far all encodings together are from N(0, 1) in mean and spread.

        `prior_mean_error` and `prior_deviation_error` are root mean squares over the latent
        dimensions, 0 for a perfect match.
        """
        z = self.encoder(x)
        mean, deviation = z.mean(dim=0), z.std(dim=0)
        return {
            "prior_mean_error": float(mean.square().mean().sqrt()),
            "prior_deviation_error": float((deviation - 1).square().mean().sqrt()),
        }
