"""The k-sparse autoencoder: at most k numbers of a large latent are not zero."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

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
    """Minimises reconstruction from the k largest numbers, and one from numbers unused for long.

    The auxiliary term asks the dead numbers to reconstruct the row themselves. (The paper asks
    them for the residual, which a linear decoder can give; one with hidden layers cannot.)

    Source: Gao et al. 2024, "Scaling and evaluating sparse autoencoders", arXiv:2406.04093,
    sections 2.3 and 2.4; Makhzani & Frey 2013, "k-Sparse Autoencoders", arXiv:1312.5663.
    """

    class Config(SpecModel):
        """How many are kept, and how the others are kept alive."""

        k: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
        """Numbers of a latent that are not zero, at most: where fewer are above 0, the others are
        0 too. `auto`: a sixteenth of the latent."""
        auxiliary_weight: float = Field(default=1 / 32, ge=0.0)
        """Weight of the dead numbers' own reconstruction."""
        dead_after_rows: int = Field(default=10_000, ge=1)
        """Rows after which a number that no row used counts as dead."""

    SUMMARY: ClassVar[str] = "k numbers of a large latent in use; for features one can name"
    TRAINING_PARTS: ClassVar[tuple[str, ...]] = ("usage",)
    CUDA_GRAPH_SAFE: ClassVar[bool] = True
    options: Config

    def __init__(self, plan: PlanLike, **training: Any) -> None:
        """As `Autoencoder`, with a count of when each number was last used."""
        super().__init__(plan, **training)
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
        """The numbers that are not zero."""
        return self._k()

    def latent(self, encoded: Tensor) -> Tensor:
        """The k largest of the rectified numbers: (B, latent_dim) to (B, latent_dim)."""
        return keep_largest(encoded.relu(), self._k())

    def loss(self, x: Tensor) -> LossOutput:
        """Reconstruction and the dead numbers' own, of scaled rows (B, *row_shape)."""
        encoded = self.encoder(x)
        z = self.latent(encoded)
        reconstruction = self.reconstruction_term(self.decoder(z), x)
        if self.training:
            self.usage.update(z)
        is_dead = self.usage.dead(self.options.dead_after_rows)
        # Always computed, so that workers whose dead numbers differ take the same path.
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
