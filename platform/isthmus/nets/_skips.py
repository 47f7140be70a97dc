"""Nets whose latent is their feature maps: the bottleneck and all skip connections, as one vector.

Shapes: S stands for the sides of a row, (H, W) of an image or (T,) of a window.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from math import prod
from typing import ClassVar

import torch
from torch import Tensor

from isthmus.nets._net import Net
from isthmus.types import Shape

# A block of convolutions holds its input, its shortcut, its output, and what the convolution
# computes with.
_MAPS_OF_A_BLOCK = 4


class MapsNet(Net):
    """A net whose latent is feature maps and, if it is given on, the row, as one vector."""

    HAS_SKIPS: ClassVar[bool] = True

    @abstractmethod
    def map_shapes(self) -> list[Shape]:
        """Returns the shape (C, *S) of each feature map in the latent, in their order."""

    def fixed_latent_dim(self) -> int:
        """Returns the number of values in all feature maps of the latent."""
        return sum(prod(shape) for shape in self.map_shapes())

    def refusal(self, latent_dim: int) -> str | None:
        """Returns why the latent cannot have this size; `None` if it is the size of its maps."""
        if latent_dim == self.fixed_latent_dim():
            return None
        name = type(self).__module__.rpartition(".")[2]
        return (
            f"{name}'s latent has {self.fixed_latent_dim()} numbers for such rows, not "
            f"{latent_dim}; use latent_dim: auto"
        )

    def check(self, latent_dim: int) -> None:
        """Refuses a latent size that is not the net's own.

        Raises:
            ValueError: If it is another size.
        """
        if why := self.refusal(latent_dim):
            raise ValueError(why)


class SkipNet(MapsNet):
    """A fully convolutional net whose encoder hands all its feature maps to the decoder."""

    ANY_SIZE: ClassVar[bool] = True

    @abstractmethod
    def largest_map(self) -> int:
        """Returns the number of values in the largest feature map that any layer makes of a row."""

    def numbers_in_memory(self) -> int:
        """Returns about how many numbers are in memory at once while the net computes one row."""
        # The maps of the latent exist twice: each by itself, and joined.
        return 2 * self.fixed_latent_dim() + _MAPS_OF_A_BLOCK * self.largest_map()


def joined(maps: Sequence[Tensor]) -> Tensor:
    """Returns feature maps (B, C, *S) of several sizes as one vector each, shape (B, D)."""
    return torch.cat([part.flatten(1) for part in maps], dim=1)


def parted(z_BD: Tensor, shapes: Sequence[Shape]) -> list[Tensor]:
    """Returns the feature maps of those shapes that `joined` has made one vector each."""
    parts = torch.split(z_BD, [prod(shape) for shape in shapes], dim=1)
    return [torch.unflatten(part, 1, shape) for part, shape in zip(parts, shapes, strict=True)]
