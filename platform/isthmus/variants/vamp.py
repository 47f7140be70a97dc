"""The VAE with a VampPrior: the prior is a mixture of the posteriors of learned rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from isthmus.core import IntTable, LatentPrior, LossOutput, PlanLike, VariationalAutoencoder
from isthmus.core.divergences import kl_to_mixture, mixture_log_density
from isthmus.core.gaussian import draw, evidence_metrics, log_density, posterior
from isthmus.core.workers import from_first_worker
from isthmus.spec import SpecModel
from isthmus.types import Shape

# Noise of the initial pseudo-inputs, which copy rows, in standard deviations. Without it, copies of
# the same row would stay the same.
_JITTER = 0.1


class Vamp(VariationalAutoencoder):
    """Minimises the negative evidence lower bound under a prior that is learned too.

    The prior is the evenly weighted mixture of the posteriors of K pseudo-inputs: rows in scaled
    units, which are initialised with rows of the first batch and then trained like weights. Its KL
    term has no closed form, and is estimated from the one sample that is decoded.

    Source: Tomczak & Welling 2017, "VAE with a VampPrior", arXiv:1705.07120, equation 9.
    """

    class Config(SpecModel):
        """The prior."""

        pseudo_inputs: Annotated[int, Field(ge=1, le=65_536)] = 100
        """Number of components of the prior; each step encodes as many rows besides the batch."""
        beta: float = Field(default=1.0, ge=0.0)
        """Weight of the KL term; 1 gives the evidence lower bound itself."""
        warm_up_epochs: float = Field(default=20.0, ge=0.0)
        """Epochs over which the KL term's weight rises from 0 to `beta`; without them the prior
        and the posterior soon collapse to latents without information."""

    SUMMARY: ClassVar[str] = "a VAE whose prior has clusters, learned from the data"
    PRIOR: ClassVar[LatentPrior] = "learned"
    ENCODER_PARTS: ClassVar[tuple[str, ...]] = (
        *VariationalAutoencoder.ENCODER_PARTS,
        "pseudo_inputs",
    )
    CUDA_GRAPH_SAFE: ClassVar[bool] = True
    options: Config

    def __init__(self, plan: PlanLike) -> None:
        """Builds an `Autoencoder` with pseudo-inputs."""
        super().__init__(plan)
        self.pseudo_inputs = _PseudoInputs(self.options.pseudo_inputs, self.plan.row_shape)

    def loss(self, x: Tensor) -> LossOutput:
        """Computes reconstruction plus beta times KL, of scaled rows (B, *row_shape)."""
        if self.training:
            self.pseudo_inputs.begin_at(x)
        mean, log_variance = posterior(self.encoder(x))
        z = draw(mean, log_variance)
        reconstruction = self.reconstruction_term(self.decoder(z), x)
        kl = (log_density(z, mean, log_variance) - self.prior_log_density(z)).mean()
        weight = self.options.beta * self.warm_up(self.options.warm_up_epochs)
        return LossOutput(
            total=reconstruction + weight * kl,
            parts={"reconstruction": reconstruction, "kl": kl},
        )

    def divergence(self, encoded: Tensor) -> Tensor:
        """Computes an upper bound on the KL divergence of each row's posterior, shape (B,).

        A mixture has no closed form; this one needs no draw, and the score stays a bound.

        Source: Hershey & Olsen 2007, "Approximating the Kullback Leibler Divergence Between
        Gaussian Mixture Models", ICASSP, section 7: the variational approximation of a prior that
        is a mixture, with one component on the other side.
        """
        prior = posterior(self.encoder(self.pseudo_inputs.rows))
        return kl_to_mixture(*posterior(encoded), *prior)

    def prior_log_density(self, z: Tensor) -> Tensor:
        """Computes log p(z) of latents (B, latent_dim), shape (B,), in nats."""
        return mixture_log_density(z, *posterior(self.encoder(self.pseudo_inputs.rows)))

    def sample_latents(
        self, count: int, generator: torch.Generator, tables: Sequence[IntTable] = ()
    ) -> Tensor:
        """Draws latents (count, latent_dim) from the posteriors of random pseudo-inputs.

        Source: Tomczak & Welling 2017, arXiv:1705.07120, equation 9.
        """
        mean, log_variance = posterior(self.encoder(self.pseudo_inputs.rows))
        chosen = torch.randint(len(mean), (count,), generator=generator).to(mean.device)
        noise = torch.randn(count, self.plan.latent_dim, generator=generator).to(mean)
        return mean[chosen] + noise * (0.5 * log_variance[chosen]).exp()

    def own_metrics(self, x: Tensor) -> dict[str, float]:
        """Computes the ELBO and its KL term, in nats per row, and the active units."""
        return evidence_metrics(self.loss(x).parts, self.latent(self.encoder(x)))


class _PseudoInputs(nn.Module):
    """Trainable rows of the data's shape, in scaled units.

    Attributes:
        rows: The rows, shape (K, *row_shape).
        begun: Whether the rows were initialised from data, shape (), bool.
    """

    begun: Tensor

    def __init__(self, number: int, row_shape: Shape) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.randn(number, *row_shape))
        self.register_buffer("begun", torch.tensor(False))
        self._has_begun = False  # a copy of the buffer that needs no wait for the device

    @torch.no_grad()
    def begin_at(self, x: Tensor) -> None:
        """Initialises the rows near rows of the first batch, the same on all workers; only once."""
        if self._has_begun:
            return
        self._has_begun = True
        if bool(self.begun):  # training was resumed
            return
        chosen = x[torch.randint(len(x), (len(self.rows),), device=x.device)]
        spread = x.std(dim=0, correction=0)
        self.rows.copy_(from_first_worker(chosen + _JITTER * spread * torch.randn_like(chosen)))
        self.begun.fill_(True)
