"""A net for compression: a block transform that is learned, and corrected by convolutions.

Shapes: an image is (B, C, H, W); its blocks of 8x8 pixels are one map of 64 C channels, of sides
h = H / 8 and w = W / 8.
"""

from __future__ import annotations

from math import prod
from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from isthmus.nets._levels import CropTo, PadTo
from isthmus.nets._skips import SkipNet
from isthmus.spec import Sizes, SpecModel
from isthmus.types import DataKind, Shape

Channels = Annotated[int, Field(ge=1, le=4096)]
_BLOCK = 8
# The convolutions begin where each side is this many times smaller, and go on at that of blocks.
_FINE = 4
_SLOPE = 0.1
# What starts at 0 is scaled down, or Adam's steps would be large for it: it moves each weight by
# the learning rate, and each output sums up a hundred of them.
_SHARE = 0.1


class Compressive(SkipNet):
    """Begins as the cosine transform of JPEG, and learns to become a better transform.

    The encoder adds up a linear transform of blocks of 8x8 pixels and what convolutions find in
    the image around; the decoder does the same the other way. The linear transforms start as the
    orthonormal cosine transform of each of three orthonormal colour channels, and the convolutions
    start at 0. So the net compresses as well as a block transform before its first step, and
    minutes of training add to that. The latent is as large as the image: only a variant that
    charges for its bits, as `hyperprior` does, has a use for it.

    Source: Wallace 1992, "The JPEG still picture compression standard", section 4, for the blocks;
    Balle et al. 2018, arXiv:1802.01436, for a transform that is learned together with its prior.
    """

    class Config(SpecModel):
        """The widths of the convolutions."""

        fine_channels: Channels = 96
        """Channels where each side is 4 times smaller."""
        coarse_channels: Channels = 128
        """Channels where each side is 8 times smaller."""

    SUMMARY: ClassVar[str] = "a learned block transform; to compress images of any size"
    SIZES: ClassVar[Sizes] = Sizes.of(
        small={"fine_channels": 48, "coarse_channels": 64},
        large={"fine_channels": 192, "coarse_channels": 256},
    )
    KINDS: ClassVar[tuple[DataKind, ...]] = (DataKind.IMAGES,)
    ONE_MAP: ClassVar[bool] = True

    def multiple(self) -> int:
        """Returns the side of a block, in pixels."""
        return _BLOCK

    def receptive_radius(self) -> int:
        """Returns how far a pixel sees: the convolutions of both halves, in pixels, and a block."""
        encoder = 4 * _FINE + 2 * _BLOCK
        decoder = 2 * _BLOCK + 3 * _FINE
        return encoder + decoder + 2 * _BLOCK

    def largest_map(self) -> int:
        """Returns the size of the maps of the finer convolutions."""
        height, width = self._padded()
        fine = self.options.fine_channels * height * width // _FINE**2
        return max(int(fine), prod((self.row_shape[0], height, width)))

    def map_shapes(self) -> list[Shape]:
        """Returns the shape of the one map of all blocks."""
        height, width = self._padded()
        return [(self.row_shape[0] * _BLOCK**2, height // _BLOCK, width // _BLOCK)]

    def encoder(self, outputs: int) -> nn.Module:
        """Returns a module that maps (B, C, H, W) to (B, outputs), of `fixed_latent_dim` size."""
        self.check(outputs)
        return _Encoder(PadTo(self._padded()), self.row_shape[0], self.options)

    def decoder(self, inputs: int) -> nn.Module:
        """Returns a module that maps (B, inputs), of `fixed_latent_dim` size, to (B, C, H, W)."""
        self.check(inputs)
        crop = CropTo(self.row_shape[1:])
        return _Decoder(self.map_shapes()[0], self.row_shape[0], self.options, crop)

    def _padded(self) -> Shape:
        return tuple(-(-side // _BLOCK) * _BLOCK for side in self.row_shape[1:])


class _Encoder(nn.Module):
    def __init__(self, pad: PadTo, channels: int, options: Compressive.Config) -> None:
        super().__init__()
        fine, coarse = options.fine_channels, options.coarse_channels
        self.pad = pad
        self.kernels = _Kernels(channels)
        self.correction = nn.Sequential(
            nn.PixelUnshuffle(_FINE),
            nn.Conv2d(channels * _FINE**2, fine, 3, padding=1),
            _Residual(fine),
            nn.Conv2d(fine, coarse, 3, stride=2, padding=1),
            _Residual(coarse),
            _starting_at_zero(nn.Conv2d(coarse, channels * _BLOCK**2, 1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to (B, 64 C h w)."""
        # Centred, since no convolution should have to learn that pixels are 0 to 1.
        x = self.pad(x) - 0.5
        blocks = functional.conv2d(x, self.kernels(), stride=_BLOCK)
        found: Tensor = blocks + _SHARE * self.correction(x)
        return found.flatten(1)


class _Decoder(nn.Module):
    def __init__(
        self, map_shape: Shape, channels: int, options: Compressive.Config, crop: CropTo
    ) -> None:
        super().__init__()
        fine, coarse = options.fine_channels, options.coarse_channels
        self.map_shape = map_shape
        self.crop = crop
        self.kernels = _Kernels(channels)
        self.correction = nn.Sequential(
            nn.Conv2d(channels * _BLOCK**2, coarse, 1),
            _Residual(coarse),
            nn.Conv2d(coarse, fine * (_BLOCK // _FINE) ** 2, 1),
            nn.PixelShuffle(_BLOCK // _FINE),
            _Residual(fine),
            _starting_at_zero(nn.Conv2d(fine, channels * _FINE**2, 3, padding=1)),
            nn.PixelShuffle(_FINE),
        )

    def forward(self, z_BD: Tensor) -> Tensor:
        """Maps (B, 64 C h w) to (B, C, H, W)."""
        blocks = torch.unflatten(z_BD, 1, self.map_shape)
        image = functional.conv_transpose2d(blocks, self.kernels(), stride=_BLOCK)
        made: Tensor = self.crop(image + _SHARE * self.correction(blocks) + 0.5)
        return made


class _Kernels(nn.Module):
    """The kernels of a transform of blocks: the cosine transform, and what is learned beside it."""

    cosines: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("cosines", cosine_transform(channels))
        self.learned = nn.Parameter(torch.zeros(self.cosines.shape))

    def forward(self) -> Tensor:
        """Returns the kernels, shape (64 channels, channels, 8, 8)."""
        return self.cosines + _SHARE * self.learned


class _Residual(nn.Module):
    """Two convolutions whose result is added to their input; it starts as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = _starting_at_zero(nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, channels, H, W) to the same shape."""
        made: Tensor = x + _SHARE * self.second(functional.leaky_relu(self.first(x), _SLOPE))
        return made


def _starting_at_zero(layer: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None  # noqa: S101 (for the type checker)
    nn.init.zeros_(layer.bias)
    return layer


def cosine_transform(channels: int) -> Tensor:
    """Returns the orthonormal transform of a block, shape (64 channels, channels, 8, 8).

    With three channels, blocks are of their mean, of red less blue, and of green less both; else
    of each channel by itself.
    """
    places, waves = np.arange(_BLOCK), np.arange(_BLOCK)[:, None]
    scales = np.sqrt(np.where(waves == 0, 1, 2) / _BLOCK)
    cosines = scales * np.cos(np.pi * waves * (2 * places + 1) / (2 * _BLOCK))
    colours = np.eye(channels)
    if channels == 3:
        mixed = np.array([[1, 1, 1], [1, 0, -1], [-1, 2, -1]])
        colours = mixed / np.linalg.norm(mixed, axis=1, keepdims=True)
    kernels = np.einsum("kc,uy,vx->kuvcyx", colours, cosines, cosines)
    # By numpy, because torch computes nothing while shapes alone are built.
    shape = (channels * _BLOCK**2, channels, _BLOCK, _BLOCK)
    return torch.from_numpy(kernels.reshape(shape).astype(np.float32))
