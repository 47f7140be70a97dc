"""The sparse autoencoder: few latent dimensions are active for any one row."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from isthmus.core import Autoencoder, LossOutput
from isthmus.core.sparsity import kl_from_target, l1_over_l2
from isthmus.spec import SpecModel
from isthmus.types import Shape

_LATENT_RANGE = (16, 512)
# A sigmoid is never 0, so a dimension counts as active from this value on.
_ACTIVE_SIGMOID = 0.1


class Sparse(Autoencoder):
    """Minimises the reconstruction loss and a penalty on active latent dimensions.

    With `l1` the latent passes a ReLU, so that its values can be exactly 0; with `kl` it passes a
    sigmoid, whose mean over the batch is drawn to a target.

    Source: Ng 2011, "Sparse autoencoder", CS294A lecture notes, section 3, for `kl`; `l1` as in
    Bricken et al. 2023, "Towards Monosemanticity", Transformer Circuits, but relative to the
    latent's scale (Hurley & Rickard 2009, arXiv:0811.4706).
    """

    class Config(SpecModel):
        """The sparsity penalty."""

        penalty: Literal["l1", "kl"] = "l1"
        """`l1`: few active dimensions per row. `kl`: each dimension active in few rows."""
        weight: float = Field(default=0.01, ge=0.0)
        """Weight of the penalty; the reconstruction loss is summed over the row's values."""
        target: float = Field(default=0.05, gt=0.0, lt=1.0)
        """The mean activation to reach; for `kl`."""

    SUMMARY: ClassVar[str] = "few active numbers in a larger latent; for features one can name"
    CUDA_GRAPH_SAFE: ClassVar[bool] = True
    options: Config

    @classmethod
    def auto_latent_dim(cls, row_shape: Shape) -> int:
        """Returns twice the usual size, because the penalty, not the size, is the constraint."""
        lowest, highest = _LATENT_RANGE
        return min(max(2 * super().auto_latent_dim(row_shape), lowest), highest)

    def latent(self, encoded: Tensor) -> Tensor:
        """Applies a ReLU or a sigmoid: (B, latent_dim) to (B, latent_dim), at least 0."""
        return encoded.relu() if self.options.penalty == "l1" else encoded.sigmoid()

    def loss(self, x: Tensor) -> LossOutput:
        """Computes reconstruction plus the weighted penalty, of scaled rows (B, *row_shape)."""
        z = self.latent(self.encoder(x))
        reconstruction = self.reconstruction_term(self.decoder(z), x)
        if self.options.penalty == "l1":
            penalty = l1_over_l2(z).mean()
        else:
            penalty = kl_from_target(z, self.options.target)
        return LossOutput(
            total=reconstruction + self.options.weight * penalty,
            parts={"reconstruction": reconstruction, "sparsity": penalty},
        )

    def own_metrics(self, x: Tensor) -> dict[str, float]:
        """Computes `active_numbers` and `never_active`.

        They are the mean number of active dimensions per row (L0), and the number of dimensions
        that are active in no row.
        """
        z = self.latent(self.encoder(x))
        is_active = z > (0.0 if self.options.penalty == "l1" else _ACTIVE_SIGMOID)
        return {
            "active_numbers": float(is_active.sum(dim=1).float().mean()),
            "never_active": float((~is_active).all(dim=0).sum()),
        }
