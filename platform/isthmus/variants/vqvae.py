"""The vector-quantised autoencoder: a latent consists of a few codes from a learned codebook."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from isthmus.core import IndexCoded, LossOutput, PlanLike
from isthmus.core.quantization import Codebook, bits, straight_through, usage
from isthmus.spec import ModelPlan, SpecModel


class Vqvae(IndexCoded):
    """Minimises reconstruction from the nearest codes, and the distance of encodings to them.

    The latent is split into groups of `code_dim` values, which share one codebook; with a spatial
    bottleneck a group is one pixel of the map. Codes follow the encodings as moving averages.

    Source: van den Oord et al. 2017, "Neural Discrete Representation Learning", arXiv:1711.00937,
    equation 3 without its second term, which the moving averages of appendix A.1 replace.
    """

    class Config(SpecModel):
        """The codebook."""

        codes: Annotated[int, Field(ge=2, le=65_536)] = 256
        """Codes in the codebook."""
        code_dim: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
        """Values per code; must divide `latent_dim`. `auto`: 2, or 1 where 2 does not divide it."""
        commitment: float = Field(default=0.25, ge=0.0)
        """Weight of the squared distance between encodings and their codes."""
        decay: float = Field(default=0.99, gt=0.0, lt=1.0)
        """Decay of the codes' moving averages, per batch."""
        least_count: float = Field(default=0.1, ge=0.0)
        """A code chosen less often than this per batch, on average, is restarted elsewhere."""

    SUMMARY: ClassVar[str] = "a latent of codes from a learned book; to compress and to generate"
    ENCODER_PARTS: ClassVar[tuple[str, ...]] = (*IndexCoded.ENCODER_PARTS, "codebook")
    DECODER_PARTS: ClassVar[tuple[str, ...]] = (*IndexCoded.DECODER_PARTS, "codebook")
    CUDA_GRAPH_SAFE: ClassVar[bool] = True
    options: Config

    def __init__(self, plan: PlanLike) -> None:
        """Builds an `IndexCoded` autoencoder with a codebook."""
        super().__init__(plan)
        options = self.options
        self.code_dim = _code_dim(options, self.plan)
        self.codebook = Codebook(options.codes, self.code_dim, options.decay, options.least_count)

    @classmethod
    def refusal(cls, plan: ModelPlan) -> str | None:
        """Returns why codes cannot fill the latent evenly, or `None` if they can."""
        code_dim = _code_dim(cls.Config.model_validate(dict(plan.variant.options)), plan)
        if plan.latent_dim % code_dim == 0:
            return None
        below = plan.latent_dim // code_dim * code_dim
        return (
            f"code_dim={code_dim} does not divide latent_dim={plan.latent_dim}; use latent_dim: "
            f"{below + code_dim}"
        )

    def latent(self, encoded: Tensor) -> Tensor:
        """Replaces encodings with the nearest codes: (B, latent_dim) to (B, latent_dim)."""
        return self.from_indices(self.indices_of(encoded))

    def alphabet(self) -> list[int]:
        """Returns the number of codes, for each group."""
        return [self.options.codes] * (self.plan.latent_dim // self.code_dim)

    def indices_of(self, encoded: Tensor) -> Tensor:
        """Returns the index of each group's code: (B, latent_dim) to (B, latent_dim / code_dim)."""
        groups = encoded.reshape(-1, self.code_dim)
        return self.codebook.nearest(groups).reshape(-1, self.plan.latent_dim // self.code_dim)

    def from_indices(self, indices: Tensor) -> Tensor:
        """Returns the latent of these codes: (B, latent_dim / code_dim) to (B, latent_dim)."""
        return self.codebook.look_up(indices).flatten(1)

    def loss(self, x: Tensor) -> LossOutput:
        """Computes reconstruction plus the commitment loss, of scaled rows (B, *row_shape)."""
        encoded = self.encoder(x)
        if self.training:
            self.codebook.update(encoded.reshape(-1, self.code_dim))
        quantized = self.latent(encoded)
        output = self.decoder(straight_through(encoded, quantized))
        reconstruction = self.reconstruction_term(output, x)
        commitment = (encoded - quantized.detach()).square().sum(dim=1).mean()
        return LossOutput(
            total=reconstruction + self.options.commitment * commitment,
            parts={"reconstruction": reconstruction, "commitment": commitment},
        )

    def own_metrics(self, x: Tensor) -> dict[str, float]:
        """Computes the `perplexity` of the codes in use, `dead_codes`, and `bits_per_row`."""
        indices = self.indices_of(self.encoder(x))
        per_row = bits(self.options.codes, indices.shape[1])
        return {**usage(indices, self.options.codes), "bits_per_row": per_row}


def _code_dim(options: Vqvae.Config, plan: ModelPlan) -> int:
    if options.code_dim == "auto":
        return 2 if plan.latent_dim % 2 == 0 else 1
    return options.code_dim
