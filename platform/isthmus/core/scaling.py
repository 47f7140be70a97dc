"""Scaling as part of the module, so that it travels with checkpoint, registration and export."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from isthmus.types import Shape


class Scaling(nn.Module):
    """Data units to model units and back: `scaled = (x - offset) / scale`.

    Both buffers have the row's shape or one that broadcasts to it, and hold 0 and 1 until the
    statistics of the training rows are put in.
    """

    offset: Tensor
    scale: Tensor

    def __init__(self, row_shape: Shape) -> None:
        super().__init__()
        self.register_buffer("offset", torch.zeros(row_shape))
        self.register_buffer("scale", torch.ones(row_shape))

    def fit(self, offset: Tensor, scale: Tensor) -> None:
        """Takes over the training rows' statistics, each broadcastable to a row."""
        self.offset.copy_(offset)
        self.scale.copy_(scale)

    def forward(self, x: Tensor) -> Tensor:
        """Data units to model units; a missing value (NaN) becomes 0, the mean if standardised."""
        # In place, of what is only ours: each tensor more of a large batch is a fill of the cache.
        return (x - self.offset).div_(self.scale).nan_to_num_(nan=0.0)

    def inverse(self, x: Tensor) -> Tensor:
        """Model units to data units."""
        return x * self.scale + self.offset
