"""Transformers over tokens (patches of a row): tokens to a latent, and a latent to tokens.

Shapes: B rows, N tokens of a row, P numbers of a token's patch, W the width, D of the latent.
"""

from __future__ import annotations

from math import ceil, prod
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from isthmus.nets._levels import Shortcut, power_of_two
from isthmus.spec import SpecModel
from isthmus.types import Shape

_WIDTH_RANGE = (32, 128)
_NUMBERS_OF_A_ROW_PER_WIDTH = 8
# Numbers that each token has in the layer next to the latent, at least; and how many times the
# latent's they are all together, so that this layer is no bottleneck of its own.
_LEAST_NUMBERS_OF_A_TOKEN = 16
_SPACE_FOR_THE_LATENT = 2
_STANDARD_DEVIATION = 0.02


class TokenOptions(SpecModel):
    """What a transformer is made of."""

    width: Annotated[int, Field(ge=1, le=8192)] | Literal["auto"] = "auto"
    """Numbers of a token; a multiple of `heads`. `auto`: an eighth of the numbers in a row, as a
    power of two between 32 and 128."""
    layers: Annotated[int, Field(ge=1, le=64)] = 3
    """Transformer layers of each half."""
    heads: Annotated[int, Field(ge=1, le=256)] = 4
    """Attention heads of a layer."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of what each half of a layer adds that is set to 0 while training."""

    def width_for(self, row_shape: Shape) -> int:
        """The width, settled for rows of a shape."""
        if self.width != "auto":
            return self.width
        width = power_of_two(prod(row_shape) / _NUMBERS_OF_A_ROW_PER_WIDTH, *_WIDTH_RANGE)
        return self.heads * ceil(width / self.heads)

    def refusal(self) -> str | None:
        """Why no transformer can be made of them, and what can; `None` if one can."""
        if self.width == "auto" or self.width % self.heads == 0:
            return None
        above = self.heads * ceil(self.width / self.heads)
        below = above - self.heads
        choices = f"{below} or {above}" if below else f"{above}"
        return f"width={self.width} is not divisible by heads={self.heads}; use {choices}"


class TokensToLatent(nn.Module):
    """Patches to a latent that each of them has a part in."""

    def __init__(
        self, options: TokenOptions, width: int, tokens: int, patch: int, outputs: int
    ) -> None:
        super().__init__()
        narrow = _numbers_of_a_token(width, tokens, outputs)
        self.embedding = nn.Linear(patch, width)
        self.positions_NW = _positions(tokens, width)
        self.layers = _layers(options, width)
        self.narrow = nn.Linear(width, narrow)
        self.latent = nn.Linear(tokens * narrow, outputs)

    def forward(self, patches_BNP: Tensor) -> Tensor:
        """(B, N, P) to (B, outputs)."""
        tokens = self.layers(self.embedding(patches_BNP) + self.positions_NW)
        z: Tensor = self.latent(self.narrow(tokens).flatten(1))
        return z


class LatentToTokens(nn.Module):
    """A latent to patches; mirrors `TokensToLatent`."""

    def __init__(
        self, options: TokenOptions, width: int, tokens: int, patch: int, inputs: int
    ) -> None:
        super().__init__()
        narrow = _numbers_of_a_token(width, tokens, inputs)
        self.tokens_shape = (tokens, narrow)
        self.latent = nn.Linear(inputs, tokens * narrow)
        self.widen = nn.Linear(narrow, width)
        self.positions_NW = _positions(tokens, width)
        self.layers = _layers(options, width)
        self.patches = nn.Linear(width, patch)
        # Starts near zero: what is normalised before it is large beside a quiet sound.
        nn.init.normal_(self.patches.weight, std=_STANDARD_DEVIATION)
        nn.init.zeros_(self.patches.bias)

    def forward(self, z_BD: Tensor) -> Tensor:
        """(B, D) to (B, N, P)."""
        tokens = self.widen(self.latent(z_BD).unflatten(1, self.tokens_shape))
        patches: Tensor = self.patches(self.layers(tokens + self.positions_NW))
        return patches


def _numbers_of_a_token(width: int, tokens: int, latent: int) -> int:
    wanted = ceil(_SPACE_FOR_THE_LATENT * latent / tokens)
    return min(width, max(wanted, _LEAST_NUMBERS_OF_A_TOKEN))


def _positions(tokens: int, width: int) -> nn.Parameter:
    return nn.Parameter(_STANDARD_DEVIATION * torch.randn(tokens, width))


def _layers(options: TokenOptions, width: int) -> nn.Sequential:
    """Layers that normalise first, and a normalisation behind the last.

    Source: Vaswani et al. 2017, "Attention Is All You Need", arXiv:1706.03762, section 3; the
    order of Xiong et al. 2020, "On Layer Normalization in the Transformer Architecture",
    arXiv:2002.04745.
    """
    layers: list[nn.Module] = []
    for _ in range(options.layers):
        drop = [nn.Dropout(options.dropout)] if options.dropout else []
        layers += [
            Shortcut(nn.LayerNorm(width), _Attention(width, options.heads), *drop),
            Shortcut(
                nn.LayerNorm(width),
                nn.Linear(width, 4 * width),
                nn.GELU(),
                nn.Linear(4 * width, width),
                *drop,
            ),
        ]
    return nn.Sequential(*layers, nn.LayerNorm(width))


class _Attention(nn.Module):
    """Every token asks all tokens of its row.

    Written out, where torch has a fused kernel: that one has no second derivative, which
    penalties on a gradient need (contractive, for one); with so few tokens it gains little.

    Source: Vaswani et al. 2017, arXiv:1706.03762, equation 1 and section 3.2.2.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (width // heads) ** -0.5
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, tokens_BNW: Tensor) -> Tensor:
        """(B, N, W) to the same."""
        split = self.queries_keys_values(tokens_BNW).unflatten(2, (3, self.heads, -1))
        queries, keys, values = split.permute(2, 0, 3, 1, 4).unbind(0)
        weights = (queries * self.scale @ keys.transpose(-2, -1)).softmax(dim=-1)
        mixed: Tensor = self.out((weights @ values).transpose(1, 2).flatten(2))
        return mixed
