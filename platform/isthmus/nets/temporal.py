"""A temporal convolutional net with a dense bottleneck; for windows of any length.

Shapes: at level l of the net the window is stride**l times shorter.
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
from isthmus.nets._shuffles import Shuffle
from isthmus.spec import Sizes, SpecModel
from isthmus.types import DataKind

Channels = Annotated[int, Field(ge=1, le=4096)]

_FIRST_CHANNELS = 32
_MOST_CHANNELS = 128
# From this many steps on `auto` has stride 4, because the longest levels take most of the time.
_LONG_WINDOW = 256


class Temporal(Net):
    """A TCN: each level shortens the window, then applies residual blocks of dilated convolutions.

    Unlike in the paper, the convolutions look ahead as well as back, because the whole window is
    known before it is encoded. Blocks use group normalisation in place of the paper's weight
    normalisation. The decoder mirrors the encoder.

    Source: Bai, Kolter & Koltun 2018, "An Empirical Evaluation of Generic Convolutional and
    Recurrent Networks for Sequence Modeling", arXiv:1803.01271, sections 3.2 and 3.3.
    """

    class Config(SpecModel):
        """The levels and their blocks."""

        channels: tuple[Channels, ...] | Literal["auto"] = "auto"
        """Channels of each level. `auto`: 32, 64 and then 128, while at least 4 steps are left."""
        width_multiplier: WidthMultiplier = 1.0
        """The factor of the automatic channels."""
        stride: Literal[2, 4, 8, "auto"] = "auto"
        """The factor by which each level is shorter than the one before. `auto`: 2, and 4 for
        windows of 256 steps and more."""
        blocks: Annotated[int, Field(ge=1, le=12)] = 2
        """Residual blocks of two convolutions at each level; the dilation of each is twice that
        of the one before, from 1."""
        kernel: Literal[3, 5, 7, 9] = 3
        """Kernel size of a block's dilated convolutions, in steps."""
        activation: Activation = Activation.GELU
        """The nonlinearity before each convolution."""
        dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
        """Dropout rate of a block's channels."""

    SUMMARY: ClassVar[str] = "dilated convolutions down to a dense bottleneck; series and audio"
    SIZES: ClassVar[Sizes] = Sizes.of(
        small={"width_multiplier": 0.5, "blocks": 1},
        large={"width_multiplier": 2.0, "blocks": 3},
    )
    KINDS: ClassVar[tuple[DataKind, ...]] = (DataKind.SERIES, DataKind.AUDIO)

    def encoder(self, outputs: int) -> nn.Module:
        """Returns a module that maps (B, C, T) to (B, outputs)."""
        channels = self._channels()
        stride = self._stride()
        layers: list[nn.Module] = [PadTo(padded(self.row_shape[1:], len(channels), stride))]
        for before, after in pairwise((self.row_shape[0], *channels)):
            layers.append(nn.Conv1d(before, after, 2 * stride, stride=stride, padding=stride // 2))
            layers += self._blocks(after)
        layers += [self.options.activation.module(), nn.Flatten()]
        return nn.Sequential(*layers, nn.Linear(prod(self._smallest_shape()), outputs))

    def decoder(self, inputs: int) -> nn.Module:
        """Returns a module that maps (B, inputs) to (B, C, T)."""
        layers: list[nn.Module] = [
            nn.Linear(inputs, prod(self._smallest_shape())),
            nn.Unflatten(1, self._smallest_shape()),
        ]
        stride, channels = self._stride(), self._channels()
        for before, after in pairwise(reversed(channels)):
            layers += self._blocks(before)
            # With a kernel of two strides, every step is made from equally many inputs.
            layers.append(
                nn.ConvTranspose1d(before, after, 2 * stride, stride=stride, padding=stride // 2)
            )
        layers += [
            *self._blocks(channels[0]),
            self.options.activation.module(),
            nn.Conv1d(channels[0], self.row_shape[0] * stride, 3, padding=1),
            Shuffle(stride),
        ]
        return nn.Sequential(*layers, CropTo(self.row_shape[1:]))

    def _blocks(self, channels: int) -> list[nn.Module]:
        return [
            Shortcut(*self._half_block(channels, 2**index), *self._half_block(channels, 2**index))
            for index in range(self.options.blocks)
        ]

    def _half_block(self, channels: int, dilation: int) -> list[nn.Module]:
        kernel, dropout = self.options.kernel, self.options.dropout
        return [
            group_norm(channels),
            self.options.activation.module(),
            *([nn.Dropout1d(dropout)] if dropout else []),
            nn.Conv1d(
                channels, channels, kernel, padding=dilation * (kernel // 2), dilation=dilation
            ),
        ]

    def _stride(self) -> int:
        if self.options.stride != "auto":
            return int(self.options.stride)
        return 4 if self.row_shape[1] >= _LONG_WINDOW else 2

    def _channels(self) -> tuple[int, ...]:
        if self.options.channels != "auto":
            return tuple(self.options.channels)
        first, most = (
            multiplied(each, self.options.width_multiplier)
            for each in (_FIRST_CHANNELS, _MOST_CHANNELS)
        )
        return channels_for(self.row_shape[1], first, most, self._stride())

    def _smallest_shape(self) -> tuple[int, ...]:
        levels, stride = len(self._channels()), self._stride()
        (steps,) = padded(self.row_shape[1:], levels, stride)
        return self._channels()[-1], steps // stride**levels
