"""DAGMM: an autoencoder and a Gaussian mixture over its latents, trained together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from isthmus.core import Autoencoder, IntTable, LatentPrior, LossOutput, PlanLike
from isthmus.core.mixture import (
    Components,
    FixedEnergy,
    RunningMixture,
    components_of,
    energy,
    inverse_variances,
    sample,
)
from isthmus.spec import SpecModel

# Features besides the latent: the reconstruction's relative distance and cosine similarity.
_ERROR_FEATURES = 2
_LEAST_NORM = 1e-6


class Dagmm(Autoencoder):
    """Minimises reconstruction, each row's energy in a mixture, and a penalty on small variances.

    The mixture is over the latent and two measures of the reconstruction error; a small network
    estimates which component a row belongs to. In training the mixture is that of the batch, as in
    the paper; scores and validation use a moving average over batches and workers.

    Source: Zong et al. 2018, "Deep Autoencoding Gaussian Mixture Model for Unsupervised Anomaly
    Detection", ICLR, equations 1 to 7.
    """

    class Config(SpecModel):
        """The mixture and its weights."""

        components: Annotated[int, Field(ge=1, le=1024)] = 2
        """Components of the mixture."""
        hidden: Annotated[int, Field(ge=1, le=65_536)] = 10
        """Width of the hidden layer of the network that estimates the component."""
        dropout: float = Field(default=0.5, ge=0.0, lt=1.0)
        """Dropout rate of that layer."""
        energy_weight: float = Field(default=1e-3, ge=0.0)
        """Weight of the energy, in nats, beside a reconstruction loss that is summed over the row.
        The paper's lambda_1 is 0.1, for latents of 1 to 3 dimensions: it shrinks larger ones until
        they carry no information."""
        variance_weight: float = Field(default=5e-5, ge=0.0)
        """Weight of the sum of inverse variances, which keeps components from collapsing; the
        paper's lambda_2 is 0.005, also a twentieth of lambda_1."""
        variance_floor: float = Field(default=1e-3, gt=0.0)
        """Added to each variance, in squared latent units."""
        rate: float = Field(default=0.1, gt=0.0, le=1.0)
        """Weight of each batch in the moving average of the mixture."""

    SUMMARY: ClassVar[str] = "a density over latent and error; for anomalies among several kinds"
    PRIOR: ClassVar[LatentPrior] = "learned"
    DECODER_PARTS: ClassVar[tuple[str, ...]] = (*Autoencoder.DECODER_PARTS, "mixture")
    TRAINING_PARTS: ClassVar[tuple[str, ...]] = ("estimation",)
    options: Config

    def __init__(self, plan: PlanLike) -> None:
        """Builds an `Autoencoder` with a mixture and the network that estimates the component."""
        super().__init__(plan)
        features = self.plan.latent_dim + _ERROR_FEATURES
        self.mixture = RunningMixture(self.options.components, features)
        self.estimation = nn.Sequential(
            nn.Linear(features, self.options.hidden),
            nn.Tanh(),
            nn.Dropout(self.options.dropout),
            nn.Linear(self.options.hidden, self.options.components),
        )

    @classmethod
    def auto_latent_dim(cls, row_shape: tuple[int, ...]) -> int:
        """Returns the usual size, but at most 8: each component has a full covariance to learn."""
        return min(super().auto_latent_dim(row_shape), 8)

    def loss(self, x: Tensor) -> LossOutput:
        """Computes reconstruction, energy and inverse variances, of scaled rows (B, *row_shape)."""
        z = self.encoder(x)
        output = self.decoder(z)
        reconstruction = self.reconstruction_term(output, x)
        # Covariances need more precision than matrix products have under autocast.
        with torch.autocast(x.device.type, enabled=False):
            features = self._features(z, output, x)
            components = self._components(features)
            likelihood = energy(features, components, self.options.variance_floor).mean()
            variances = inverse_variances(components, self.options.variance_floor)
        return LossOutput(
            total=reconstruction
            + self.options.energy_weight * likelihood
            + self.options.variance_weight * variances,
            parts={
                "reconstruction": reconstruction,
                "energy": likelihood,
                "inverse_variances": variances,
            },
        )

    def score(self, x: Tensor) -> Tensor:
        """Computes how unusual each row is: its energy in the mixture, in nats.

        Returns:
            The scores, shape (B,). A higher score means a more unusual row.
        """
        return energy(self._features_of(x), self.mixture.components(), self.options.variance_floor)

    def sample_latents(
        self, count: int, generator: torch.Generator, tables: Sequence[IntTable] = ()
    ) -> Tensor:
        """Draws latents (count, latent_dim) from the mixture, whose other features are left out.

        Source: Zong et al. 2018, equations 5 and 6; the marginal of a Gaussian mixture is that of
        the same blocks of its means and covariances.
        """
        components, floor = self.mixture.components(), self.options.variance_floor
        return sample(components, floor, count, generator)[:, : self.plan.latent_dim]

    def exportable_score(self) -> Callable[[Tensor], Tensor]:
        """Returns a function that computes `score`, with the mixture's factors already inverted."""
        fixed = FixedEnergy(self.mixture.components(), self.options.variance_floor)
        return lambda x: fixed(self._features_of(x))

    def _features_of(self, x: Tensor) -> Tensor:
        scaled: Tensor = self.scaling(x)
        z = self.encoder(scaled)
        return self._features(z, self.decoder(z), scaled)

    def _components(self, features: Tensor) -> Components:
        """Returns the batch's mixture in training, which updates the average; else the average."""
        if not self.training:
            return self.mixture.components()
        membership = self.estimation(features).softmax(dim=1)
        self.mixture.update(features, membership, self.options.rate)
        return components_of(features, membership)

    def _features(self, z: Tensor, output: Tensor, x: Tensor) -> Tensor:
        """Computes the features (B, latent_dim + 2): the latent, and the reconstruction's error."""
        row = x.flatten(1)
        found = self.reconstruction.activate(output).flatten(1)
        norm = torch.linalg.vector_norm
        distance = norm(row - found, dim=1) / norm(row, dim=1).clamp(min=_LEAST_NORM)
        similarity = functional.cosine_similarity(row, found, dim=1, eps=_LEAST_NORM)
        return torch.cat([z.to(x.dtype), torch.stack([distance, similarity], dim=1)], dim=1)
