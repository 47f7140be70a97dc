"""The blocks and rings of JPEG compression."""

from __future__ import annotations

from functools import cache
from math import cos, pi, sqrt
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from isthmus.corruptions._corruption import Corruption
from isthmus.types import DataKind

_BLOCK = 8
_WHITE = 255.0
_MIDDLE = 128.0
# ITU-T T.81, annex K, tables K.1 (luminance) and K.2 (chrominance).
_LUMINANCE = (
    *(16, 11, 10, 16, 24, 40, 51, 61),
    *(12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56),
    *(14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77),
    *(24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101),
    *(72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMINANCE = (
    *(17, 18, 24, 47, 99, 99, 99, 99),
    *(18, 21, 26, 66, 99, 99, 99, 99),
    *(24, 26, 56, 99, 99, 99, 99, 99),
    *(47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 32),
)
# ITU-T T.871, section 7: the rows are Y, Cb and Cr; Cb and Cr are centred on 128.
_YCBCR = (
    *(0.299, 0.587, 0.114),
    *(-0.168735892, -0.331264108, 0.5),
    *(0.5, -0.418687589, -0.081312411),
)


class Jpeg(Corruption):
    """Compresses images as JPEG does and opens them again; the level is `1 - quality / 100`.

    Level 0.1 is quality 90, level 0.9 is quality 10. Images of three channels are taken for red,
    green and blue, and their colours are halved in size (4:2:0); the channels of other images are
    each compressed as grey images. The rows must be in [0, 1] (`data.scaling: minmax`, the default
    for images). What follows the rounding in JPEG loses nothing, and is not done.

    Source: Wallace 1992, "The JPEG still picture compression standard", IEEE Transactions on
    Consumer Electronics 38(1); the tables of ITU-T T.81, annex K, scaled by the quality as libjpeg
    does.
    """

    SUMMARY: ClassVar[str] = "compresses images as JPEG does; the level is 1 - quality / 100"
    KINDS: ClassVar[tuple[DataKind, ...]] = (DataKind.IMAGES,)
    NEEDS_UNIT_RANGE: ClassVar[bool] = True
    HIGHEST_LEVEL: ClassVar[float] = 0.99
    AUTO_LEVELS: ClassVar[tuple[float, float]] = (0.2, 0.9)

    def __call__(self, x: Tensor, level: float | Tensor) -> Tensor:
        """Compresses images (B, C, H, W) with values in [0, 1]; values outside count as 0 or 1."""
        # Mixed precision would round the coefficients to 8 bits before JPEG does.
        with torch.autocast(x.device.type, enabled=False):
            quality = 100 * (1 - torch.as_tensor(level, dtype=x.dtype, device=x.device))
            pixels = (x.clamp(0, 1) * _WHITE).round()
            if x.shape[1] == 3:
                pixels = _compressed_colour(pixels, quality)
            else:
                pixels = _compressed(pixels, quality, "luminance")
            return pixels.round().clamp(0, _WHITE) / _WHITE


def _compressed_colour(pixels: Tensor, quality: Tensor) -> Tensor:
    height, width = pixels.shape[2:]
    # Whole blocks of the halved colours, so that these need no padding of their own.
    to_ycbcr, to_rgb = _colour_matrices(pixels.device)
    padded = _padded(pixels, 2 * _BLOCK)
    ycbcr = torch.einsum("ij,bjhw->bihw", to_ycbcr, padded).round()
    grey = _compressed(ycbcr[:, :1], quality, "luminance")
    halved = functional.avg_pool2d(ycbcr[:, 1:] + _MIDDLE, 2).round()
    colours = _compressed(halved, quality, "chrominance")
    # The weights 3/4 and 1/4 of libjpeg's upsampling are those of bilinear interpolation.
    whole = functional.interpolate(colours, scale_factor=2, mode="bilinear") - _MIDDLE
    rgb = torch.einsum("ij,bjhw->bihw", to_rgb, torch.cat([grey, whole], dim=1))
    return rgb[:, :, :height, :width]


def _compressed(pixels: Tensor, quality: Tensor, table: str) -> Tensor:
    """Rounds the coefficients of each channel's blocks, in values from 0 to 255."""
    height, width = pixels.shape[2:]
    dct, steps = _cosines(pixels.device), _steps(quality, table)
    blocks = _padded(pixels, _BLOCK) - _MIDDLE
    # (B, C, rows of blocks, columns of blocks, 8, 8)
    blocks = blocks.unfold(2, _BLOCK, _BLOCK).unfold(3, _BLOCK, _BLOCK)
    coefficients = dct @ blocks @ dct.T
    rounded = (coefficients / steps).round() * steps
    opened = (dct.T @ rounded @ dct + _MIDDLE).round().clamp(0, _WHITE)
    return opened.transpose(3, 4).flatten(4).flatten(2, 3)[..., :height, :width]


def _padded(pixels: Tensor, side: int) -> Tensor:
    """Repeats the last row and column until both sides are multiples of a number."""
    height, width = pixels.shape[2:]
    padding = (0, -width % side, 0, -height % side)
    return functional.pad(pixels, padding, mode="replicate") if any(padding) else pixels


def _steps(quality: Tensor, table: str) -> Tensor:
    """Returns the steps between rounded coefficients, shape (8, 8) or (B, 1, 1, 1, 8, 8)."""
    base = _table(table, quality.device)
    percent = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)
    if percent.ndim:
        percent = percent.reshape(-1, 1, 1, 1, 1, 1)
    return ((base * percent + 50) / 100).floor().clamp(1, 255)


@cache
def _table(name: str, device: torch.device) -> Tensor:
    values = _LUMINANCE if name == "luminance" else _CHROMINANCE
    return torch.tensor(values, dtype=torch.float32, device=device).reshape(_BLOCK, _BLOCK)


@cache
def _cosines(device: torch.device) -> Tensor:
    """Returns the orthonormal discrete cosine transform of 8 values, shape (8, 8)."""
    rows = [
        [
            sqrt((2 if u else 1) / _BLOCK) * cos((2 * n + 1) * u * pi / (2 * _BLOCK))
            for n in range(_BLOCK)
        ]
        for u in range(_BLOCK)
    ]
    return torch.tensor(rows, dtype=torch.float32, device=device)


@cache
def _colour_matrices(device: torch.device) -> tuple[Tensor, Tensor]:
    to_ycbcr = torch.tensor(_YCBCR, dtype=torch.float64).reshape(3, 3)
    both = (to_ycbcr, torch.linalg.inv(to_ycbcr))
    return both[0].float().to(device), both[1].float().to(device)
