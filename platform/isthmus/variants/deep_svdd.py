"""Deep SVDD: encodes normal rows close to one centre; what lies far from it is unusual."""

from __future__ import annotations

from math import ceil
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from isthmus.core import Autoencoder, LossOutput, PlanLike
from isthmus.core.workers import mean_over_workers, rows_of_all_workers
from isthmus.spec import SpecModel

# No coordinate of the centre is nearer to 0: an encoder reaches 0 with weights of 0.
_LEAST_COORDINATE = 0.1


class DeepSvdd(Autoencoder):
    """Minimises the squared distance of encodings to a centre, beside reconstruction.

    The first epochs learn to reconstruct alone, and the centre is the mean of the encodings by
    then, from where on it stays. Reconstruction goes on beside the distance: without it a
    pair would have no decoder, and the encoder could map all rows to the centre (which is why the
    paper's has no biases); so in Hojjati & Armanfard 2021, "DASVDD", arXiv:2106.05410.

    Source: Ruff et al. 2018, "Deep One-Class Classification", PMLR 80, equations 3 to 5.
    """

    class Config(SpecModel):
        """The sphere and what holds it open."""

        objective: Literal["one_class", "soft_boundary"] = "one_class"
        """`one_class` draws all rows to the centre (equation 4); `soft_boundary` makes a sphere
        small that a share `nu` of the rows may lie outside of (equation 3)."""
        nu: float = Field(default=0.1, gt=0.0, lt=1.0)
        """Share of the training rows outside of the sphere; for `soft_boundary`."""
        weight: float = Field(default=0.1, gt=0.0)
        """Weight of the squared distance, summed over the latent's numbers. More of it draws all
        rows, the unusual ones too, to the centre."""
        reconstruction_weight: float = Field(default=1.0, gt=0.0)
        """Weight of the reconstruction term."""
        centre_epochs: float = Field(default=10.0, ge=0.0)
        """Epochs of reconstruction alone, over the last of which the centre is averaged; at least
        one batch."""

    SUMMARY: ClassVar[str] = "distance to the centre of normal rows; for one kind of normal"
    DECODER_PARTS: ClassVar[tuple[str, ...]] = (*Autoencoder.DECODER_PARTS, "sphere")
    options: Config

    def __init__(self, plan: PlanLike, **training: Any) -> None:
        """As `Autoencoder`, with a sphere in the latent space."""
        super().__init__(plan, **training)
        self.sphere = Sphere(self.plan.latent_dim)
        self._is_centred = False  # what the sphere's buffer says, without waiting for the device

    def loss(self, x: Tensor) -> LossOutput:
        """Reconstruction plus the sphere's term, of scaled rows (B, *row_shape).

        On validation rows the total has both terms from the first epoch on.
        """
        z = self.encoder(x)
        reconstruction = self.reconstruction_term(self.decoder(z), x)
        is_centring = self.training and self._centre_moves()
        if is_centring:
            self.sphere.move_centre(z, 1 / self.batches_per_epoch)
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
        """How unusual each row is: its encoding's squared distance to the centre.

        Returns:
            Shape (B,); higher is more unusual.
        """
        distance: Tensor = self.sphere.distance(self.encoder(self.scaling(x)))
        return distance

    def own_metrics(self, x: Tensor) -> dict[str, float]:
        """`mean_squared_distance` to the centre; of a soft boundary, the share of rows outside."""
        distance = self.sphere.distance(self.encoder(x))
        found = {"mean_squared_distance": float(distance.mean())}
        if self.options.objective == "soft_boundary":
            outside = distance > self.sphere.radius_squared
            found["share_outside_sphere"] = float(outside.float().mean())
        return found

    def _centre_moves(self) -> bool:
        """Whether training is in the epochs that seek the centre, a resumed one included."""
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
        return max(1, ceil(self.options.centre_epochs * self.batches_per_epoch))


class Sphere(nn.Module):
    """Where normal rows are encoded.

    Attributes:
        mean: Shape (latent_dim,). Moving average of the encodings, while the centre is sought.
        centre: Shape (latent_dim,). That, kept away from 0.
        radius_squared: Shape ().
        batches: Shape (). Training batches that the centre was sought with.
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
        """The squared distance of each encoding (B, latent_dim) to the centre, shape (B,)."""
        return (z - self.centre).square().sum(dim=1)

    @torch.no_grad()
    def move_centre(self, z: Tensor, rate: float) -> None:
        """Takes one more batch of encodings into the mean, of which each worker has its share.

        Args:
            z: This worker's encodings.
            rate: Weight of a batch once many were taken in; the first ones count alike.
        """
        self.batches += 1
        share = torch.clamp(1 / self.batches, min=rate)
        self.mean.lerp_(mean_over_workers(z.mean(dim=0)).to(self.mean.dtype), share)
        # Of a coordinate that is too close to 0 the sign stays.
        away = torch.where(self.mean < 0, -_LEAST_COORDINATE, _LEAST_COORDINATE)
        self.centre.copy_(torch.where(self.mean.abs() < _LEAST_COORDINATE, away, self.mean))

    @torch.no_grad()
    def fit_radius(self, distance: Tensor, nu: float) -> None:
        """Sets the radius so that a share `nu` of all workers' encodings lies outside."""
        everyone = rows_of_all_workers(distance).float()
        self.radius_squared.copy_(torch.quantile(everyone, 1 - nu))
