"""Deep SVDD: encodes normal rows close to one centre; what lies far from it is unusual."""

from __future__ import annotations

from math import ceil
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from isthmus.core import Autoencoder, LossOutput, PlanLike
from isthmus.core.workers import mean_over_workers, rows_of_all_workers
from isthmus.spec import SpecModel

# No coordinate of the centre is nearer to 0: an encoder reaches 0 with weights of 0.
_LEAST_COORDINATE = 0.1


class DeepSvdd(Autoencoder):
    """Minimises the squared distance of encodings to a centre, and the reconstruction loss.

    The first epochs minimise reconstruction alone. The centre is then fixed at the mean of the
    encodings. As in Hojjati & Armanfard 2021, "DASVDD", arXiv:2106.05410, reconstruction stays part
    of the loss: without it there would be no decoder, and the encoder could map all rows to the
    centre (which is why the paper's has no biases).

    Source: Ruff et al. 2018, "Deep One-Class Classification", PMLR 80, equations 3 to 5.
    """

    class Config(SpecModel):
        """The sphere, and the reconstruction that keeps it from collapsing."""

        objective: Literal["one_class", "soft_boundary"] = "one_class"
        """`one_class` draws all rows to the centre (equation 4); `soft_boundary` minimises a
        sphere, outside of which a share `nu` of the rows may lie (equation 3)."""
        nu: float = Field(default=0.1, gt=0.0, lt=1.0)
        """Share of the training rows outside of the sphere; for `soft_boundary`."""
        weight: float = Field(default=0.1, gt=0.0)
        """Weight of the squared distance, summed over the latent dimensions. A larger weight draws
        all rows, also the unusual ones, to the centre."""
        reconstruction_weight: float = Field(default=1.0, gt=0.0)
        """Weight of the reconstruction loss."""
        centre_epochs: float = Field(default=10.0, ge=0.0)
        """Epochs that minimise reconstruction alone, over the last of which the centre is averaged;
        at least one batch."""

    SUMMARY: ClassVar[str] = "distance to the centre of normal rows; for one kind of normal"
    DECODER_PARTS: ClassVar[tuple[str, ...]] = (*Autoencoder.DECODER_PARTS, "sphere")
    options: Config

    def __init__(self, plan: PlanLike) -> None:
        """Builds an `Autoencoder` with a sphere in the latent space."""
        super().__init__(plan)
        self.sphere = Sphere(self.plan.latent_dim)
        self._is_centred = False  # follows from the sphere's buffer; needs no wait for the device

    def loss(self, x: Tensor) -> LossOutput:
        """Computes reconstruction plus the sphere's term, of scaled rows (B, *row_shape).

        On validation rows the total has both terms from the first epoch on.
        """
        z = self.encoder(x)
        reconstruction = self.reconstruction_term(self.decoder(z), x)
        is_centring = self.training and self._centre_moves()
        if is_centring:
            self.sphere.move_centre(z, 1 / self.clock.batches_per_epoch)
        distance = self.sphere.distance(z)
        if self.training and self.options.objective == "soft_boundary":
            self.sphere.fit_radius(distance, self.options.nu)
        svdd = self._objective(distance)
        weight = 0.0 if is_centring else self.options.weight
        return LossOutput(
            total=self.options.reconstruction_weight * reconstruction + weight * svdd,
            parts={"reconstruction": reconstruction, "svdd": svdd},
        )

    def score(self, x: Tensor) -> Tensor:
        """Computes how unusual each row is: its encoding's squared distance to the centre.

        Returns:
            The scores, shape (B,). A higher score means a more unusual row.
        """
        distance: Tensor = self.sphere.distance(self.encoder(self.scaling(x)))
        return distance

    def own_metrics(self, x: Tensor) -> dict[str, float]:
        """Computes `mean_squared_distance` to the centre.

        For a soft boundary it also computes the `share_outside_sphere`.
        """
        distance = self.sphere.distance(self.encoder(x))
        found = {"mean_squared_distance": float(distance.mean())}
        if self.options.objective == "soft_boundary":
            outside = distance > self.sphere.radius_squared
            found["share_outside_sphere"] = float(outside.float().mean())
        return found

    def _centre_moves(self) -> bool:
        """Returns whether training still averages the centre, also after a resume."""
        if not self._is_centred:
            self._is_centred = bool(self.sphere.batches >= self._batches_of_centring())
        return not self._is_centred

    def _objective(self, distance: Tensor) -> Tensor:
        if self.options.objective == "one_class":
            return distance.mean()
        radius_squared = self.sphere.radius_squared
        outside = (distance - radius_squared).relu().mean()
        return radius_squared + outside / self.options.nu

    def _batches_of_centring(self) -> int:
        return max(1, ceil(self.options.centre_epochs * self.clock.batches_per_epoch))


class Sphere(nn.Module):
    """The sphere around the encodings of normal rows.

    Attributes:
        mean: The moving average of the encodings while the centre moves, shape (latent_dim,).
        centre: The mean, kept away from 0, shape (latent_dim,).
        radius_squared: The squared radius, shape ().
        batches: The number of training batches that moved the centre, shape ().
    """

    mean: Tensor
    centre: Tensor
    radius_squared: Tensor
    batches: Tensor

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(latent_dim))
        self.register_buffer("centre", torch.full((latent_dim,), _LEAST_COORDINATE))
        self.register_buffer("radius_squared", torch.zeros(()))
        self.register_buffer("batches", torch.zeros(()))

    def distance(self, z: Tensor) -> Tensor:
        """Computes the squared distance of encodings (B, latent_dim) to the centre, shape (B,)."""
        return (z - self.centre).square().sum(dim=1)

    @torch.no_grad()
    def move_centre(self, z: Tensor, rate: float) -> None:
        """Updates the mean with a batch of encodings, of which each worker has a part.

        Args:
            z: This worker's encodings.
            rate: The weight of later batches; the first ones have equal weights.
        """
        self.batches += 1
        share = torch.clamp(1 / self.batches, min=rate)
        self.mean.lerp_(mean_over_workers(z.mean(dim=0)).to(self.mean.dtype), share)
        # A coordinate that is too close to 0 is moved away from it, and keeps its sign.
        away = torch.where(self.mean < 0, -_LEAST_COORDINATE, _LEAST_COORDINATE)
        self.centre.copy_(torch.where(self.mean.abs() < _LEAST_COORDINATE, away, self.mean))

    @torch.no_grad()
    def fit_radius(self, distance: Tensor, nu: float) -> None:
        """Sets the radius so that a share `nu` of all workers' encodings lies outside."""
        everyone = rows_of_all_workers(distance).float()
        self.radius_squared.copy_(torch.quantile(everyone, 1 - nu))
