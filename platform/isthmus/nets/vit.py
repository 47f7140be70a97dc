"""A vision transformer; for images of any size and channel count.

Shapes: x_BCHW a batch of images; h x w patches of p x p pixels, tokens of C * p * p values.
"""

from __future__ import annotations

from math import ceil, prod, sqrt
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from isthmus.nets._levels import CropTo, PadTo
from isthmus.nets._net import Net
from isthmus.nets._tokens import LatentToTokens, TokenOptions, TokensToLatent
from isthmus.spec import Sizes
from isthmus.types import DataKind

_PATCHES_A_SIDE = 8
_SMALLEST_PATCH = 4


class Vit(Net):
    """A vision transformer whose tokens are square patches; the latent depends on all tokens.

    Sizes that do not divide into patches are padded in the encoder and cropped in the decoder.
    There is no class token: a dense layer over all tokens gives the latent.

    Source: Dosovitskiy et al. 2020, "An Image is Worth 16x16 Words: Transformers for Image
    Recognition at Scale", arXiv:2010.11929, section 3.1.
    """

    class Config(TokenOptions):
        """The patches and the transformer."""

        patch: Annotated[int, Field(ge=1, le=4096)] | Literal["auto"] = "auto"
        """Side of a patch in pixels. `auto`: 4, or more, so that there are some 64 patches."""

    SUMMARY: ClassVar[str] = "attention over patches; images, many of them, and for `masked`"
    SIZES: ClassVar[Sizes] = Sizes.of(
        small={"width_multiplier": 0.5, "layers": 2},
        large={"width_multiplier": 2.0, "layers": 4},
    )
    KINDS: ClassVar[tuple[DataKind, ...]] = (DataKind.IMAGES,)

    def refusal(self, latent_dim: int) -> str | None:
        """Returns why the heads cannot share the width evenly; `None` if they can."""
        why: str | None = self.options.refusal()
        return why

    def encoder(self, outputs: int) -> nn.Module:
        """Returns a module that maps (B, C, H, W) to (B, outputs)."""
        patch = self._patch()
        return nn.Sequential(
            PadTo([patch * patches for patches in self._grid()]),
            _Cut(patch),
            TokensToLatent(*self._sizes(), outputs),
        )

    def decoder(self, inputs: int) -> nn.Module:
        """Returns a module that maps (B, inputs) to (B, C, H, W)."""
        return nn.Sequential(
            LatentToTokens(*self._sizes(), inputs),
            _Join(self.row_shape[0], self._grid(), self._patch()),
            CropTo(self.row_shape[1:]),
        )

    def _patch(self) -> int:
        if self.options.patch != "auto":
            return int(self.options.patch)
        side = ceil(sqrt(prod(self.row_shape[1:])) / _PATCHES_A_SIDE)
        return min(max(side, _SMALLEST_PATCH), *self.row_shape[1:])

    def _grid(self) -> tuple[int, int]:
        """Returns the number of patches from top to bottom, and from left to right."""
        height, width = (ceil(side / self._patch()) for side in self.row_shape[1:])
        return height, width

    def _sizes(self) -> tuple[TokenOptions, int, int, int]:
        width = self.options.width_for(self.row_shape)
        numbers = self.row_shape[0] * self._patch() ** 2
        return self.options, width, prod(self._grid()), numbers


class _Cut(nn.Module):
    """Cuts images into patches, row by row."""

    def __init__(self, patch: int) -> None:
        super().__init__()
        self.patch = patch

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Maps (B, C, h * p, w * p) to (B, h * w, C * p * p)."""
        cut = torch.unflatten(torch.unflatten(x_BCHW, 3, (-1, self.patch)), 2, (-1, self.patch))
        return cut.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


class _Join(nn.Module):
    """Joins patches into images."""

    def __init__(self, channels: int, grid: tuple[int, int], patch: int) -> None:
        super().__init__()
        self.grid = grid
        self.patch_shape = (channels, patch, patch)

    def forward(self, patches_BNP: Tensor) -> Tensor:
        """Maps (B, h * w, C * p * p) to (B, C, h * p, w * p)."""
        cut = torch.unflatten(torch.unflatten(patches_BNP, 2, self.patch_shape), 1, self.grid)
        return cut.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)
