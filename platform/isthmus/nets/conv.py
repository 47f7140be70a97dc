"""Strided convolutions with a dense or a spatial bottleneck; for images of any size.

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
from isthmus.nets._net import Activation, Net
from isthmus.nets._picture import ToPicture
from isthmus.spec import Sizes, SpecModel
from isthmus.types import DataKind

Channels = Annotated[int, Field(ge=1, le=4096)]

_FIRST_CHANNELS = 32
_MOST_CHANNELS = 256


class Conv(Net):
    """A convolutional net: each level halves the image and widens its channels.

    The decoder mirrors the encoder. Sizes that cannot be halved evenly are padded in the encoder
    and cropped in the decoder.

    Source: Masci et al. 2011, "Stacked Convolutional Auto-Encoders for Hierarchical Feature
    Extraction", ICANN; strides in place of pooling as in Radford et al. 2015, arXiv:1511.06434.
    """

    class Config(SpecModel):
        """The levels and the bottleneck."""

        channels: tuple[Channels, ...] | Literal["auto"] = "auto"
        """Channels of each level; each halves the image. `auto`: 32, 64, ... up to 256, until
        the shorter side is 4 to 7 pixels."""
        width_multiplier: WidthMultiplier = 1.0
        """The factor of the automatic channels."""
        activation: Activation = Activation.GELU
        """The nonlinearity after each convolution."""
        hidden: Annotated[int, Field(ge=0, le=65_536)] = 256
        """Width of a dense layer between the convolutions and the latent; 0 for none. A spatial
        bottleneck has none."""
        bottleneck: Literal["dense", "spatial"] = "dense"
        """`dense`: each value of the latent depends on the whole image. `spatial`: the latent is a
        small image, flattened pixel by pixel from the top left, with the channels of a pixel
        together; `latent_dim` is then a multiple of the pixels, the nearest one if it is auto."""

    SUMMARY: ClassVar[str] = "convolutions down to a dense or spatial bottleneck; images"
    SIZES: ClassVar[Sizes] = Sizes.of(
        small={"width_multiplier": 0.5, "hidden": 128},
        large={"width_multiplier": 2.0, "hidden": 512},
    )
    KINDS: ClassVar[tuple[DataKind, ...]] = (DataKind.IMAGES,)

    def nearest_latent_dim(self, wanted: int) -> int:
        """Returns the nearest size that a spatial bottleneck can have."""
        if self.options.bottleneck == "dense":
            return wanted
        _, height, width = self._smallest_shape()
        places = height * width
        return places * max(1, round(wanted / places))

    def refusal(self, latent_dim: int) -> str | None:
        """Returns why a spatial bottleneck cannot have this size; `None` if it can.

        It has equally many values at each of its pixels.
        """
        _, height, width = self._smallest_shape()
        places = height * width
        if self.options.bottleneck == "dense" or latent_dim % places == 0:
            return None
        below = latent_dim - latent_dim % places
        choices = f"{below} or {below + places}" if below else f"{places} or {2 * places}"
        return (
            f"bottleneck: spatial has {height} x {width} places, and latent_dim={latent_dim} is "
            f"no multiple of {places}; use {choices}, or bottleneck: dense"
        )

    def encoder(self, outputs: int) -> nn.Module:
        """Returns a module that maps (B, C, H, W) to (B, outputs)."""
        return self.encoder_of(outputs, 1)

    def encoder_of(self, latent_dim: int, outputs_per_latent: int) -> nn.Module:
        """Returns a module that maps (B, C, H, W) to (B, latent_dim * outputs_per_latent)."""
        stem = self._channels()[0]
        layers: list[nn.Module] = [
            PadTo(padded(self.row_shape[1:], len(self._channels()))),
            nn.Conv2d(self.row_shape[0], stem, 3, padding=1),
            self.options.activation.module(),
        ]
        for before, after in pairwise((stem, *self._channels())):
            layers += [
                nn.Conv2d(before, after, 3, stride=2, padding=1),
                self.options.activation.module(),
            ]
        outputs = latent_dim * outputs_per_latent
        if self.options.bottleneck == "spatial":
            channels, *places = self._smallest_shape()
            maps = nn.Conv2d(channels, outputs // prod(places), 1)
            return nn.Sequential(*layers, maps, _Flatten(outputs_per_latent))
        layers.append(nn.Flatten())
        return nn.Sequential(*layers, *self._dense(prod(self._smallest_shape()), outputs))

    def decoder(self, inputs: int) -> nn.Module:
        """Returns a module that maps (B, inputs) to (B, C, H, W)."""
        channels = tuple(reversed(self._channels()))
        layers = self._from_latent(inputs)
        for before, after in pairwise((*channels, channels[-1])):
            # Kernel 4 at stride 2: every output pixel is made from equally many inputs, which
            # avoids the checkerboard artefacts of odd kernels (Odena et al. 2016, Distill).
            layers += [
                nn.ConvTranspose2d(before, after, 4, stride=2, padding=1),
                self.options.activation.module(),
            ]
        layers.append(ToPicture(channels[-1], self.row_shape[0]))
        return nn.Sequential(*layers, CropTo(self.row_shape[1:]))

    def _from_latent(self, inputs: int) -> list[nn.Module]:
        """Returns layers from the latent to the smallest image, (B, inputs) to (B, c, h, w)."""
        channels, height, width = smallest = self._smallest_shape()
        activation = self.options.activation.module()
        if self.options.bottleneck == "spatial":
            maps = nn.Conv2d(inputs // (height * width), channels, 3, padding=1)
            return [_Unflatten(height, width), maps, activation]
        return [*self._dense(inputs, prod(smallest)), activation, nn.Unflatten(1, smallest)]

    def _channels(self) -> tuple[int, ...]:
        if self.options.channels != "auto":
            return tuple(self.options.channels)
        first, most = (
            multiplied(each, self.options.width_multiplier)
            for each in (_FIRST_CHANNELS, _MOST_CHANNELS)
        )
        return channels_for(min(self.row_shape[1:]), first, most)

    def _smallest_shape(self) -> tuple[int, int, int]:
        levels = len(self._channels())
        height, width = (side // 2**levels for side in padded(self.row_shape[1:], levels))
        return self._channels()[-1], height, width

    def _dense(self, inputs: int, outputs: int) -> list[nn.Module]:
        hidden = self.options.hidden
        if not hidden:
            return [nn.Linear(inputs, outputs)]
        return [
            nn.Linear(inputs, hidden),
            self.options.activation.module(),
            nn.Linear(hidden, outputs),
        ]


class _Flatten(nn.Module):
    """Flattens images to latents pixel by pixel, each of several latents separately, in order."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.maps = maps

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Maps (B, maps * c, h, w) to (B, maps * h * w * c)."""
        return torch.unflatten(x_BCHW, 1, (self.maps, -1)).permute(0, 1, 3, 4, 2).flatten(1)


class _Unflatten(nn.Module):
    """Restores images from latents, pixel by pixel."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.size = (height, width)

    def forward(self, z_BD: Tensor) -> Tensor:
        """Maps (B, h * w * c) to (B, c, h, w)."""
        return torch.unflatten(z_BD, 1, (*self.size, -1)).permute(0, 3, 1, 2)
