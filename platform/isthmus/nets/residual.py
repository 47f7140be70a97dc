"""A residual net with a dense bottleneck; for images of any size and channel count.

Shapes: at level l of the net the image is 2**l times smaller.
"""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import nn

from isthmus.nets._levels import (
    CropTo,
    PadTo,
    Shortcut,
    WidthMultiplier,
    channels_for,
    group_norm,
    multiplied,
    padded,
)
from isthmus.nets._net import Activation, Net
from isthmus.nets._picture import ToPicture
from isthmus.spec import Sizes, SpecModel
from isthmus.types import DataKind

Channels = Annotated[int, Field(ge=1, le=4096)]

_FIRST_CHANNELS = 32
_MOST_CHANNELS = 128


class Residual(Net):
    """A ResNet: each level halves the image, and then applies residual blocks.

    Blocks use group normalisation, of each row alone; nothing is normalised between the blocks, so
    that brightness and contrast reach the latent. The decoder mirrors the encoder.

    Source: He et al. 2015, "Deep Residual Learning for Image Recognition", arXiv:1512.03385; the
    blocks in the order of He et al. 2016, "Identity Mappings in Deep Residual Networks",
    arXiv:1603.05027, figure 4e; Wu & He 2018, "Group Normalization", arXiv:1803.08494.
    """

    class Config(SpecModel):
        """The levels and their blocks."""

        channels: tuple[Channels, ...] | Literal["auto"] = "auto"
        """Channels of each level; each halves the image. `auto`: 32, 64 and then 128, until the
        shorter side is 4 to 7 pixels."""
        width_multiplier: WidthMultiplier = 1.0
        """The factor of the automatic channels."""
        blocks: Annotated[int, Field(ge=1, le=64)] = 1
        """Residual blocks of two convolutions at each level."""
        activation: Activation = Activation.GELU
        """The nonlinearity before each convolution."""

    SUMMARY: ClassVar[str] = "a ResNet down to a dense bottleneck; images that conv blurs"
    SIZES: ClassVar[Sizes] = Sizes.of(
        small={"width_multiplier": 0.5},
        large={"width_multiplier": 2.0, "blocks": 2},
    )
    KINDS: ClassVar[tuple[DataKind, ...]] = (DataKind.IMAGES,)

    def encoder(self, outputs: int) -> nn.Module:
        """Returns a module that maps (B, C, H, W) to (B, outputs)."""
        channels = self._channels()
        layers: list[nn.Module] = [
            PadTo(padded(self.row_shape[1:], len(channels))),
            nn.Conv2d(self.row_shape[0], channels[0], 3, padding=1),
        ]
        for before, after in pairwise((channels[0], *channels)):
            layers.append(nn.Conv2d(before, after, 3, stride=2, padding=1))
            layers += self._blocks(after)
        layers += [self.options.activation.module(), nn.Flatten()]
        return nn.Sequential(*layers, nn.Linear(prod(self._smallest_shape()), outputs))

    def decoder(self, inputs: int) -> nn.Module:
        """Returns a module that maps (B, inputs) to (B, C, H, W)."""
        channels = tuple(reversed(self._channels()))
        layers: list[nn.Module] = [
            nn.Linear(inputs, prod(self._smallest_shape())),
            nn.Unflatten(1, self._smallest_shape()),
        ]
        for before, after in pairwise((*channels, channels[-1])):
            layers += self._blocks(before)
            # Upsampling before a convolution avoids checkerboards (Odena et al. 2016, Distill).
            layers += [nn.Upsample(scale_factor=2), nn.Conv2d(before, after, 3, padding=1)]
        layers += [
            self.options.activation.module(),
            ToPicture(channels[-1], self.row_shape[0]),
        ]
        return nn.Sequential(*layers, CropTo(self.row_shape[1:]))

    def _blocks(self, channels: int) -> list[nn.Module]:
        return [
            Shortcut(
                group_norm(channels),
                self.options.activation.module(),
                nn.Conv2d(channels, channels, 3, padding=1),
                group_norm(channels),
                self.options.activation.module(),
                nn.Conv2d(channels, channels, 3, padding=1),
            )
            for _ in range(self.options.blocks)
        ]

    def _channels(self) -> tuple[int, ...]:
        if self.options.channels != "auto":
            return tuple(self.options.channels)
        first, most = (
            multiplied(each, self.options.width_multiplier)
            for each in (_FIRST_CHANNELS, _MOST_CHANNELS)
        )
        return channels_for(min(self.row_shape[1:]), first, most)

    def _smallest_shape(self) -> tuple[int, ...]:
        levels = len(self._channels())
        sides = (side // 2**levels for side in padded(self.row_shape[1:], levels))
        return (self._channels()[-1], *sides)
