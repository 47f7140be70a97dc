"""Noise that a denoising autoencoder learns to take away; all in scaled units."""

from __future__ import annotations

from enum import StrEnum

import torch
from torch import Tensor


class Corruption(StrEnum):
    """How a row is corrupted before it is encoded."""

    GAUSSIAN = "gaussian"
    """Adds normal noise of standard deviation `level`."""
    MASKING = "masking"
    """Sets a share `level` of the numbers to 0."""
    SALT_AND_PEPPER = "salt_and_pepper"
    """Sets a share `level` of the numbers to the batch's lowest or highest value."""


def corrupt(x: Tensor, corruption: Corruption, level: float | Tensor) -> Tensor:
    """Draws a corrupted copy of a batch, from torch's global generator.

    Args:
        x: Shape (B, *row), in scaled units.
        corruption: Which noise.
        level: Its strength; a number, or one for each row in shape (B, 1, ..., 1).

    Returns:
        Shape (B, *row).

    Source: Vincent et al. 2010, "Stacked Denoising Autoencoders", JMLR 11, section 3.3.
    """
    if corruption is Corruption.GAUSSIAN:
        return x + level * torch.randn_like(x)
    chance = torch.rand_like(x)
    if corruption is Corruption.MASKING:
        return torch.where(chance < level, torch.zeros_like(x), x)
    low, high = x.amin(), x.amax()
    return torch.where(chance < level / 2, low, torch.where(chance < level, high, x))
