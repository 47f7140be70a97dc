"""The importance weighted autoencoder: a tighter bound from several samples of each latent.

Shapes: K samples of each row; (K, B, ...) before they are flattened into one batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from isthmus.core import LatentPrior, LossOutput, VariationalAutoencoder
from isthmus.core.gaussian import (
    active_units,
    draw,
    log_density,
    posterior,
    standard_log_density,
)
from isthmus.spec import SpecModel

# Rows that are decoded at once, so that a large validation batch does not take K times its memory.
_MOST_ROWS = 4096


@dataclass(frozen=True)
class _Samples:
    """The log densities of K latent samples of each of B rows, each (K, B), in nats."""

    likelihood: Tensor
    prior: Tensor
    posterior: Tensor


class Iwae(VariationalAutoencoder):
    """Minimises the negative log of the mean importance weight of K samples.

    The bound needs a reconstruction loss that is a likelihood: bce and gaussian_nll are; mse is
    one with variance 1/2, up to a constant; other losses are treated as one.

    Source: Burda et al. 2015, "Importance Weighted Autoencoders", arXiv:1509.00519, equation 8.
    """

    class Config(SpecModel):
        """The samples."""

        samples: Annotated[int, Field(ge=1, le=4096)] = 5
        """Samples of each row's latent; 1 is the VAE. Each takes a pass through the decoder."""
        warm_up_epochs: float = Field(default=20.0, ge=0.0)
        """Epochs over which the power of prior and posterior in the importance weights rises from 0
        to 1."""

    SUMMARY: ClassVar[str] = "a tighter likelihood bound than the VAE's; more of the latent in use"
    PRIOR: ClassVar[LatentPrior] = "standard_normal"
    CUDA_GRAPH_SAFE: ClassVar[bool] = True
    options: Config

    def loss(self, x: Tensor) -> LossOutput:
        """Computes the negative bound of scaled rows (B, *row_shape).

        Returns:
            The loss, with parts in nats: `reconstruction` and `kl`, means over the samples, whose
            negative sum is the ELBO, and `bound`, that of equation 8, which is higher.
        """
        drawn = self._draw(x)
        weight = self.warm_up(self.options.warm_up_epochs)
        annealed = drawn.likelihood + weight * (drawn.prior - drawn.posterior)
        bound = _log_mean_exp(annealed).mean()
        return LossOutput(
            total=-bound,
            parts={
                "reconstruction": -drawn.likelihood.mean(),
                "kl": (drawn.posterior - drawn.prior).mean(),
                "bound": bound,
            },
        )

    def own_metrics(self, x: Tensor) -> dict[str, float]:
        """Computes the bound at K samples and the ELBO, in nats per row, and the active units."""
        parts = self.loss(x).parts
        return {
            "iwae_bound_nats": float(parts["bound"]),
            "elbo_nats": -float(parts["reconstruction"] + parts["kl"]),
            "kl_nats": float(parts["kl"]),
            "active_units": active_units(self.latent(self.encoder(x))),
        }

    def _draw(self, x: Tensor) -> _Samples:
        """Draws K samples of each row's latent, and decodes them."""
        samples = self.options.samples
        mean, log_variance = posterior(self.encoder(x))
        z = draw(mean.expand(samples, -1, -1), log_variance.expand(samples, -1, -1))
        at_once = max(1, _MOST_ROWS // len(x))
        likelihood = torch.cat([self._likelihood(part, x) for part in torch.split(z, at_once)])
        return _Samples(likelihood, standard_log_density(z), log_density(z, mean, log_variance))

    def _likelihood(self, z: Tensor, x: Tensor) -> Tensor:
        """Computes log p(row | latent) for latents (k, B, D), shape (k, B)."""
        target = x.expand(len(z), *x.shape).flatten(0, 1)
        output = self.decoder(z.flatten(0, 1))
        return self.reconstruction.log_likelihood(output, target).reshape(z.shape[:2])


def _log_mean_exp(weights: Tensor) -> Tensor:
    """Computes the log of the mean of exp(weights) over the first axis: (K, B) to (B,)."""
    return torch.logsumexp(weights, dim=0) - log(len(weights))
