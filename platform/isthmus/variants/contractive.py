"""The contractive autoencoder: a latent that hardly changes when a row changes a little."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from isthmus.core import Autoencoder, LossOutput
from isthmus.core.jacobian import estimated_square_norm, exact_square_norm
from isthmus.spec import SpecModel


class Contractive(Autoencoder):
    """Minimises the reconstruction loss and the squared Frobenius norm of the encoder's Jacobian.

    Source: Rifai et al. 2011, "Contractive Auto-Encoders: Explicit Invariance During Feature
    Extraction", ICML, equations 1 and 4; the estimate is Hutchinson's (1990).
    """

    class Config(SpecModel):
        """The penalty on the Jacobian."""

        weight: float = Field(default=0.01, ge=0.0)
        """Weight of the Jacobian's squared norm (latent units per scaled unit, squared), beside a
        reconstruction loss that is summed over the row."""
        jacobian: Literal["auto", "exact", "hutchinson"] = "auto"
        """`exact` takes a backward pass per latent dimension, `hutchinson` one per sample. `auto`:
        exact for the dense net, else hutchinson."""
        samples: Annotated[int, Field(ge=1, le=1024)] = 1
        """Samples of the Hutchinson estimate per step."""

    SUMMARY: ClassVar[str] = "a latent that small changes hardly move; for robust features"
    CUDA_GRAPH_SAFE: ClassVar[bool] = True
    options: Config

    def loss(self, x: Tensor) -> LossOutput:
        """Computes reconstruction plus the weighted penalty, of scaled rows (B, *row_shape)."""
        reconstruction = self.reconstruction_term(self.decoder(self.encoder(x)), x)
        penalty = self.penalty(x).mean()
        return LossOutput(
            total=reconstruction + self.options.weight * penalty,
            parts={"reconstruction": reconstruction, "contraction": penalty},
        )

    def penalty(self, x: Tensor) -> Tensor:
        """Computes or estimates the squared norm of dz/dx: scaled rows (B, *row_shape) to (B,)."""
        if self._is_exact():
            return exact_square_norm(self.encoder, x, keep_graph=self.training)
        return estimated_square_norm(
            self.encoder, x, samples=self.options.samples, keep_graph=self.training
        )

    def own_metrics(self, x: Tensor) -> dict[str, float]:
        """Computes how far the latent moves when a row does.

        Returns:
            `jacobian_norm`: the root of the mean squared Frobenius norm, which also falls when all
            latents shrink together; `relative_jacobian_norm`: the same divided by the latents'
            spread (the root of their summed variances), which does not.
        """
        norm = self.penalty(x).mean().sqrt()
        spread = self.encoder(x).var(dim=0).sum().sqrt()
        return {"jacobian_norm": float(norm), "relative_jacobian_norm": float(norm / spread)}

    def _is_exact(self) -> bool:
        if self.options.jacobian == "auto":
            return self.plan.net.name == "dense"
        return self.options.jacobian == "exact"
