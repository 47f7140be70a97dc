"""Scaling as a submodule, so that checkpoints, registered models and exports contain it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from isthmus.types import Shape


class Scaling(nn.Module):
    """Converts data units to model units and back: `scaled = (x - offset) / scale`.

    Both buffers have the row's shape or one that broadcasts to it. They hold 0 and 1 until `fit`
    sets the statistics of the training rows.
    """

    offset: Tensor
    scale: Tensor

    def __init__(self, row_shape: Shape) -> None:
        super().__init__()
        self.register_buffer("offset", torch.zeros(row_shape))
        self.register_buffer("scale", torch.ones(row_shape))

    def fit(self, offset: Tensor, scale: Tensor) -> None:
        """Sets the statistics of the training rows, each of which must broadcast to a row."""
        self.offset.copy_(offset)
        self.scale.copy_(scale)

    def forward(self, x: Tensor) -> Tensor:
        """Converts data units to model units.

        A missing value (NaN) becomes 0, which is the mean if the data are standardised.
        """
        # In place on a temporary: each further tensor of a large batch would fill the cache.
        return (x - self.offset).div_(self.scale).nan_to_num_(nan=0.0)

    def inverse(self, x: Tensor) -> Tensor:
        """Converts model units to data units."""
        return x * self.scale + self.offset
