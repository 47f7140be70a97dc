"""Helpers for nets with levels that downsample a row: channels, padding, cropping, shortcuts."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, gcd
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

# `auto` stops halving here: below this many pixels or steps there is little left to convolve.
_SMALLEST_SIDE = 4
_GROUPS = 8


WidthMultiplier = Annotated[float, Field(gt=0.0, le=64.0)]
"""The option of a net by which its automatic widths are multiplied.

Source: Howard et al. 2017, "MobileNets", arXiv:1704.04861, section 3.3.
"""


def multiplied(width: int, multiplier: float) -> int:
    """Returns a width times a width multiplier, at least 1."""
    return max(1, round(width * multiplier))


def channels_for(shorter_side: int, first: int, most: int, stride: int = 2) -> tuple[int, ...]:
    """Returns the channels of each level: `first`, doubling up to `most`.

    There are as many levels as leave at least 4 pixels or steps.
    """
    levels = 1
    while shorter_side // stride ** (levels + 1) >= _SMALLEST_SIDE:
        levels += 1
    return tuple(min(first * 2**level, most) for level in range(levels))


def padded(size: Sequence[int], levels: int, stride: int = 2) -> tuple[int, ...]:
    """Returns the sides, each rounded up to a multiple of `stride**levels`."""
    step = stride**levels
    return tuple(step * ceil(side / step) for side in size)


def power_of_two(number: float, least: int, most: int) -> int:
    """Returns the greatest power of two up to `number`, limited to `least` and `most`."""
    power: int = 2 ** max(int(number).bit_length() - 1, 0)
    return min(max(power, least), most)


def group_norm(channels: int) -> nn.GroupNorm:
    """Returns a layer that normalises channels in eight groups, or in as many as divide them.

    Each row is normalised alone, so that the result does not depend on its batch.

    Source: Wu & He 2018, "Group Normalization", arXiv:1803.08494, equations 1 to 3 and 7.
    """
    return nn.GroupNorm(gcd(channels, _GROUPS), channels)


class PadTo(nn.Module):
    """Pads the last axes to the given sizes by repeating the last value of each axis."""

    def __init__(self, size: Sequence[int]) -> None:
        super().__init__()
        self.size = tuple(size)

    def forward(self, x: Tensor) -> Tensor:
        """Pads (B, C, *smaller) to (B, C, *size)."""
        missing = [to - has for to, has in zip(self.size, x.shape[2:], strict=True)]
        if not any(missing):
            return x
        # `pad` takes the axes from last to first, and for each the padding before and after it.
        pads = [pad for axis in reversed(missing) for pad in (0, axis)]
        return functional.pad(x, pads, mode="replicate")


class CropTo(nn.Module):
    """Crops the last axes to the given sizes, which removes the padding at their ends."""

    def __init__(self, size: Sequence[int]) -> None:
        super().__init__()
        self.size = tuple(size)

    def forward(self, x: Tensor) -> Tensor:
        """Crops (B, C, *larger) to (B, C, *size)."""
        for axis, side in enumerate(self.size, start=2):
            x = x.narrow(axis, 0, side)
        return x


class Shortcut(nn.Module):
    """A residual connection, which adds the output of its layers to their input."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.branch = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Maps any shape to the same shape."""
        added: Tensor = x + self.branch(x)
        return added
