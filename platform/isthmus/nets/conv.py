"""Strided convolutions with a dense bottleneck; for images of any size and channel count.

Shapes: x_BCHW a batch of images; at level l of the net the image is 2**l times smaller.
"""

from __future__ import annotations

from itertools import pairwise
from math import ceil, prod
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from isthmus.nets._net import Activation, Net
from isthmus.spec import SpecModel
from isthmus.types import DataKind

Channels = Annotated[int, Field(ge=1, le=4096)]

# Where `auto` stops halving: below this many pixels a side there is little left to convolve.
_SMALLEST_SIDE = 4
_FIRST_CHANNELS = 32
_MOST_CHANNELS = 256


class Conv(Net):
    """Each level halves the image and widens its channels; the decoder mirrors the encoder.

    Sizes that do not halve evenly are padded on the way in and cropped on the way out.
    """

    class Config(SpecModel):
        """Levels and what stands between them."""

        channels: tuple[Channels, ...] | Literal["auto"] = "auto"
        """Channels of each level; each halves the image. `auto`: 32, 64, ... up to 256, until
        the shorter side is 4 to 7 pixels."""
        activation: Activation = Activation.GELU
        """The nonlinearity after each convolution."""
        hidden: Annotated[int, Field(ge=0, le=65_536)] = 256
        """Width of a dense layer between the convolutions and the latent; 0 for none."""

    SUMMARY: ClassVar[str] = "convolutions down to a dense bottleneck; images"
    KINDS: ClassVar[tuple[DataKind, ...]] = (DataKind.IMAGES,)

    def encoder(self, outputs: int) -> nn.Module:
        """(B, C, H, W) -> (B, outputs)."""
        stem = self._channels()[0]
        layers: list[nn.Module] = [
            _PadTo(self._padded_size()),
            nn.Conv2d(self.row_shape[0], stem, 3, padding=1),
            self.options.activation.module(),
        ]
        for before, after in pairwise((stem, *self._channels())):
            layers += [
                nn.Conv2d(before, after, 3, stride=2, padding=1),
                self.options.activation.module(),
            ]
        layers.append(nn.Flatten())
        return nn.Sequential(*layers, *self._dense(prod(self._smallest_shape()), outputs))

    def decoder(self, inputs: int) -> nn.Module:
        """(B, inputs) -> (B, C, H, W)."""
        channels = tuple(reversed(self._channels()))
        layers = self._dense(inputs, prod(self._smallest_shape()))
        layers += [self.options.activation.module(), nn.Unflatten(1, self._smallest_shape())]
        for before, after in pairwise((*channels, channels[-1])):
            # Kernel 4 at stride 2: every output pixel is made from equally many inputs, which
            # keeps the checkerboard of odd kernels away (Odena et al. 2016, Distill).
            layers += [
                nn.ConvTranspose2d(before, after, 4, stride=2, padding=1),
                self.options.activation.module(),
            ]
        layers.append(nn.Conv2d(channels[-1], self.row_shape[0], 3, padding=1))
        return nn.Sequential(*layers, _CropTo((self.row_shape[1], self.row_shape[2])))

    def _channels(self) -> tuple[int, ...]:
        if self.options.channels != "auto":
            return tuple(self.options.channels)
        side = min(self.row_shape[1:])
        levels = 1
        while side // 2 ** (levels + 1) >= _SMALLEST_SIDE:
            levels += 1
        return tuple(min(_FIRST_CHANNELS * 2**level, _MOST_CHANNELS) for level in range(levels))

    def _padded_size(self) -> tuple[int, int]:
        step = 2 ** len(self._channels())
        height, width = (step * ceil(side / step) for side in self.row_shape[1:])
        return height, width

    def _smallest_shape(self) -> tuple[int, int, int]:
        step = 2 ** len(self._channels())
        height, width = self._padded_size()
        return self._channels()[-1], height // step, width // step

    def _dense(self, inputs: int, outputs: int) -> list[nn.Module]:
        hidden = self.options.hidden
        if not hidden:
            return [nn.Linear(inputs, outputs)]
        return [
            nn.Linear(inputs, hidden),
            self.options.activation.module(),
            nn.Linear(hidden, outputs),
        ]


class _PadTo(nn.Module):
    """Repeats the last row and column until the image has the given height and width."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, x_BCHW: Tensor) -> Tensor:
        below, right = self.size[0] - x_BCHW.shape[2], self.size[1] - x_BCHW.shape[3]
        if not below and not right:
            return x_BCHW
        return functional.pad(x_BCHW, (0, right, 0, below), mode="replicate")


class _CropTo(nn.Module):
    """Drops the rows and columns that padding had added."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return x_BCHW[:, :, : self.size[0], : self.size[1]]
