"""Noise that a denoising autoencoder learns to take away; all in scaled units."""

from __future__ import annotations

from enum import StrEnum

import torch
from torch import Tensor

# Shot noise of a weaker level than this is below float32's own resolution of the counts.
_LEAST_POISSON_LEVEL = 1e-3


class Corruption(StrEnum):
    """How a row is corrupted before it is encoded."""

    GAUSSIAN = "gaussian"
    """Adds normal noise of standard deviation `level`."""
    MASKING = "masking"
    """Sets a share `level` of the numbers to 0."""
    SALT_AND_PEPPER = "salt_and_pepper"
    """Sets a share `level` of the numbers to the batch's lowest or highest value."""
    SPECKLE = "speckle"
    """Multiplies each number by 1 plus normal noise of standard deviation `level`."""
    POISSON = "poisson"
    """Shot noise: counts with `1 / level**2` expected at value 1, scaled back; its standard
    deviation is `level` at value 1 and `level * sqrt(x)` at value x. For rows in [0, 1]
    (`data.scaling: minmax`, which images have by default): what lies below 0 counts as 0."""

    @property
    def takes_a_share(self) -> bool:
        """Whether the level is a share of the row's numbers."""
        return self in (Corruption.MASKING, Corruption.SALT_AND_PEPPER)


def corrupt(x: Tensor, corruption: Corruption, level: float | Tensor) -> Tensor:
    """Draws a corrupted copy of a batch, from torch's global generator.

    Args:
        x: Shape (B, *row), in scaled units.
        corruption: Which noise.
        level: Its strength; a number, or one for each row in shape (B, 1, ..., 1).

    Returns:
        Shape (B, *row).

    Source: Vincent et al. 2010, "Stacked Denoising Autoencoders", JMLR 11, section 3.3, for the
    first three.
    """
    match corruption:
        case Corruption.GAUSSIAN:
            return x + level * torch.randn_like(x)
        case Corruption.SPECKLE:
            return x * (1 + level * torch.randn_like(x))
        case Corruption.POISSON:
            return _shot_noise(x, level)
    chance = torch.rand_like(x)
    if corruption is Corruption.MASKING:
        return torch.where(chance < level, torch.zeros_like(x), x)
    low, high = x.amin(), x.amax()
    return torch.where(chance < level / 2, low, torch.where(chance < level, high, x))


def _shot_noise(x: Tensor, level: float | Tensor) -> Tensor:
    # A mean of x and a variance of level**2 * x: a count's mean is its variance.
    count_size = torch.as_tensor(level, dtype=x.dtype, device=x.device)
    count_size = count_size.clamp(min=_LEAST_POISSON_LEVEL).square()
    return torch.poisson(x.clamp(min=0.0) / count_size) * count_size
