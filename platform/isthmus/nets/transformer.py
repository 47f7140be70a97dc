"""A transformer over patches of steps; for series and audio.

Shapes: x_BCT a batch of windows; N patches of p steps, which are tokens of C * p values.
"""

from __future__ import annotations

from math import ceil
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from isthmus.nets._levels import CropTo, PadTo
from isthmus.nets._net import Net
from isthmus.nets._tokens import LatentToTokens, TokenOptions, TokensToLatent
from isthmus.spec import Sizes
from isthmus.types import DataKind

_MOST_PATCHES = 64
_SMALLEST_PATCH = 4


class Transformer(Net):
    """A transformer whose tokens are patches of steps; the latent depends on all tokens.

    Patches do not overlap and hold all channels. Lengths that do not divide into patches are padded
    in the encoder and cropped in the decoder.

    Source: Vaswani et al. 2017, "Attention Is All You Need", arXiv:1706.03762; patches of a series
    as in Nie et al. 2022, "A Time Series is Worth 64 Words", arXiv:2211.14730, section 3.1.
    """

    class Config(TokenOptions):
        """The patches and the transformer."""

        patch: Annotated[int, Field(ge=1, le=65_536)] | Literal["auto"] = "auto"
        """Steps per patch. `auto`: 4, or more, so that there are at most 64 patches."""

    SUMMARY: ClassVar[str] = "attention over patches of steps; series and audio, with many rows"
    SIZES: ClassVar[Sizes] = Sizes.of(
        small={"width_multiplier": 0.5, "layers": 2},
        large={"width_multiplier": 2.0, "layers": 4},
    )
    KINDS: ClassVar[tuple[DataKind, ...]] = (DataKind.SERIES, DataKind.AUDIO)

    def refusal(self, latent_dim: int) -> str | None:
        """Returns why the heads cannot share the width evenly; `None` if they can."""
        why: str | None = self.options.refusal()
        return why

    def encoder(self, outputs: int) -> nn.Module:
        """Returns a module that maps (B, C, T) to (B, outputs)."""
        patches, patch = self._patches()
        return nn.Sequential(
            PadTo((patches * patch,)), _Cut(patch), TokensToLatent(*self._sizes(), outputs)
        )

    def decoder(self, inputs: int) -> nn.Module:
        """Returns a module that maps (B, inputs) to (B, C, T)."""
        return nn.Sequential(
            LatentToTokens(*self._sizes(), inputs),
            _Join(self.row_shape[0]),
            CropTo(self.row_shape[1:]),
        )

    def _patches(self) -> tuple[int, int]:
        """Returns the number of patches, and the steps per patch."""
        steps, patch = self.row_shape[1], self.options.patch
        if patch == "auto":
            patch = max(_SMALLEST_PATCH, ceil(steps / _MOST_PATCHES))
        return ceil(steps / patch), patch

    def _sizes(self) -> tuple[TokenOptions, int, int, int]:
        patches, patch = self._patches()
        width = self.options.width_for(self.row_shape)
        return self.options, width, patches, self.row_shape[0] * patch


class _Cut(nn.Module):
    """Cuts windows into patches."""

    def __init__(self, patch: int) -> None:
        super().__init__()
        self.patch = patch

    def forward(self, x_BCT: Tensor) -> Tensor:
        """Maps (B, C, N * p) to (B, N, C * p)."""
        return torch.unflatten(x_BCT, 2, (-1, self.patch)).transpose(1, 2).flatten(2)


class _Join(nn.Module):
    """Joins patches into windows."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, patches_BNP: Tensor) -> Tensor:
        """Maps (B, N, C * p) to (B, C, N * p)."""
        return torch.unflatten(patches_BNP, 2, (self.channels, -1)).transpose(1, 2).flatten(2)
