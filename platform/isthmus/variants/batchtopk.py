"""The batch-top-k autoencoder: k numbers a row on average, more for rows that need more."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

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
    """Minimises reconstruction from the k * B largest numbers of a batch of B rows.

    A single row has no batch: outside training, numbers above a threshold are kept, the running
    mean of the smallest that training kept.

    Source: Bussmann et al. 2024, "BatchTopK Sparse Autoencoders", arXiv:2412.06410, equations 3
    to 5; dead numbers as in Gao et al. 2024, arXiv:2406.04093, section 2.4, asked for the row.
    """

    class Config(SpecModel):
        """How many are kept, and how the others are kept alive."""

        k: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
        """Numbers of a latent that are not zero, on average. `auto`: a sixteenth of the latent."""
        auxiliary_weight: float = Field(default=1 / 32, ge=0.0)
        """Weight of the dead numbers' own reconstruction."""
        dead_after_rows: int = Field(default=10_000, ge=1)
        """Rows after which a number that no row used counts as dead."""

    SUMMARY: ClassVar[str] = "k numbers in use on average, more where needed; for features"
    ENCODER_PARTS: ClassVar[tuple[str, ...]] = (*Autoencoder.ENCODER_PARTS, "gate")
    TRAINING_PARTS: ClassVar[tuple[str, ...]] = ("usage",)
    CUDA_GRAPH_SAFE: ClassVar[bool] = True
    options: Config

    def __init__(self, plan: PlanLike, **training: Any) -> None:
        """As `Autoencoder`, with the threshold, and a count of when each number was last used."""
        super().__init__(plan, **training)
        self.gate = _Gate()
        self.usage = Usage(self.plan.latent_dim)

    @classmethod
    def auto_latent_dim(cls, row_shape: Shape) -> int:
        """Sixteen times the usual: few of them are in use at a time."""
        lowest, highest = _LATENT_RANGE
        return min(max(_SHARE_KEPT * super().auto_latent_dim(row_shape), lowest), highest)

    @classmethod
    def refusal(cls, plan: ModelPlan) -> str | None:
        """There must be as many numbers as are kept."""
        k = cls.Config.model_validate(dict(plan.variant.options)).k
        if k == "auto" or k <= plan.latent_dim:
            return None
        return f"k={k} is more than latent_dim={plan.latent_dim}; lower k or raise latent_dim"

    @property
    def code_size(self) -> int:
        """The numbers that are not zero, on average."""
        return self._k()

    def latent(self, encoded: Tensor) -> Tensor:
        """The numbers above the threshold: (B, latent_dim) to (B, latent_dim)."""
        opened: Tensor = self.gate(encoded.relu())
        return opened

    def loss(self, x: Tensor) -> LossOutput:
        """Reconstruction and the dead numbers' own, of scaled rows (B, *row_shape)."""
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
        """`active_numbers` of a latent, on average (L0); `never_active`: in no row."""
        z = self.latent(self.encoder(x))
        return {"active_numbers": numbers_in_use(z), "never_active": never_used(z)}

    def _k(self) -> int:
        if self.options.k == "auto":
            return max(1, self.plan.latent_dim // _SHARE_KEPT)
        return int(self.options.k)


class _Gate(nn.Module):
    """Lets numbers above a threshold through.

    Attributes:
        threshold: Shape (). The running mean of the smallest number that a batch kept.
        batches: Shape (). How many it has seen.
    """

    threshold: Tensor
    batches: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("threshold", torch.zeros(()))
        self.register_buffer("batches", torch.zeros(()))

    def forward(self, z: Tensor) -> Tensor:
        """z where it is above the threshold, else 0."""
        return torch.where(z > self.threshold, z, 0.0)

    @torch.no_grad()
    def update(self, kept: Tensor) -> None:
        """Learns from the numbers that a batch kept, of which each worker has its share."""
        smallest = torch.where(kept > 0, kept, torch.inf).amin()
        smallest = torch.where(smallest.isinf(), self.threshold, smallest)
        self.batches += 1
        # The first batches count alike, so that the start is forgotten.
        rate = torch.clamp(1 / self.batches, min=1 - _DECAY)
        self.threshold.lerp_(mean_over_workers(smallest).to(self.threshold.dtype), rate)
