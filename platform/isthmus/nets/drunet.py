"""DRUNet: a U-Net of residual blocks; for denoising rows of any size.

Shapes: S stands for the sides of a row, (H, W) of an image or (T,) of a window; u is `unshuffle`;
at level l the sides are u * 2**l times smaller than the row's.
"""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor, nn

from isthmus.nets._denoiser import Denoiser, DenoiserConfig
from isthmus.nets._levels import Shortcut
from isthmus.spec import Sizes
from isthmus.types import Shape

Channels = Annotated[int, Field(ge=1, le=4096)]
_CONVOLUTIONS = 2


class Drunet(Denoiser):
    """A U-Net whose levels are residual blocks, and whose skip connections are added.

    The latent is one vector: the row, the map of each level, and the smallest map. Nothing is
    normalised and, by default, nothing constant is added. Unlike in the paper, the row is
    unshuffled first, the noise is estimated in place of the image, and skip connections begin
    behind the blocks of their level.

    Source: Zhang et al. 2021, "Plug-and-Play Image Restoration with Deep Denoiser Prior",
    arXiv:2008.13751, section 3.1.
    """

    class Config(DenoiserConfig):
        """The levels and their blocks."""

        channels: tuple[Channels, ...] = Field(default=(32, 64, 128), min_length=1, max_length=8)
        """Channels at each level, each half the size of the one before; 64, 128, 256, 512 in the
        paper."""
        blocks: Annotated[int, Field(ge=1, le=32)] = 2
        """Residual blocks of two convolutions at each level, on the way down and on the way up; 4
        in the paper."""

    SUMMARY: ClassVar[str] = "a U-Net of residual blocks; the one for denoising, at any size"
    SIZES: ClassVar[Sizes] = Sizes.of(
        small={"channels": [16, 32, 64], "blocks": 1},
        large={"channels": [64, 128, 256], "blocks": 4},
    )

    def multiple(self) -> int:
        """Returns how many times smaller the sides of the smallest map are."""
        return int(self.options.unshuffle * 2 ** (len(self.options.channels) - 1))

    def receptive_radius(self) -> int:
        """Returns how far an output sees through the convolutions of all levels."""
        at_level = 2 * _CONVOLUTIONS * self.options.blocks  # down and up
        scales = [self.options.unshuffle * 2**level for level in range(len(self.options.channels))]
        ends = 2 * scales[0]  # the first convolution of all, and the last
        lowest = (at_level if len(scales) == 1 else at_level // 2) * scales[-1]
        larger = 0 if len(scales) == 1 else at_level * sum(scales[:-1])
        # A place of the smallest map stands for as many pixels, of which one may be at its edge.
        return int(ends + lowest + larger + scales[-1] - 1)

    def largest_map(self) -> int:
        """Returns the number of values in the map of a level, the first as a rule."""
        return max(prod(shape) for shape in self.layer_map_shapes())

    def layer_map_shapes(self) -> list[Shape]:
        """Returns the shape of the map of each level, from full size on."""
        return [
            (width, *(side >> level for side in self.unshuffled()))
            for level, width in enumerate(self.options.channels)
        ]

    def first_half(self, channels: int) -> nn.Module:
        """Returns the way down."""
        widths = self.options.channels
        return _Down(
            self.convolution(channels, widths[0]),
            levels=[self._blocks(width) for width in widths],
            downs=[self._down(*pair) for pair in pairwise(widths)],
        )

    def second_half(self, channels: int) -> nn.Module:
        """Returns the way up."""
        widths = self.options.channels
        return _Up(
            ups=[self._up(below, width) for width, below in pairwise(widths)],
            levels=[self._blocks(width) for width in widths[:-1]],
            last=self.convolution(widths[0], channels),
        )

    def _blocks(self, width: int) -> nn.Sequential:
        blocks = (
            Shortcut(
                self.convolution(width, width),
                nn.ReLU(inplace=True),
                self.convolution(width, width),
            )
            for _ in range(self.options.blocks)
        )
        return nn.Sequential(*blocks)

    def _down(self, before: int, after: int) -> nn.Module:
        layer = (nn.Conv1d, nn.Conv2d)[len(self.row_shape) - 2]
        return layer(before, after, 2, stride=2, bias=self.options.bias)

    def _up(self, before: int, after: int) -> nn.Module:
        layer = (nn.ConvTranspose1d, nn.ConvTranspose2d)[len(self.row_shape) - 2]
        return layer(before, after, 2, stride=2, bias=self.options.bias)


class _Down(nn.Module):
    """The contracting path."""

    def __init__(self, first: nn.Module, levels: list[nn.Module], downs: list[nn.Module]) -> None:
        super().__init__()
        self.first = first
        self.levels = nn.ModuleList(levels)
        self.downs = nn.ModuleList(downs)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Maps (B, C, *S / u) to the maps of all levels, from full size on."""
        maps = [self.levels[0](self.first(image))]
        for down, level in zip(self.downs, self.levels[1:], strict=True):
            maps.append(level(down(maps[-1])))
        return maps


class _Up(nn.Module):
    """The expanding path."""

    def __init__(self, ups: list[nn.Module], levels: list[nn.Module], last: nn.Module) -> None:
        super().__init__()
        self.ups = nn.ModuleList(ups)
        self.levels = nn.ModuleList(levels)
        self.last = last

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Maps the maps of all levels to (B, C, *S / u)."""
        *skips, image = maps
        for skip, up, level in reversed(list(zip(skips, self.ups, self.levels, strict=True))):
            image = level(skip + up(image))
        made: Tensor = self.last(image)
        return made
