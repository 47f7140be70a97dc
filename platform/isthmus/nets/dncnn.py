"""DnCNN and FFDNet: a plain stack of convolutions; for denoising rows of any size.

Shapes: S stands for the sides of a row, (H, W) of an image; u is `unshuffle`.
"""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import Annotated, ClassVar, Literal, cast

from pydantic import Field
from torch import Tensor, nn

from isthmus.nets._denoiser import Denoiser, DenoiserConfig
from isthmus.spec import Sizes
from isthmus.types import DataKind, Shape


class Dncnn(Denoiser):
    """Convolutions with ReLU, all of one width, whose output is the noise.

    The encoder is the first half of the layers and the decoder the rest; the latent holds the maps
    between them, and the row. FFDNet is `{unshuffle: 2, noise_level: estimated, depth: 15,
    residual: false}`. Unlike in the papers, layers have neither batch normalisation, so that a row
    never depends on others, nor, by default, constants.

    Source: Zhang et al. 2017, "Beyond a Gaussian Denoiser: Residual Learning of Deep CNN for Image
    Denoising", arXiv:1608.03981, section 3; FFDNet: Zhang, Zuo & Zhang 2018, "FFDNet: Toward a
    Fast and Flexible Solution for CNN based Image Denoising", arXiv:1710.04026, section 3.
    """

    class Config(DenoiserConfig):
        """The depth and width of the stack."""

        depth: Annotated[int, Field(ge=3, le=100)] = 17
        """Number of convolutions."""
        channels: Annotated[int, Field(ge=1, le=4096)] = 64
        """Channels between two convolutions."""
        unshuffle: Literal[1, 2, 4] = 1
        """The factor by which each side is smaller where the net computes: its pixels become
        channels first, and pixels again at the end. 1 in DnCNN, 2 in FFDNet, which takes a quarter
        of the time."""

    SUMMARY: ClassVar[str] = "a plain stack of convolutions that finds the noise; images"
    SIZES: ClassVar[Sizes] = Sizes.of(
        small={"depth": 9, "channels": 32},
        large={"depth": 20, "channels": 128},
    )
    KINDS: ClassVar[tuple[DataKind, ...]] = (DataKind.IMAGES,)

    def multiple(self) -> int:
        """Returns how many pixels along an axis become channels."""
        return int(self.options.unshuffle)

    def receptive_radius(self) -> int:
        """Returns how far a pixel sees: one place for each convolution, of `unshuffle` pixels."""
        places = self.options.depth * self.options.unshuffle
        return int(places + self.options.unshuffle - 1)

    def largest_map(self) -> int:
        """Returns the number of values between two convolutions."""
        return int(self.options.channels * prod(self.unshuffled()))

    def layer_map_shapes(self) -> list[Shape]:
        """Returns the shape of the one map between the halves."""
        return [(self.options.channels, *self.unshuffled())]

    def first_half(self, channels: int) -> nn.Module:
        """Returns the first half of the convolutions, each with its ReLU."""
        widths = [channels, *[self.options.channels] * (self.options.depth // 2)]
        return _FirstHalf(self._layers(widths))

    def second_half(self, channels: int) -> nn.Module:
        """Returns the other convolutions; the last has no ReLU."""
        others = self.options.depth - self.options.depth // 2
        last = self.convolution(self.options.channels, channels)
        return _SecondHalf([*self._layers([self.options.channels] * others), last])

    def _layers(self, widths: list[int]) -> list[nn.Module]:
        return [
            layer
            for before, after in pairwise(widths)
            for layer in (_passing(self.convolution(before, after)), nn.ReLU(inplace=True))
        ]


def _passing(layer: nn.Module) -> nn.Module:
    """Draws the first layer as the paper does; the others begin by passing on what they get.

    A stack of 17 layers of torch's usual weights lets nothing through, and hardly learns to.

    Source: He et al. 2015, arXiv:1502.01852, section 2.2, for the first layer; Zagoruyko &
    Komodakis 2017, "DiracNets", arXiv:1706.00388, section 3, for the others.
    """
    convolution = cast("nn.Conv2d", layer)
    if convolution.in_channels == convolution.out_channels:
        nn.init.dirac_(convolution.weight)
    else:
        nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    return convolution


class _FirstHalf(nn.Module):
    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Maps (B, C, *S / u) to the list of the one map."""
        return [self.layers(image)]


class _SecondHalf(nn.Module):
    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Maps the list of the one map to (B, C, *S / u)."""
        made: Tensor = self.layers(maps[0])
        return made
