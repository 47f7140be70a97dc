"""The batch-top-k autoencoder: k values per row on average, more for rows that need more."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from isthmus.core import Autoencoder, LossOutput, PlanLike
from isthmus.core.sparsity import (
    Usage,
    keep_largest_of,
    keep_largest_of_batch,
    never_used,
    numbers_in_use,
)
from isthmus.core.workers import mean_over_workers
from isthmus.spec import ModelPlan, SpecModel
from isthmus.types import Shape

_LATENT_RANGE = (32, 1024)
_SHARE_KEPT = 16
_DECAY = 0.99


class Batchtopk(Autoencoder):
    """Minimises the reconstruction loss from the k * B largest latent values of a batch of B rows.

    A single row has no batch: outside training, the values above a threshold are kept, which is the
    running mean of the smallest value that training kept.

    Source: Bussmann et al. 2024, "BatchTopK Sparse Autoencoders", arXiv:2412.06410, equations 3
    to 5; dead dimensions as in Gao et al. 2024, arXiv:2406.04093, section 2.4, but with the row as
    their target.
    """

    class Config(SpecModel):
        """The number of active dimensions, and how dead ones are revived."""

        k: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
        """Mean number of values per latent that are not 0. `auto`: a sixteenth of the latent."""
        auxiliary_weight: float = Field(default=1 / 32, ge=0.0)
        """Weight of the dead dimensions' own reconstruction loss."""
        dead_after_rows: int = Field(default=10_000, ge=1)
        """Number of rows after which a dimension that none of them used counts as dead."""

    SUMMARY: ClassVar[str] = "k numbers in use on average, more where needed; for features"
    ENCODER_PARTS: ClassVar[tuple[str, ...]] = (*Autoencoder.ENCODER_PARTS, "gate")
    TRAINING_PARTS: ClassVar[tuple[str, ...]] = ("usage",)
    CUDA_GRAPH_SAFE: ClassVar[bool] = True
    options: Config

    def __init__(self, plan: PlanLike) -> None:
        """Builds an `Autoencoder` with a threshold, and a record of each dimension's last use."""
        super().__init__(plan)
        self.gate = _Gate()
        self.usage = Usage(self.plan.latent_dim)

    @classmethod
    def auto_latent_dim(cls, row_shape: Shape) -> int:
        """Returns sixteen times the usual size, because few dimensions are active at a time."""
        lowest, highest = _LATENT_RANGE
        return min(max(_SHARE_KEPT * super().auto_latent_dim(row_shape), lowest), highest)

    @classmethod
    def refusal(cls, plan: ModelPlan) -> str | None:
        """Returns why k is too large for the latent, or `None` if it is not."""
        k = cls.Config.model_validate(dict(plan.variant.options)).k
        if k == "auto" or k <= plan.latent_dim:
            return None
        return f"k={k} is more than latent_dim={plan.latent_dim}; lower k or raise latent_dim"

    @property
    def code_size(self) -> int:
        """The mean number of latent values that are not 0."""
        return self._k()

    def latent(self, encoded: Tensor) -> Tensor:
        """Keeps the values above the threshold, and sets the others to 0, in (B, latent_dim)."""
        opened: Tensor = self.gate(encoded.relu())
        return opened

    def loss(self, x: Tensor) -> LossOutput:
        """Computes reconstruction and that of dead dimensions, of scaled rows (B, *row_shape)."""
        encoded = self.encoder(x)
        z = self.latent(encoded)
        if self.training:
            z = keep_largest_of_batch(encoded.relu(), self._k())
            self.gate.update(z)
            self.usage.update(z)
        reconstruction = self.reconstruction_term(self.decoder(z), x)
        is_dead = self.usage.dead(self.options.dead_after_rows)
        alone = keep_largest_of(encoded, self._k(), is_dead)
        auxiliary = self.reconstruction_term(self.decoder(alone), x) * is_dead.any()
        total = reconstruction
        if self.training:
            total = reconstruction + self.options.auxiliary_weight * auxiliary
        return LossOutput(total, {"reconstruction": reconstruction, "auxiliary": auxiliary})

    def own_metrics(self, x: Tensor) -> dict[str, float]:
        """Computes `active_numbers` and `never_active`.

        They are the mean number of active dimensions per row (L0), and the number of dimensions
        that are active in no row.
        """
        z = self.latent(self.encoder(x))
        return {"active_numbers": numbers_in_use(z), "never_active": never_used(z)}

    def _k(self) -> int:
        if self.options.k == "auto":
            return max(1, self.plan.latent_dim // _SHARE_KEPT)
        return int(self.options.k)


class _Gate(nn.Module):
    """Sets all values up to a threshold to 0.

    Attributes:
        threshold: The running mean of the smallest value that a batch kept, shape ().
        batches: The number of batches seen, shape ().
    """

    threshold: Tensor
    batches: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("threshold", torch.zeros(()))
        self.register_buffer("batches", torch.zeros(()))

    def forward(self, z: Tensor) -> Tensor:
        """Returns z where it is above the threshold, else 0."""
        return torch.where(z > self.threshold, z, 0.0)

    @torch.no_grad()
    def update(self, kept: Tensor) -> None:
        """Updates the threshold with a batch's kept values, of which each worker has a part."""
        smallest = torch.where(kept > 0, kept, torch.inf).amin()
        smallest = torch.where(smallest.isinf(), self.threshold, smallest)
        self.batches += 1
        # The first batches have equal weights, so that the initial threshold is forgotten.
        rate = torch.clamp(1 / self.batches, min=1 - _DECAY)
        self.threshold.lerp_(mean_over_workers(smallest).to(self.threshold.dtype), rate)
