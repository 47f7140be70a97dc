"""The noise that a denoising autoencoder learns to remove, in scaled units."""

from __future__ import annotations

from enum import StrEnum

import torch
from torch import Tensor

# Below this level, shot noise is smaller than the resolution of float32 for the counts.
_LEAST_POISSON_LEVEL = 1e-3


class Corruption(StrEnum):
    """The kind of noise that corrupts a row before it is encoded."""

    GAUSSIAN = "gaussian"
    """Adds normal noise of standard deviation `level`."""
    MASKING = "masking"
    """Sets a fraction `level` of the values to 0."""
    SALT_AND_PEPPER = "salt_and_pepper"
    """Sets a fraction `level` of the values to the batch's lowest or highest value."""
    SPECKLE = "speckle"
    """Multiplies each value by 1 plus normal noise of standard deviation `level`."""
    POISSON = "poisson"
    """Adds shot noise: draws counts, with an expected count of `1 / level**2` at value 1, and
    scales them back. The standard deviation is `level` at value 1 and `level * sqrt(x)` at value
    x. It is meant for rows in [0, 1] (`data.scaling: minmax`, the default for images); values
    below 0 count as 0."""

    @property
    def takes_a_share(self) -> bool:
        """Whether the level is a fraction of the row's values."""
        return self in (Corruption.MASKING, Corruption.SALT_AND_PEPPER)


def corrupt(x: Tensor, corruption: Corruption, level: float | Tensor) -> Tensor:
    """Returns a corrupted copy of a batch, with noise from torch's global generator.

    Args:
        x: The rows in scaled units, shape (B, *row).
        corruption: The kind of noise.
        level: The strength of the noise: one number, or one for each row, shape (B, 1, ..., 1).

    Returns:
        The corrupted rows, shape (B, *row).

    Source: Vincent et al. 2010, "Stacked Denoising Autoencoders", JMLR 11, section 3.3, for the
    first three kinds.
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
    # The variance of a Poisson count is its mean, so the result has mean x, variance level**2 * x.
    count_size = torch.as_tensor(level, dtype=x.dtype, device=x.device)
    count_size = count_size.clamp(min=_LEAST_POISSON_LEVEL).square()
    return torch.poisson(x.clamp(min=0.0) / count_size) * count_size
