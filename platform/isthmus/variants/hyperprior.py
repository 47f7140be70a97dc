"""Learned compression: a rounded latent, and a model of how many bits it takes."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from isthmus.core import Autoencoder, LossOutput, PlanLike
from isthmus.core.entropy_model import FactorizedDensity, bits, normal_likelihood, quantized
from isthmus.spec import SpecModel


class Hyperprior(Autoencoder):
    """Minimises the bits of a latent rounded to integers, plus lambda times the distortion.

    In training, uniform noise replaces the rounding. `factorized` learns a density for each latent
    dimension; `scale_hyperprior` first sends a few more values, which predict each one's scale.

    Source: Balle et al. 2018, "Variational image compression with a scale hyperprior",
    arXiv:1802.01436, equations 1 to 8 and appendix 6.1.
    """

    class Config(SpecModel):
        """The prior, and the trade-off between rate and distortion."""

        prior: Literal["factorized", "scale_hyperprior"] = "scale_hyperprior"
        """The model that predicts the latent's bits."""
        distortion_weight: float = Field(default=100.0, gt=0.0)
        """Lambda: bits that one unit of the reconstruction loss, summed over a row, is worth."""
        hyper_dim: Annotated[int, Field(ge=1, le=4096)] = 4
        """Size of the hyper-latent."""
        hidden: Annotated[int, Field(ge=1, le=65_536)] = 64
        """Width of the hidden layer on either side of the hyper-latent."""

    SUMMARY: ClassVar[str] = "a rounded latent with its cost in bits; for compression to a file"
    ENCODER_PARTS: ClassVar[tuple[str, ...]] = (*Autoencoder.ENCODER_PARTS, "entropy")
    DECODER_PARTS: ClassVar[tuple[str, ...]] = (*Autoencoder.DECODER_PARTS, "entropy")
    CUDA_GRAPH_SAFE: ClassVar[bool] = True
    options: Config

    def __init__(self, plan: PlanLike, **training: Any) -> None:
        """Builds an `Autoencoder` with the model of the latent's bits."""
        super().__init__(plan, **training)
        options = self.options
        self.entropy: nn.Module = (
            _Factorized(self.plan.latent_dim)
            if options.prior == "factorized"
            else _ScaleHyperprior(self.plan.latent_dim, options.hyper_dim, options.hidden)
        )

    def latent(self, encoded: Tensor) -> Tensor:
        """Rounds encodings to integers: (B, latent_dim) to (B, latent_dim)."""
        return encoded.round()

    def loss(self, x: Tensor) -> LossOutput:
        """Computes the bits plus weighted reconstruction, of scaled rows (B, *row_shape)."""
        # Rounding needs full precision: in half precision, large values have no fraction to round.
        y = self.encoder(x).to(x.dtype)
        y_hat = quantized(y, is_training=self.training)
        reconstruction = self.reconstruction_term(self.decoder(y_hat), x)
        latent_bits, side_bits = self.entropy(y, y_hat)
        rate, side = latent_bits.mean(), side_bits.mean()
        return LossOutput(
            total=self.options.distortion_weight * reconstruction + rate + side,
            parts={"reconstruction": reconstruction, "rate_bits": rate, "side_bits": side},
        )

    def own_metrics(self, x: Tensor) -> dict[str, float]:
        """Computes `bits_per_row`, and those of them that the hyper-latent takes."""
        parts = self.loss(x).parts
        side = float(parts["side_bits"])
        return {"bits_per_row": float(parts["rate_bits"]) + side, "side_bits_per_row": side}


class _Factorized(nn.Module):
    """A density for each latent dimension."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.density = FactorizedDensity(latent_dim)

    def forward(self, y: Tensor, y_hat: Tensor) -> tuple[Tensor, Tensor]:
        """Computes the bits of each row's latent, and zeros for a hyper-latent; each (B,)."""
        found = bits(self.density.likelihood(y_hat))
        return found, found.new_zeros(len(found))


class _ScaleHyperprior(nn.Module):
    """Predicts the scale of each latent dimension from a hyper-latent, which is sent first."""

    def __init__(self, latent_dim: int, hyper_dim: int, hidden: int) -> None:
        super().__init__()
        self.analysis = nn.Sequential(
            nn.Linear(latent_dim, hidden), nn.GELU(), nn.Linear(hidden, hyper_dim)
        )
        self.synthesis = nn.Sequential(
            nn.Linear(hyper_dim, hidden), nn.GELU(), nn.Linear(hidden, latent_dim)
        )
        self.density = FactorizedDensity(hyper_dim)

    def forward(self, y: Tensor, y_hat: Tensor) -> tuple[Tensor, Tensor]:
        """Computes the bits of each row's latent and of its hyper-latent; each (B,)."""
        hyper = quantized(self.analysis(y.abs()), is_training=self.training)
        scale = functional.softplus(self.synthesis(hyper))
        return bits(normal_likelihood(y_hat, scale)), bits(self.density.likelihood(hyper))
