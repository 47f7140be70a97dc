"""Normal noise of one strength everywhere."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from isthmus.corruptions._corruption import Corruption
from isthmus.types import LevelUnit


class Gaussian(Corruption):
    """Adds normal noise whose standard deviation is the level.

    Source: Vincent et al. 2010, "Stacked Denoising Autoencoders", JMLR 11, section 3.3.
    """

    SUMMARY: ClassVar[str] = "adds normal noise; the level is its standard deviation"
    LEVELS_IN: ClassVar[tuple[LevelUnit, ...]] = tuple(LevelUnit)
    AUTO_LEVELS: ClassVar[tuple[float, float]] = (0.02, 0.22)

    def __call__(self, x: Tensor, level: float | Tensor) -> Tensor:
        """Adds noise of mean 0 and variance `level**2`."""
        return x + level * torch.randn_like(x)
