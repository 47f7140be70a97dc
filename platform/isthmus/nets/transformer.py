"""A transformer over patches of steps; for series and audio.

Shapes: x_BCT a batch of windows; N patches of p steps, tokens of C * p numbers.
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
from isthmus.types import DataKind

_MOST_PATCHES = 64
_SMALLEST_PATCH = 4


class Transformer(Net):
    """Each patch of steps is a token; the latent is made of all of them, and they of it.

    Patches do not overlap and hold all channels. Lengths that do not divide are padded on the way
    in and cropped on the way out.

    Source: Vaswani et al. 2017, "Attention Is All You Need", arXiv:1706.03762; patches of a series
    as in Nie et al. 2022, "A Time Series is Worth 64 Words", arXiv:2211.14730, section 3.1.
    """

    class Config(TokenOptions):
        """The patches, and what the transformer is made of."""

        patch: Annotated[int, Field(ge=1, le=65_536)] | Literal["auto"] = "auto"
        """Steps in a patch. `auto`: 4, or as many as leave 64 patches."""

    SUMMARY: ClassVar[str] = "attention over patches of steps; series and audio, with many rows"
    KINDS: ClassVar[tuple[DataKind, ...]] = (DataKind.SERIES, DataKind.AUDIO)

    def refusal(self, latent_dim: int) -> str | None:
        """The heads share the width."""
        why: str | None = self.options.refusal()
        return why

    def encoder(self, outputs: int) -> nn.Module:
        """(B, C, T) -> (B, outputs)."""
        patches, patch = self._patches()
        return nn.Sequential(
            PadTo((patches * patch,)), _Cut(patch), TokensToLatent(*self._sizes(), outputs)
        )

    def decoder(self, inputs: int) -> nn.Module:
        """(B, inputs) -> (B, C, T)."""
        return nn.Sequential(
            LatentToTokens(*self._sizes(), inputs),
            _Join(self.row_shape[0]),
            CropTo(self.row_shape[1:]),
        )

    def _patches(self) -> tuple[int, int]:
        """How many, and of how many steps."""
        steps, patch = self.row_shape[1], self.options.patch
        if patch == "auto":
            patch = max(_SMALLEST_PATCH, ceil(steps / _MOST_PATCHES))
        return ceil(steps / patch), patch

    def _sizes(self) -> tuple[TokenOptions, int, int, int]:
        patches, patch = self._patches()
        width = self.options.width_for(self.row_shape)
        return self.options, width, patches, self.row_shape[0] * patch


class _Cut(nn.Module):
    """Windows to patches."""

    def __init__(self, patch: int) -> None:
        super().__init__()
        self.patch = patch

    def forward(self, x_BCT: Tensor) -> Tensor:
        """(B, C, N * p) to (B, N, C * p)."""
        return torch.unflatten(x_BCT, 2, (-1, self.patch)).transpose(1, 2).flatten(2)


class _Join(nn.Module):
    """Patches to windows."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, patches_BNP: Tensor) -> Tensor:
        """(B, N, C * p) to (B, C, N * p)."""
        return torch.unflatten(patches_BNP, 2, (self.channels, -1)).transpose(1, 2).flatten(2)
