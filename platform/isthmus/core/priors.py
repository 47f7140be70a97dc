"""Models of the bits that a rounded latent takes, and of the integer tables that code it.

Shapes: a latent y is (B, C) or a map (B, C, h, w), written (B, C, *S); its streams of symbols are
(B, C * prod(S)). A hyper-latent z has channels and sides of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from isthmus.core.entropy_model import (
    LEAST_SCALE,
    FactorizedDensity,
    bits,
    normal_likelihood,
    rounded,
    with_noise,
)
from isthmus.core.integer_tables import IntTable
from isthmus.core.whole_numbers import PLACES, evaluate
from isthmus.types import Shape

# A table of the normal distribution for each of these standard deviations: the least, times
# exp(1 / 8) again and again, to 290.
_SCALES = 64
_SCALES_PER_E = 8
# A net gives softplus(x - 1) as the scale. Exponentials of x, which would be simpler to divide into
# tables, did not train: their steps are too large where scales are.
_SHIFT = 1.0
# Tables list numbers as far as this many standard deviations out; what is beyond is escaped.
_REACH = 6.0
# How far out a learned density is looked at for its table.
_FARTHEST = 2**11
_MAP_STRIDE = 4
_FIRST_HYPER_SCALE = 0.5


@dataclass(frozen=True)
class Measured:
    """A latent as the decoder gets it, and what it costs.

    Attributes:
        values: The rounded latent, in the shape of the latent.
        bits: The bits of each row's latent, shape (B,).
        side_bits: The bits of each row's hyper-latent, shape (B,).
    """

    values: Tensor
    bits: Tensor
    side_bits: Tensor


class Prior(nn.Module, ABC):
    """A model of the probabilities of a rounded latent."""

    STREAMS: ClassVar[int]

    def __init__(self, latent_shape: Shape) -> None:
        """Takes the shape (C, *S) of a latent."""
        super().__init__()
        self.latent_shape = latent_shape

    @abstractmethod
    def forward(self, y: Tensor) -> Measured:
        """Rounds latents (B, C, *S) and measures their bits.

        In training, noise takes the place of rounding where bits are measured, and gradients pass
        through the rounding where values are handed on.

        Source: Minnen & Singh 2020, "Channel-wise Autoregressive Entropy Models for Learned Image
        Compression", arXiv:2007.08739, section 3.2.
        """

    @abstractmethod
    def values(self, y: Tensor) -> Tensor:
        """Rounds latents (B, C, *S); gradients pass straight."""

    @abstractmethod
    def to_symbols(self, y: Tensor) -> list[Tensor]:
        """Rounds latents (B, C, *S) to streams of symbols."""

    @abstractmethod
    def from_symbols(self, streams: Sequence[Tensor]) -> Tensor:
        """Returns the rounded latents (B, C, *S) that all streams stand for."""

    @abstractmethod
    def table_numbers(self, decoded: Sequence[Tensor], rows: int) -> Tensor:
        """Returns the table of each symbol of the next stream, from the streams before it."""

    @abstractmethod
    def code_tables(self) -> list[IntTable]:
        """Returns the tables that `table_numbers` refers to."""

    def remembering(self) -> AbstractContextManager[None]:
        """Within it, what symbols and their tables both need may be computed once."""
        return nullcontext()


class FactorizedPrior(Prior):
    """A density for each channel of the latent."""

    STREAMS: ClassVar[int] = 1

    def __init__(self, latent_shape: Shape) -> None:
        """Initialises a density for each channel."""
        super().__init__(latent_shape)
        self.density = FactorizedDensity(latent_shape[0])

    def forward(self, y: Tensor) -> Measured:
        """Rounds latents (B, C, *S) and measures their bits."""
        noisy = with_noise(y) if self.training else y.round()
        found = _bits_of_channels(self.density, noisy)
        return Measured(self.values(y), found, torch.zeros_like(found))

    def values(self, y: Tensor) -> Tensor:
        """Rounds latents (B, C, *S); gradients pass straight."""
        return rounded(y)

    def to_symbols(self, y: Tensor) -> list[Tensor]:
        """Rounds latents (B, C, *S) to their one stream."""
        return [_symbols(y)]

    def from_symbols(self, streams: Sequence[Tensor]) -> Tensor:
        """Returns the latents (B, C, *S) of the one stream."""
        (symbols,) = streams
        return torch.unflatten(symbols.float(), 1, self.latent_shape)

    def table_numbers(self, decoded: Sequence[Tensor], rows: int) -> Tensor:
        """Returns the table of each symbol, which is that of its channel."""
        return _channel_numbers(self.latent_shape, rows)

    def code_tables(self) -> list[IntTable]:
        """Returns a table for each channel."""
        return _tables_of(self.density)


class HyperPrior(Prior):
    """Predicts the scale of each number from a hyper-latent that is coded first, and its mean.

    Source: Balle et al. 2018, arXiv:1802.01436, section 3; with means Minnen, Balle & Toderici
    2018, "Joint Autoregressive and Hierarchical Priors for Learned Image Compression",
    arXiv:1809.02736, section 3, without its autoregressive part.
    """

    STREAMS: ClassVar[int] = 2

    def __init__(
        self, latent_shape: Shape, hyper_channels: int, hidden: int, *, has_means: bool
    ) -> None:
        """Initialises the net that makes the hyper-latent, and the one that reads it.

        Args:
            latent_shape: The shape of a latent, (C,) or (C, h, w).
            hyper_channels: The channels of the hyper-latent. Of a map, each of its sides is 4
                times smaller.
            hidden: The width of the layers on either side.
            has_means: Whether means are predicted too.
        """
        super().__init__(latent_shape)
        self.has_means = has_means
        channels, *sides = latent_shape
        self.hyper_shape: Shape = (hyper_channels, *[-(-side // _MAP_STRIDE) for side in sides])
        build = _map_layers if sides else _vector_layers
        outputs = channels * (2 if has_means else 1)
        self.analysis, self.synthesis = build(channels, hyper_channels, hidden, outputs)
        self.density = FactorizedDensity(hyper_channels, initial_scale=_FIRST_HYPER_SCALE)
        self._is_remembering = False
        self._remembered: tuple[Tensor, tuple[Tensor, Tensor]] | None = None

    @contextmanager
    def remembering(self) -> Iterator[None]:
        """Within it, the same hyper-latent is not evaluated twice; no weight may change."""
        self._is_remembering = True
        try:
            yield
        finally:
            self._is_remembering, self._remembered = False, None

    def forward(self, y: Tensor) -> Measured:
        """Rounds latents (B, C, *S) and measures their bits and those of the hyper-latent."""
        z = self._hyper_latent(y)
        means, raw_scales = self._parted(self._synthesised(z))
        off = y - means
        noisy = with_noise(off) if self.training else off.round()
        scales = functional.softplus(raw_scales - _SHIFT)
        side = _bits_of_channels(self.density, with_noise(z) if self.training else z.round())
        return Measured(
            rounded(off) + means, bits(normal_likelihood(noisy, scales).flatten(1)), side
        )

    def values(self, y: Tensor) -> Tensor:
        """Rounds what latents (B, C, *S) differ by from the means; gradients pass straight."""
        if not self.has_means:
            return rounded(y)
        means, _ = self._parted(self._synthesised(self._hyper_latent(y)))
        return rounded(y - means) + means

    def to_symbols(self, y: Tensor) -> list[Tensor]:
        """Rounds latents (B, C, *S) to the streams of the hyper-latent and of the latent."""
        hyper = _symbols(self._hyper_latent(y))
        means, _ = self._predicted(hyper)
        return [hyper, _symbols(y - (means / 2**PLACES).to(y))]

    def from_symbols(self, streams: Sequence[Tensor]) -> Tensor:
        """Returns the latents (B, C, *S) that both streams stand for."""
        hyper, symbols = streams
        means, _ = self._predicted(hyper)
        off: Tensor = torch.unflatten(symbols, 1, self.latent_shape)
        found: Tensor = off.float() + (means / 2**PLACES).to(off.device, torch.float32)
        return found

    def table_numbers(self, decoded: Sequence[Tensor], rows: int) -> Tensor:
        """Returns the table of each symbol: of the hyper-latent by channel, else by its scale."""
        if not decoded:
            return _channel_numbers(self.hyper_shape, rows)
        _, raw_scales = self._predicted(decoded[0])
        numbers = torch.bucketize(
            raw_scales.contiguous(), torch.from_numpy(scale_bounds()), right=True
        )
        return (numbers + self.hyper_shape[0]).flatten(1)

    def code_tables(self) -> list[IntTable]:
        """Returns a table for each channel of the hyper-latent, and one for each scale."""
        return [*_tables_of(self.density), *map(_normal_table, range(_SCALES))]

    def _hyper_latent(self, y: Tensor) -> Tensor:
        # Of the logarithm, since scales differ by hundreds; with the sign, which tells means.
        magnitude = y.abs().log1p()
        found: Tensor = self.analysis(magnitude * y.sign() if self.has_means else magnitude)
        hyper: Tensor = found.to(y.dtype)
        return hyper

    def _synthesised(self, z: Tensor) -> Tensor:
        """Returns what is predicted from a hyper-latent that is rounded first, in float32."""
        predicted: Tensor = self.synthesis(rounded(z)).float()
        return predicted

    def _predicted(self, hyper: Tensor) -> tuple[Tensor, Tensor]:
        """Returns means and raw scales (B, C, *S) with `PLACES` binary places, exactly."""
        remembered = self._remembered
        if remembered is not None and torch.equal(remembered[0], hyper):
            return remembered[1]
        z = torch.unflatten(hyper, 1, self.hyper_shape)
        found = self._parted(evaluate(self.synthesis, z))
        if self._is_remembering:
            self._remembered = hyper.clone(), found
        return found

    def _parted(self, predicted: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the means, 0 if there are none, and the raw scales of as many places as y has."""
        for axis, side in enumerate(self.latent_shape[1:], start=2):
            predicted = predicted.narrow(axis, 0, side)
        if not self.has_means:
            return torch.zeros_like(predicted), predicted
        means, raw_scales = predicted.chunk(2, dim=1)
        return means, raw_scales


def _vector_layers(
    channels: int, hyper_channels: int, hidden: int, outputs: int
) -> tuple[nn.Sequential, nn.Sequential]:
    analysis = nn.Sequential(
        nn.Linear(channels, hidden), nn.GELU(), nn.Linear(hidden, hyper_channels)
    )
    synthesis = nn.Sequential(
        nn.Linear(hyper_channels, hidden), nn.ReLU(), nn.Linear(hidden, outputs)
    )
    return analysis, synthesis


def _map_layers(
    channels: int, hyper_channels: int, hidden: int, outputs: int
) -> tuple[nn.Sequential, nn.Sequential]:
    analysis = nn.Sequential(
        nn.Conv2d(channels, hidden, 1),
        nn.LeakyReLU(0.1),
        nn.Conv2d(hidden, hidden, 3, stride=2, padding=1),
        nn.LeakyReLU(0.1),
        nn.Conv2d(hidden, hyper_channels, 3, stride=2, padding=1),
    )
    doubled = (nn.Conv2d(hidden, 4 * hidden, 1), nn.PixelShuffle(2), nn.ReLU())
    again = (nn.Conv2d(hidden, 4 * hidden, 1), nn.PixelShuffle(2), nn.ReLU())
    synthesis = nn.Sequential(
        *(nn.Conv2d(hyper_channels, hidden, 3, padding=1), nn.ReLU()),
        *doubled,
        *(nn.Conv2d(hidden, hidden, 3, padding=1), nn.ReLU()),
        *again,
        *(nn.Conv2d(hidden, hidden, 3, padding=1), nn.ReLU()),
        nn.Conv2d(hidden, outputs, 1),
    )
    return analysis, synthesis


def _symbols(y: Tensor) -> Tensor:
    return y.round().flatten(1).long()


def _bits_of_channels(density: FactorizedDensity, y: Tensor) -> Tensor:
    """Returns the bits of each row of (B, C, *S), whose channels have a density each, (B,)."""
    by_channel = y.movedim(1, -1)
    found = bits(density.likelihood(by_channel.reshape(-1, y.shape[1])))
    return found.reshape(len(y), -1).sum(dim=1)


def _channel_numbers(shape: Shape, rows: int) -> Tensor:
    channels = torch.arange(shape[0]).repeat_interleave(prod(shape[1:]))
    return channels.expand(rows, -1)


def _tables_of(density: FactorizedDensity) -> list[IntTable]:
    """Returns a table for each channel, of the numbers that are not all but impossible."""
    channels = density.matrices[0].shape[0]
    numbers = torch.arange(-_FARTHEST, _FARTHEST + 1, dtype=torch.float32)
    with torch.no_grad():
        y = numbers.to(density.matrices[0].device)[:, None].expand(-1, channels)
        chances = density.likelihood(y).cpu().double().numpy()
    tables = []
    for chance in chances.T:
        listed = np.flatnonzero(chance > 2e-6)
        first, last = (listed[0], listed[-1]) if len(listed) else (_FARTHEST, _FARTHEST)
        tables.append(IntTable.of_weights(int(first) - _FARTHEST, chance[first : last + 1]))
    return tables


def scale_bounds() -> NDArray[np.float64]:
    """Returns from which raw scale on each table but the first is used, shape (63,).

    They are whole numbers with `PLACES` binary places, halfway between two scales in logarithms. No
    exact value is near a half, so that they are rounded to the same numbers everywhere.
    """
    between = LEAST_SCALE * np.exp((np.arange(_SCALES - 1) + 0.5) / _SCALES_PER_E)
    bounds: NDArray[np.float64] = np.round((_SHIFT + np.log(np.expm1(between))) * 2**PLACES)
    return bounds


def _normal_table(number: int) -> IntTable:
    scale = LEAST_SCALE * np.exp(number / _SCALES_PER_E)
    reach = max(2, int(np.ceil(_REACH * scale)))
    numbers = torch.arange(-reach, reach + 1, dtype=torch.float64)
    chances = normal_likelihood(numbers, torch.full_like(numbers, float(scale)))
    return IntTable.of_weights(-reach, chances.numpy())
