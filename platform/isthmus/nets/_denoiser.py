"""The base of the denoising nets: they estimate the noise and subtract it from the row.

Shapes: S stands for the sides of a row, (H, W) of an image or (T,) of a window; u is `unshuffle`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from isthmus.nets._levels import CropTo, PadTo
from isthmus.nets._noise_level import noise_level
from isthmus.nets._shuffles import Shuffle, Unshuffle
from isthmus.nets._skips import SkipNet, joined, parted
from isthmus.spec import SpecModel
from isthmus.types import DataKind, Shape


class DenoiserConfig(SpecModel):
    """The options that every denoising net has."""

    unshuffle: Literal[1, 2, 4] = 2
    """The factor by which each side is smaller where the net computes: its pixels or steps become
    channels first, and pixels again at the end. 2 takes about a quarter of the time of 1 for
    images, and sees twice as far."""
    residual: bool = True
    """Whether the net estimates the noise, which is then taken from the row; otherwise it
    estimates the clean row."""
    bias: bool = False
    """Whether layers add constants. Without, a net that has learned one strength of noise copes
    with others (Mohan et al. 2020, "Robust and Interpretable Blind Image Denoising via Bias-Free
    Convolutional Neural Networks", arXiv:1906.05478)."""
    noise_level: Literal["none", "estimated"] = "none"
    """Whether the net is told the standard deviation of the noise, estimated from the whole row,
    as a further channel (Zhang, Zuo & Zhang 2018, "FFDNet", arXiv:1710.04026)."""


class Denoiser(SkipNet):
    """A net of convolutions and ReLU, whose layers `halves` builds for the unshuffled row."""

    KINDS: ClassVar[tuple[DataKind, ...]] = (DataKind.IMAGES, DataKind.SERIES, DataKind.AUDIO)

    @abstractmethod
    def layer_map_shapes(self) -> list[Shape]:
        """Returns the shape (C, *S) of each map that the first half's layers hand over."""

    @abstractmethod
    def first_half(self, channels: int) -> nn.Module:
        """Returns a module that maps (B, channels, *S / u) to a list of the maps."""

    @abstractmethod
    def second_half(self, channels: int) -> nn.Module:
        """Returns a module that maps the list of the maps to (B, channels, *S / u)."""

    def encoder(self, outputs: int) -> nn.Module:
        """Returns a module that maps (B, C, *S) to (B, outputs), of `fixed_latent_dim` size."""
        self.check(outputs)
        is_told = self.options.noise_level == "estimated"
        return _Encoder(
            PadTo(self.padded()),
            Unshuffle(self.options.unshuffle),
            self.first_half(self.unshuffled_channels() + is_told),
            is_told=is_told,
            keeps_row=self.options.residual,
        )

    def decoder(self, inputs: int) -> nn.Module:
        """Returns a module that maps (B, inputs), of `fixed_latent_dim` size, to (B, C, *S)."""
        self.check(inputs)
        return _Decoder(
            self.map_shapes(),
            self.second_half(self.unshuffled_channels()),
            Shuffle(self.options.unshuffle),
            CropTo(self.row_shape[1:]),
            is_residual=self.options.residual,
        )

    def map_shapes(self) -> list[Shape]:
        """Returns the shape of the row, which residual learning needs, and those of the maps."""
        row = (self.row_shape[0], *self.padded())
        return [*([row] if self.options.residual else []), *self.layer_map_shapes()]

    def padded(self) -> Shape:
        """Returns the sides of a row, each rounded up to the multiple that the net needs."""
        step = self.multiple()
        return tuple(-(-side // step) * step for side in self.row_shape[1:])

    def unshuffled(self) -> Shape:
        """Returns the sides of the row where the layers compute at full size."""
        return tuple(side // self.options.unshuffle for side in self.padded())

    def unshuffled_channels(self) -> int:
        """Returns the channels of the row there."""
        axes = len(self.row_shape) - 1
        return int(self.row_shape[0] * self.options.unshuffle**axes)

    def convolution(self, before: int, after: int) -> nn.Module:
        """Returns a convolution with a kernel of 3 that keeps the size."""
        layer = (nn.Conv1d, nn.Conv2d)[len(self.row_shape) - 2]
        return layer(before, after, 3, padding=1, bias=self.options.bias)


class _Encoder(nn.Module):
    """The first half of the layers, behind what the row needs before; returns maps as a vector."""

    def __init__(
        self, pad: PadTo, unshuffle: Unshuffle, layers: nn.Module, *, is_told: bool, keeps_row: bool
    ) -> None:
        super().__init__()
        self.pad = pad
        self.unshuffle = unshuffle
        self.layers = layers
        self._is_told = is_told
        self._keeps_row = keeps_row

    def context(self, x: Tensor) -> Tensor | None:
        """Returns what the layers are told of whole rows (B, C, *S): the noise's level, (B,)."""
        return noise_level(x) if self._is_told else None

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Maps (B, C, *S) to (B, D); the context is that of the whole rows `x` are parts of."""
        row = self.pad(x)
        image = self.unshuffle(row)
        if self._is_told:
            level_B = noise_level(x) if context is None else context
            level_B1S = level_B.reshape(-1, *[1] * (x.ndim - 1))
            image = torch.cat([image, level_B1S.expand(-1, -1, *image.shape[2:])], dim=1)
        maps = self.layers(image)
        return joined([row, *maps] if self._keeps_row else maps)


class _Decoder(nn.Module):
    """The second half of the layers, whose output is taken from the row or is the row."""

    def __init__(
        self,
        map_shapes: Sequence[Shape],
        layers: nn.Module,
        shuffle: Shuffle,
        crop: CropTo,
        *,
        is_residual: bool,
    ) -> None:
        super().__init__()
        self.map_shapes = map_shapes
        self.layers = layers
        self.shuffle = shuffle
        self.crop = crop
        self._is_residual = is_residual

    def forward(self, z_BD: Tensor) -> Tensor:
        """Maps (B, D) to (B, C, *S)."""
        maps = parted(z_BD, self.map_shapes)
        row = maps.pop(0) if self._is_residual else None
        made = self.shuffle(self.layers(maps))
        cropped: Tensor = self.crop(made if row is None else row - made)
        return cropped
