"""The k-sparse autoencoder: at most k values of a large latent are not 0."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from isthmus.core import Autoencoder, LossOutput, PlanLike
from isthmus.core.sparsity import (
    Usage,
    keep_largest,
    keep_largest_of,
    never_used,
    numbers_in_use,
)
from isthmus.spec import ModelPlan, SpecModel
from isthmus.types import Shape

_LATENT_RANGE = (32, 1024)
_SHARE_KEPT = 16


class Topk(Autoencoder):
    """Minimises reconstruction from the k largest latent values, and one from dead dimensions.

    The auxiliary loss asks dead dimensions, which were unused for long, to reconstruct the row
    themselves. (The paper asks them for the residual, which a linear decoder can give; one with
    hidden layers cannot.)

    Source: Gao et al. 2024, "Scaling and evaluating sparse autoencoders", arXiv:2406.04093,
    sections 2.3 and 2.4; Makhzani & Frey 2013, "k-Sparse Autoencoders", arXiv:1312.5663.
    """

    class Config(SpecModel):
        """The number of active dimensions, and how dead ones are revived."""

        k: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
        """Largest number of values per latent that are not 0; it has fewer if fewer are above 0.
        `auto`: a sixteenth of the latent."""
        auxiliary_weight: float = Field(default=1 / 32, ge=0.0)
        """Weight of the dead dimensions' own reconstruction loss."""
        dead_after_rows: int = Field(default=10_000, ge=1)
        """Number of rows after which a dimension that none of them used counts as dead."""

    SUMMARY: ClassVar[str] = "k numbers of a large latent in use; for features one can name"
    TRAINING_PARTS: ClassVar[tuple[str, ...]] = ("usage",)
    CUDA_GRAPH_SAFE: ClassVar[bool] = True
    options: Config

    def __init__(self, plan: PlanLike) -> None:
        """Builds an `Autoencoder` with a record of each dimension's last use."""
        super().__init__(plan)
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
        """The number of latent values that are not 0."""
        return self._k()

    def latent(self, encoded: Tensor) -> Tensor:
        """Keeps the k largest values after a ReLU: (B, latent_dim) to (B, latent_dim)."""
        return keep_largest(encoded.relu(), self._k())

    def loss(self, x: Tensor) -> LossOutput:
        """Computes reconstruction and that of dead dimensions, of scaled rows (B, *row_shape)."""
        encoded = self.encoder(x)
        z = self.latent(encoded)
        reconstruction = self.reconstruction_term(self.decoder(z), x)
        if self.training:
            self.usage.update(z)
        is_dead = self.usage.dead(self.options.dead_after_rows)
        # Always computed, so that workers whose dead dimensions differ run the same operations.
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
