"""The U-Net of the paper, with narrow skip connections at every size.

Shapes: x_BCHW a batch of images; at level l of the net the image is 2**l times smaller.
"""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from isthmus.nets._levels import CropTo, PadTo, WidthMultiplier, channels_for, multiplied, padded
from isthmus.nets._net import Activation
from isthmus.nets._skips import SkipNet, joined, parted
from isthmus.spec import Sizes, SpecModel
from isthmus.types import DataKind, Shape

Channels = Annotated[int, Field(ge=1, le=4096)]

_CONVOLUTIONS = 2
_FIRST_CHANNELS = 32
_MOST_CHANNELS = 128
_MOST_LEVELS = 5


class Unet(SkipNet):
    """A U-Net: halves the image and doubles it again, with skip connections at each size.

    The latent is one vector of the smallest image and all skip connections, so that encoder and
    decoder can be used apart. It is larger than the row and no bottleneck: only variants whose
    target differs from their input learn anything. Unlike in the paper, skip connections are
    narrowed to a few channels, which keeps the latent at some ten times the size of a grey image.

    Source: Ronneberger, Fischer & Brox 2015, "U-Net: Convolutional Networks for Biomedical Image
    Segmentation", arXiv:1505.04597, section 2; padded, so that the output is as large as the input.
    """

    class Config(SpecModel):
        """The image sizes and the skip connections."""

        channels: tuple[Channels, ...] | Literal["auto"] = Field(default="auto", min_length=2)
        """Channels at each size, from full size on, each half the one before. `auto`: 32, 64 and
        then 128, until the shorter side is 4 to 7 pixels, in at most five sizes."""
        width_multiplier: WidthMultiplier = 1.0
        """The factor of the automatic channels."""
        skip_channels: Annotated[int, Field(ge=0, le=4096)] = 8
        """Channels of the skip connection at each size; 0 for all, as in the paper."""
        activation: Activation = Activation.GELU
        """The nonlinearity after each convolution; the paper's is relu."""

    SUMMARY: ClassVar[str] = "the classic one, with narrow skip connections; for denoising images"
    SIZES: ClassVar[Sizes] = Sizes.of(
        small={"width_multiplier": 0.5},
        large={"width_multiplier": 2.0},
    )
    KINDS: ClassVar[tuple[DataKind, ...]] = (DataKind.IMAGES,)

    def settled(self) -> Config:
        """Returns the options with the channels that `auto` is for such images."""
        settled: Unet.Config = self.options.model_copy(update={"channels": self._channels()})
        return settled

    def multiple(self) -> int:
        """Returns how many times smaller the smallest image is."""
        return int(2 ** (len(self._channels()) - 1))

    def receptive_radius(self) -> int:
        """Returns how far a pixel sees: two convolutions a size, on the way down and up."""
        smallest = self.multiple()
        larger = smallest - 1  # the sum of the scales of all sizes but the smallest
        return _CONVOLUTIONS * (2 * larger + smallest) + smallest - 1

    def largest_map(self) -> int:
        """Returns the size of the joined maps at full size, of which each has that many pixels."""
        first = self._channels()[0]
        sides = padded(self.row_shape[1:], len(self._channels()) - 1)
        return (first + (self.options.skip_channels or first)) * prod(sides)

    def map_shapes(self) -> list[Shape]:
        """Returns the shapes of the skip connections from full size on, then of the last image."""
        *skips, smallest = self._channels()
        maps = [*(self.options.skip_channels or width for width in skips), smallest]
        height, width = padded(self.row_shape[1:], len(skips))
        return [(count, height >> level, width >> level) for level, count in enumerate(maps)]

    def encoder(self, outputs: int) -> nn.Module:
        """Returns a module that maps (B, C, H, W) to (B, outputs), of `fixed_latent_dim` size."""
        self.check(outputs)
        channels = self._channels()
        widths = list(pairwise((self.row_shape[0], *channels)))
        return _Encoder(
            PadTo(padded(self.row_shape[1:], len(channels) - 1)),
            sizes=[self._convolutions(*pair) for pair in widths],
            narrows=[
                nn.Conv2d(width, self.options.skip_channels, 1)
                if self.options.skip_channels
                else nn.Identity()
                for width in channels[:-1]
            ],
        )

    def decoder(self, inputs: int) -> nn.Module:
        """Returns a module that maps (B, inputs), of `fixed_latent_dim` size, to (B, C, H, W)."""
        self.check(inputs)
        channels = self._channels()
        widths = [(below, width) for width, below in pairwise(channels)]
        return _Decoder(
            self.map_shapes(),
            ups=[nn.ConvTranspose2d(below, width, 2, stride=2) for below, width in widths],
            sizes=[
                self._convolutions(width + (self.options.skip_channels or width), width)
                for _, width in widths
            ],
            last=nn.Sequential(
                nn.Conv2d(channels[0], self.row_shape[0], 1), CropTo(self.row_shape[1:])
            ),
        )

    def _channels(self) -> tuple[int, ...]:
        if self.options.channels != "auto":
            return tuple(self.options.channels)
        halvings = len(channels_for(min(self.row_shape[1:]), _FIRST_CHANNELS, _MOST_CHANNELS))
        sizes = min(halvings + 1, _MOST_LEVELS)
        channels = (min(_FIRST_CHANNELS * 2**size, _MOST_CHANNELS) for size in range(sizes))
        return tuple(multiplied(each, self.options.width_multiplier) for each in channels)

    def _convolutions(self, before: int, after: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(before, after, 3, padding=1),
            self.options.activation.module(),
            nn.Conv2d(after, after, 3, padding=1),
            self.options.activation.module(),
        )


class _Encoder(nn.Module):
    """The contracting path, which returns its maps as one vector."""

    def __init__(self, pad: PadTo, sizes: list[nn.Module], narrows: list[nn.Module]) -> None:
        super().__init__()
        self.pad = pad
        self.sizes = nn.ModuleList(sizes)
        self.narrows = nn.ModuleList(narrows)
        self.halve = nn.MaxPool2d(2)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Maps (B, C, H, W) to (B, D): skips from full size on, then the smallest image."""
        *larger, smallest = self.sizes
        image, maps = self.pad(x_BCHW), []
        for size, narrow in zip(larger, self.narrows, strict=True):
            image = size(image)
            maps.append(narrow(image))
            image = self.halve(image)
        maps.append(smallest(image))
        return joined(maps)


class _Decoder(nn.Module):
    """The expanding path, which takes that vector."""

    def __init__(
        self,
        map_shapes: list[Shape],
        ups: list[nn.Module],
        sizes: list[nn.Module],
        last: nn.Module,
    ) -> None:
        super().__init__()
        self.map_shapes = map_shapes
        self.ups = nn.ModuleList(ups)
        self.sizes = nn.ModuleList(sizes)
        self.last = last

    def forward(self, z_BD: Tensor) -> Tensor:
        """Maps (B, D) to (B, C, H, W)."""
        *skips, image = parted(z_BD, self.map_shapes)
        levels = list(zip(skips, self.ups, self.sizes, strict=True))
        for skip, up, size in reversed(levels):
            image = size(torch.cat([skip, up(image)], dim=1))
        x: Tensor = self.last(image)
        return x
