"""Transformers that map tokens (the patches of a row) to a latent, and a latent to tokens.

Shapes: B rows, N tokens per row, P values per patch, W the width of a token, D the latent size.
"""

from __future__ import annotations

from math import ceil, prod
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from isthmus.nets._levels import Shortcut, WidthMultiplier, multiplied, power_of_two
from isthmus.spec import SpecModel
from isthmus.types import Shape

_WIDTH_RANGE = (32, 128)
_NUMBERS_OF_A_ROW_PER_WIDTH = 8
# The layer next to the latent has at least this many values per token, and at least this many times
# the values of the latent in total, so that it is no bottleneck of its own.
_LEAST_NUMBERS_OF_A_TOKEN = 16
_SPACE_FOR_THE_LATENT = 2
_STANDARD_DEVIATION = 0.02


class TokenOptions(SpecModel):
    """The options of a transformer."""

    width: Annotated[int, Field(ge=1, le=8192)] | Literal["auto"] = "auto"
    """Values per token; a multiple of `heads`. `auto`: an eighth of the values in a row, as a
    power of two between 32 and 128."""
    width_multiplier: WidthMultiplier = 1.0
    """The factor of the automatic width."""
    layers: Annotated[int, Field(ge=1, le=64)] = 3
    """Transformer layers in the encoder, and as many in the decoder."""
    heads: Annotated[int, Field(ge=1, le=256)] = 4
    """Attention heads per layer."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout rate of the output of each attention and each feed-forward block."""

    def width_for(self, row_shape: Shape) -> int:
        """Returns the width, with `auto` resolved for rows of a shape."""
        if self.width != "auto":
            return self.width
        width = power_of_two(prod(row_shape) / _NUMBERS_OF_A_ROW_PER_WIDTH, *_WIDTH_RANGE)
        return self.heads * ceil(multiplied(width, self.width_multiplier) / self.heads)

    def refusal(self) -> str | None:
        """Returns why no transformer can have these options, and what it can; `None` if it can."""
        if self.width == "auto" or self.width % self.heads == 0:
            return None
        above = self.heads * ceil(self.width / self.heads)
        below = above - self.heads
        choices = f"{below} or {above}" if below else f"{above}"
        return f"width={self.width} is not divisible by heads={self.heads}; use {choices}"


class TokensToLatent(nn.Module):
    """Maps patches to a latent that depends on all of them."""

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
        """Maps (B, N, P) to (B, outputs)."""
        tokens = self.layers(self.embedding(patches_BNP) + self.positions_NW)
        z: Tensor = self.latent(self.narrow(tokens).flatten(1))
        return z


class LatentToTokens(nn.Module):
    """Maps a latent to patches; mirrors `TokensToLatent`."""

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
        # Starts near zero, because its normalised input is large compared with a quiet sound.
        nn.init.normal_(self.patches.weight, std=_STANDARD_DEVIATION)
        nn.init.zeros_(self.patches.bias)

    def forward(self, z_BD: Tensor) -> Tensor:
        """Maps (B, D) to (B, N, P)."""
        tokens = self.widen(self.latent(z_BD).unflatten(1, self.tokens_shape))
        patches: Tensor = self.patches(self.layers(tokens + self.positions_NW))
        return patches


def _numbers_of_a_token(width: int, tokens: int, latent: int) -> int:
    wanted = ceil(_SPACE_FOR_THE_LATENT * latent / tokens)
    return min(width, max(wanted, _LEAST_NUMBERS_OF_A_TOKEN))


def _positions(tokens: int, width: int) -> nn.Parameter:
    return nn.Parameter(_STANDARD_DEVIATION * torch.randn(tokens, width))


def _layers(options: TokenOptions, width: int) -> nn.Sequential:
    """Returns transformer layers that normalise first, with a normalisation after the last.

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
    """Multi-head self-attention between the tokens of a row.

    It does not use torch's fused kernel: that one has no second derivative, which penalties on a
    gradient need (such as contractive's), and gains little with so few tokens.

    Source: Vaswani et al. 2017, arXiv:1706.03762, equation 1 and section 3.2.2.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (width // heads) ** -0.5
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, tokens_BNW: Tensor) -> Tensor:
        """Maps (B, N, W) to the same shape."""
        split = self.queries_keys_values(tokens_BNW).unflatten(2, (3, self.heads, -1))
        queries, keys, values = split.permute(2, 0, 3, 1, 4).unbind(0)
        weights = (queries * self.scale @ keys.transpose(-2, -1)).softmax(dim=-1)
        mixed: Tensor = self.out((weights @ values).transpose(1, 2).flatten(2))
        return mixed
