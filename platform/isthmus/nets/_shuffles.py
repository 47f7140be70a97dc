"""Exchanges pixels or steps for channels and back, so that a net computes at a smaller size.

Source: Shi et al. 2016, "Real-Time Single Image and Video Super-Resolution Using an Efficient
Sub-Pixel Convolutional Neural Network", arXiv:1609.05158, section 3.2; of windows, in one axis.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Unshuffle(nn.Module):
    """Makes channels of the pixels of each square, or of the steps of each stretch."""

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to (B, C * f * f, H / f, W / f), or (B, C, T) to (B, C * f, T / f)."""
        if self.factor == 1:
            return x
        if x.ndim == 4:
            return functional.pixel_unshuffle(x, self.factor)
        steps = x.shape[2] // self.factor
        return torch.unflatten(x, 2, (steps, self.factor)).transpose(2, 3).flatten(1, 2)


class Shuffle(nn.Module):
    """Undoes `Unshuffle`: puts channels side by side as pixels, or one after another as steps."""

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C * f * f, H, W) to (B, C, H * f, W * f), or (B, C * f, T) to (B, C, T * f)."""
        if self.factor == 1:
            return x
        if x.ndim == 4:
            return functional.pixel_shuffle(x, self.factor)
        return torch.unflatten(x, 1, (-1, self.factor)).transpose(2, 3).flatten(2)
