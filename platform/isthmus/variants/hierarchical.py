"""A ladder VAE of two groups: the top is drawn first, and determines the bottom's prior.

Shapes: T dimensions of the latent are the top's, the other S the bottom's; T + S = latent_dim.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from isthmus.core import IntTable, LatentPrior, LossOutput, PlanLike, VariationalAutoencoder
from isthmus.core.gaussian import (
    active_units,
    draw,
    kl_between,
    kl_to_standard_normal,
    posterior,
    product,
)
from isthmus.spec import ModelPlan, SpecModel


class _Normal(NamedTuple):
    """A normal distribution for each row."""

    mean: Tensor
    log_variance: Tensor


class Hierarchical(VariationalAutoencoder):
    """Minimises the negative evidence lower bound of a latent in two groups.

    p(top) is N(0, 1), and p(bottom | top) a normal distribution that a small net computes. The
    bottom's posterior combines it with the encoder's estimate, weighted by precision. The decoder
    receives both groups, while in the paper's ladder it receives the bottom alone.

    A latent is the posterior's means, top first; the bottom's mean is the one given the top's mean.

    Source: Sonderby et al. 2016, "Ladder Variational Autoencoders", arXiv:1602.02282, section 2.2.
    """

    class Config(SpecModel):
        """The two groups of the latent."""

        top_share: float = Field(default=0.25, gt=0.0, lt=1.0)
        """Share of the latent that is the top; each group has at least one dimension."""
        hidden: Annotated[int, Field(ge=1, le=65_536)] = 64
        """Width of the hidden layer between the top and the bottom's prior."""
        beta: float = Field(default=1.0, ge=0.0)
        """Weight of both KL terms; 1 gives the evidence lower bound itself."""
        warm_up_epochs: float = Field(default=20.0, ge=0.0)
        """Epochs over which the KL terms' weight rises from 0 to `beta`."""

    SUMMARY: ClassVar[str] = "a latent in two levels, coarse above fine; for a richer prior"
    PRIOR: ClassVar[LatentPrior] = "learned"
    ENCODER_PARTS: ClassVar[tuple[str, ...]] = (*VariationalAutoencoder.ENCODER_PARTS, "prior")
    CUDA_GRAPH_SAFE: ClassVar[bool] = True
    options: Config

    def __init__(self, plan: PlanLike) -> None:
        """Builds an `Autoencoder` with the bottom's prior."""
        super().__init__(plan)
        wanted = round(self.options.top_share * self.plan.latent_dim)
        self.top_dim = min(max(1, wanted), self.plan.latent_dim - 1)
        self.prior = nn.Sequential(
            nn.Linear(self.top_dim, self.options.hidden),
            nn.GELU(),
            nn.Linear(self.options.hidden, 2 * (self.plan.latent_dim - self.top_dim)),
        )

    @classmethod
    def refusal(cls, plan: ModelPlan) -> str | None:
        """Returns why a latent of one dimension cannot be split, or `None` if it has more."""
        if plan.latent_dim >= 2:
            return None
        return "hierarchical splits the latent, and it has one number; use latent_dim: 2, or vae"

    def latent(self, encoded: Tensor) -> Tensor:
        """Returns the means: (B, 2 * latent_dim) to (B, latent_dim).

        The bottom's mean is the one given the top's mean.
        """
        top, seen = self._split(encoded)
        return torch.cat([top.mean, self._bottom(seen, self._expected(top.mean)).mean], dim=1)

    def loss(self, x: Tensor) -> LossOutput:
        """Computes reconstruction plus beta times both KL terms, of scaled rows (B, *row_shape)."""
        top, seen = self._split(self.encoder(x))
        z_top = draw(*top)
        expected = self._expected(z_top)
        bottom = self._bottom(seen, expected)
        z = torch.cat([z_top, draw(*bottom)], dim=1)
        reconstruction = self.reconstruction_term(self.decoder(z), x)
        kl_top = kl_to_standard_normal(*top).mean()
        kl_bottom = kl_between(*bottom, *expected).mean()
        weight = self.options.beta * self.warm_up(self.options.warm_up_epochs)
        return LossOutput(
            total=reconstruction + weight * (kl_top + kl_bottom),
            parts={"reconstruction": reconstruction, "kl_top": kl_top, "kl_bottom": kl_bottom},
        )

    def divergence(self, encoded: Tensor) -> Tensor:
        """Computes the sum of both KL terms of each row, shape (B,).

        The bottom's is the one given the top's mean, which needs no draw of the top.
        """
        top, seen = self._split(encoded)
        expected = self._expected(top.mean)
        bottom = self._bottom(seen, expected)
        return kl_to_standard_normal(*top) + kl_between(*bottom, *expected)

    def sample_latents(
        self, count: int, generator: torch.Generator, tables: Sequence[IntTable] = ()
    ) -> Tensor:
        """Draws tops from N(0, 1), and a bottom given each: (count, latent_dim).

        Source: Sonderby et al. 2016, arXiv:1602.02282, section 2, equations 1 and 2.
        """
        noise = torch.randn(count, self.plan.latent_dim, generator=generator).to(self.scaling.scale)
        top = noise[:, : self.top_dim]
        expected = self._expected(top)
        spread = (0.5 * expected.log_variance).exp()
        return torch.cat([top, expected.mean + noise[:, self.top_dim :] * spread], dim=1)

    def own_metrics(self, x: Tensor) -> dict[str, float]:
        """Computes the ELBO and its KL terms, in nats per row, and each group's active units.

        A bottom unit is active if its mean varies beyond what the top predicts.
        """
        parts = self.loss(x).parts
        top, seen = self._split(self.encoder(x))
        expected = self._expected(top.mean)
        beyond_the_top = self._bottom(seen, expected).mean - expected.mean
        return {
            "elbo_nats": -float(parts["reconstruction"] + parts["kl_top"] + parts["kl_bottom"]),
            "kl_top_nats": float(parts["kl_top"]),
            "kl_bottom_nats": float(parts["kl_bottom"]),
            "active_units_top": active_units(top.mean),
            "active_units_bottom": active_units(beyond_the_top),
        }

    def _split(self, encoded: Tensor) -> tuple[_Normal, _Normal]:
        """Returns the posterior of the top, and the encoder's own estimate of the bottom."""
        mean, log_variance = posterior(encoded)
        at = self.top_dim
        return (
            _Normal(mean[:, :at], log_variance[:, :at]),
            _Normal(mean[:, at:], log_variance[:, at:]),
        )

    def _expected(self, z_top: Tensor) -> _Normal:
        """Computes p(bottom | top) for tops (B, T)."""
        return _Normal(*posterior(self.prior(z_top)))

    def _bottom(self, seen: _Normal, expected: _Normal) -> _Normal:
        """Computes the bottom's posterior from the encoder's estimate and the top's prediction."""
        return _Normal(*product(*seen, *expected))
