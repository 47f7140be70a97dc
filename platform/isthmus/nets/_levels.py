"""Levels that each shorten a row's sides: how many, how wide, and what is padded for them."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, gcd

from torch import Tensor, nn
from torch.nn import functional

# Where `auto` stops halving: below this many pixels or steps there is little left to convolve.
_SMALLEST_SIDE = 4
_GROUPS = 8


def channels_for(shorter_side: int, first: int, most: int, stride: int = 2) -> tuple[int, ...]:
    """Channels of each level: `first`, doubling up to `most`, while at least 4 places are left."""
    levels = 1
    while shorter_side // stride ** (levels + 1) >= _SMALLEST_SIDE:
        levels += 1
    return tuple(min(first * 2**level, most) for level in range(levels))


def padded(size: Sequence[int], levels: int, stride: int = 2) -> tuple[int, ...]:
    """The sides, each rounded up to what divides evenly by the stride that many times."""
    step = stride**levels
    return tuple(step * ceil(side / step) for side in size)


def power_of_two(number: float, least: int, most: int) -> int:
    """The greatest power of two that is not above a number, within two others."""
    power: int = 2 ** max(int(number).bit_length() - 1, 0)
    return min(max(power, least), most)


def group_norm(channels: int) -> nn.GroupNorm:
    """Normalises a row's channels in eight groups, or in as many as divide them.

    Of a row alone: what it becomes does not depend on the batch it is in.

    Source: Wu & He 2018, "Group Normalization", arXiv:1803.08494, equations 1 to 3 and 7.
    """
    return nn.GroupNorm(gcd(channels, _GROUPS), channels)


class PadTo(nn.Module):
    """Repeats the last place of each of the last axes until they have the given sizes."""

    def __init__(self, size: Sequence[int]) -> None:
        super().__init__()
        self.size = tuple(size)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *smaller) to (B, C, *size)."""
        missing = [to - has for to, has in zip(self.size, x.shape[2:], strict=True)]
        if not any(missing):
            return x
        # From the last axis to the first, and for each what comes before it and behind it.
        pads = [pad for axis in reversed(missing) for pad in (0, axis)]
        return functional.pad(x, pads, mode="replicate")


class CropTo(nn.Module):
    """Drops what padding had added at the end of each of the last axes."""

    def __init__(self, size: Sequence[int]) -> None:
        super().__init__()
        self.size = tuple(size)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *larger) to (B, C, *size)."""
        for axis, side in enumerate(self.size, start=2):
            x = x.narrow(axis, 0, side)
        return x


class Shortcut(nn.Module):
    """What a layer makes of its input, added to the input."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.branch = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same."""
        added: Tensor = x + self.branch(x)
        return added
