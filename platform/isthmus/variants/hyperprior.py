"""Learned compression: a rounded latent, and a model of how many bits it takes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from math import log, prod
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from isthmus import nets
from isthmus.core import CodedAutoencoder, LossOutput, PlanLike
from isthmus.core.integer_tables import IntTable
from isthmus.core.priors import FactorizedPrior, HyperPrior, Prior
from isthmus.errors import UsageError
from isthmus.nets import MapsNet
from isthmus.spec import ModelPlan, SpecModel
from isthmus.types import Shape

Rate = Annotated[float, Field(gt=0.0, le=1e3)]
# The rates of images, which span 0.1 to 1 bit per pixel on photos.
_RATES = (0.0005, 0.0017, 0.006, 0.02)
# Compressed files say which quality they have; of several rates, `None` in the oldest ones is 75.
_USUAL_QUALITY = 75.0
# Distortions are counted as if values ran from 0 to 255, as papers do.
_PEAK_SQUARED = 255.0**2
_HYPER_CHANNELS_OF_MAPS = 96
_HIDDEN_OF_MAPS = 96
_HYPER_DIM = 4
_HIDDEN = 64


class Hyperprior(CodedAutoencoder):
    """Minimises the bits of a latent rounded to whole numbers, plus lambda times the distortion.

    `factorized` learns a density for each latent dimension or channel; the hyperpriors first send
    a few more values, which predict each number's scale, and with `mean_scale_hyperprior` also its
    mean. Several rates are one model: the latent is multiplied by factors of each rate, and
    between two rates by those in between.

    Source: Balle et al. 2018, "Variational image compression with a scale hyperprior",
    arXiv:1802.01436, equations 1 to 8 and appendix 6.1; the factors are the gain units of Cui et
    al. 2021, "Asymmetric Gained Deep Image Compression With Continuous Rate Adaptation",
    arXiv:2003.02012, section 3.
    """

    class Config(SpecModel):
        """The prior, and the trade-off between rate and distortion."""

        prior: Literal["auto", "factorized", "scale_hyperprior", "mean_scale_hyperprior"] = "auto"
        """The model that predicts the latent's bits. `auto`: mean_scale_hyperprior for images of
        any size, else scale_hyperprior."""
        rate: Literal["auto"] | Annotated[tuple[Rate, ...], Field(min_length=1, max_length=16)] = (
            "auto"
        )
        """Lambdas in rising order, one for each rate of the model: what is minimised is bits per
        pixel (step or row) + lambda * 255^2 * mean squared error, of values from 0 to 1. `auto`:
        0.0005 to 0.02 for images of any size, else `distortion_weight`."""
        distortion_weight: float = Field(default=100.0, gt=0.0)
        """The bits that one unit of the reconstruction loss, summed over a row, is worth. It is
        used if no `rate` is given."""
        hyper_dim: Annotated[int, Field(ge=1, le=4096)] | Literal["auto"] = "auto"
        """Values of the hyper-latent, or channels of that of a map. `auto`: 96 for images of any
        size, else 4."""
        hidden: Annotated[int, Field(ge=1, le=4096)] | Literal["auto"] = "auto"
        """Width of the hidden layers on either side of the hyper-latent. `auto`: 96 for images of
        any size, else 64."""

    SUMMARY: ClassVar[str] = "a rounded latent with its cost in bits; for compression to a file"
    ENCODER_PARTS: ClassVar[tuple[str, ...]] = (
        *CodedAutoencoder.ENCODER_PARTS,
        "entropy",
        "gains",
    )
    DECODER_PARTS: ClassVar[tuple[str, ...]] = (
        *CodedAutoencoder.DECODER_PARTS,
        "entropy",
        "gains",
    )
    CUDA_GRAPH_SAFE: ClassVar[bool] = True
    CODES_MAPS: ClassVar[bool] = True
    TABLES_FROM_ROWS: ClassVar[bool] = False
    options: Config

    def __init__(self, plan: PlanLike) -> None:
        """Builds an `Autoencoder` with the model of the latent's bits."""
        super().__init__(plan)
        self._shape = _latent_shape(self.plan)
        rates = self._rates()
        self.entropy: Prior = _prior(self.options, self._shape)
        self.gains = nn.Module() if rates is None else _Gains(rates, self._shape)
        if rates is not None:
            positions = prod(self.plan.row_shape[1:])
            weights = torch.tensor(rates) * _PEAK_SQUARED / self.plan.row_shape[0]
            # Of the loss per position, so that each rate counts alike in the sum of all.
            shares = (torch.tensor(rates).mean() / torch.tensor(rates)).sqrt() / positions
            self.register_buffer("_weights", weights, persistent=False)
            self.register_buffer("_shares", shares, persistent=False)

    _weights: Tensor
    _shares: Tensor

    @classmethod
    def refusal(cls, plan: ModelPlan) -> str | None:
        """Returns why the rates are none, or `None` if they are some."""
        options = cls.Config.model_validate(dict(plan.variant.options))
        if options.rate != "auto" and list(options.rate) != sorted(set(options.rate)):
            return f"rate={list(options.rate)} is not in rising order; sort it"
        return None

    @property
    def streams(self) -> int:
        """The number of streams: 2 with a hyperprior."""
        return self.entropy.STREAMS

    # -- rows to latents and back ---------------------------------------------------------------

    def latent(self, encoded: Tensor) -> Tensor:
        """Rounds encodings at the usual quality: (B, latent_dim) to (B, latent_dim)."""
        return self.restored(self.entropy.values(self.gained(encoded)))

    def gained(self, encoded: Tensor, quality: float | None = None) -> Tensor:
        """Returns encodings (B, latent_dim) as they are rounded at a quality, (B, C, *S)."""
        y = encoded.reshape(-1, *self._shape)
        return self.gains.gained(y, quality) if isinstance(self.gains, _Gains) else y

    def restored(self, values: Tensor, quality: float | None = None) -> Tensor:
        """Returns the latent (B, latent_dim) of rounded values (B, C, *S)."""
        if isinstance(self.gains, _Gains):
            values = self.gains.restored(values, quality)
        return values.flatten(1)

    def symbols_of(self, encoded: Tensor, quality: float | None = None) -> list[Tensor]:
        """Rounds encodings (B, latent_dim) to streams of symbols."""
        return self.entropy.to_symbols(self.gained(encoded, quality))

    def latent_of(self, streams: Sequence[Tensor], quality: float | None = None) -> Tensor:
        """Returns the latent (B, latent_dim) that all streams stand for."""
        values = self.entropy.from_symbols(streams).to(self.scaling.scale)
        return self.restored(values, quality)

    def table_numbers(self, decoded: Sequence[Tensor], rows: int) -> Tensor:
        """Returns the table of each symbol of the next stream, from the streams before it."""
        return self.entropy.table_numbers(decoded, rows)

    def code_tables(self, streams: Sequence[Tensor]) -> list[IntTable]:
        """Returns the tables of the learned densities, and of normal distributions."""
        return self.entropy.code_tables()

    def one_coding(self) -> AbstractContextManager[None]:
        """Within it, the net in whole numbers evaluates a hyper-latent once, not twice."""
        return self.entropy.remembering()

    def check_quality(self, quality: float | None) -> None:
        """Refuses a quality other than 0 to 100, and any if the model has one rate."""
        rates = self._rates() or ()
        if len(rates) < 2:
            super().check_quality(quality)
        elif quality is not None and not 0 <= quality <= 100:
            raise UsageError(f"quality={quality:g} is not from 0 to 100; choose one that is")

    def settled_quality(self, quality: float | None) -> float | None:
        """Returns the quality that is used; `None` if the model has one rate."""
        if len(self._rates() or ()) < 2:
            return None
        return _USUAL_QUALITY if quality is None else quality

    # -- training -------------------------------------------------------------------------------

    def loss(self, x: Tensor) -> LossOutput:
        """Computes the bits plus weighted reconstruction, of scaled rows (B, *row_shape).

        Of several rates, rows have one after another; in training from a random one on.
        """
        # Rounding needs full precision: in half precision, large values have no fraction to round.
        y = self.encoder(x).to(x.dtype).reshape(-1, *self._shape)
        if isinstance(self.gains, _Gains):
            numbers = self.gains.of_rows(len(x), is_training=self.training)
            measured = self.entropy(self.gains.gained(y, numbers))
            values = self.gains.restored(measured.values, numbers)
        else:
            measured = self.entropy(y)
            values = measured.values
        reconstruction = self.reconstruction(self.decoder(values.flatten(1)), x)
        rate = measured.bits + measured.side_bits
        if isinstance(self.gains, _Gains):
            total = self._shares[numbers] * (self._weights[numbers] * reconstruction + rate)
        else:
            total = self.options.distortion_weight * reconstruction + rate
        return LossOutput(
            total=total.mean(),
            parts={
                "reconstruction": reconstruction.mean(),
                "rate_bits": measured.bits.mean(),
                "side_bits": measured.side_bits.mean(),
            },
        )

    def own_metrics(self, x: Tensor) -> dict[str, float]:
        """Computes `bits_per_row`, and those of them that the hyper-latent takes.

        A model of several rates has them for its lowest and its highest too.
        """
        encoded = self.encoder(x)
        found = self._bits(encoded, None)
        if len(self._rates() or ()) > 1:
            for quality, name in ((0.0, "lowest"), (100.0, "highest")):
                bits = self._bits(encoded, quality)
                found[f"{name}_bits_per_row"] = bits["bits_per_row"]
        return found

    def _bits(self, encoded: Tensor, quality: float | None) -> dict[str, float]:
        measured = self.entropy(self.gained(encoded, quality))
        side = float(measured.side_bits.mean())
        return {"bits_per_row": float(measured.bits.mean()) + side, "side_bits_per_row": side}

    def _rates(self) -> tuple[float, ...] | None:
        """Returns the lambdas, `None` if `distortion_weight` is what counts."""
        if self.options.rate != "auto":
            return self.options.rate
        return _RATES if len(self._shape) > 1 else None


class _Gains(nn.Module):
    """Factors of each channel at each rate, before rounding and after.

    Attributes:
        log_gains: The logarithms of the factors before rounding, shape (K, C).
        log_inverses: Those of the factors after, shape (K, C).
    """

    def __init__(self, rates: Sequence[float], latent_shape: Shape) -> None:
        super().__init__()
        self._axes = (1,) * (len(latent_shape) - 1)
        # At high rates the best step of a uniform quantiser follows from lambda: the squared error
        # is step^2 / 12, and each halving of the step costs a bit per number. Of an orthonormal
        # transform, as the net for compression begins, that is the error of the pixels.
        starts = [0.5 * log(rate * _PEAK_SQUARED * log(2) / 18) for rate in rates]
        gains = torch.tensor(starts)[:, None].repeat(1, latent_shape[0])
        self.log_gains = nn.Parameter(gains)
        self.log_inverses = nn.Parameter(-gains)

    def of_rows(self, rows: int, *, is_training: bool) -> Tensor:
        """Returns the number of the rate of each row, shape (B,)."""
        device, count = self.log_gains.device, len(self.log_gains)
        numbers = torch.arange(rows, device=device)
        if is_training:
            numbers = numbers + torch.randint(count, (1,), device=device)
        return numbers % count

    def gained(self, y: Tensor, rate: Tensor | float | None) -> Tensor:
        """Multiplies encodings (B, C, *S) by the factors of each row's rate, or of a quality."""
        return y * self._factors(self.log_gains, rate)

    def restored(self, values: Tensor, rate: Tensor | float | None) -> Tensor:
        """Multiplies rounded values (B, C, *S) by the factors that undo the others."""
        return values * self._factors(self.log_inverses, rate)

    def _factors(self, logs: Tensor, rate: Tensor | float | None) -> Tensor:
        if isinstance(rate, Tensor):
            chosen = logs[rate]
        else:
            quality = _USUAL_QUALITY if rate is None else rate
            place = quality / 100 * (len(logs) - 1)
            below = min(int(place), max(len(logs) - 2, 0))
            above = min(below + 1, len(logs) - 1)
            chosen = torch.lerp(logs[below], logs[above], place - below)[None]
        return chosen.exp().reshape(*chosen.shape, *self._axes)


def _latent_shape(plan: ModelPlan) -> Shape:
    """Returns the shape of a latent: (C, h, w) if it is one map, else (latent_dim,)."""
    net = nets.made_for(plan.net, plan.row_shape)
    if isinstance(net, MapsNet):
        (shape,) = net.map_shapes()
        return shape
    return (plan.latent_dim,)


def _prior(options: Hyperprior.Config, shape: Shape) -> Prior:
    is_map = len(shape) > 1
    kind = options.prior
    if kind == "auto":
        kind = "mean_scale_hyperprior" if is_map else "scale_hyperprior"
    if kind == "factorized":
        return FactorizedPrior(shape)
    auto = (_HYPER_CHANNELS_OF_MAPS, _HIDDEN_OF_MAPS) if is_map else (_HYPER_DIM, _HIDDEN)
    given = (options.hyper_dim, options.hidden)
    channels, hidden = (a if each == "auto" else each for each, a in zip(given, auto, strict=True))
    return HyperPrior(shape, channels, hidden, has_means=kind == "mean_scale_hyperprior")
