"""Values that are as low or as high as can be, as of dead and stuck pixels."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from isthmus.corruptions._corruption import Corruption


class SaltAndPepper(Corruption):
    """Sets values to the lowest or the highest of the batch; the level is the share of them.

    Source: Vincent et al. 2010, "Stacked Denoising Autoencoders", JMLR 11, section 3.3.
    """

    SUMMARY: ClassVar[str] = (
        "sets values to the batch's lowest or highest; the level is their share"
    )
    TAKES_A_SHARE: ClassVar[bool] = True
    HIGHEST_LEVEL: ClassVar[float] = 1.0
    AUTO_LEVELS: ClassVar[tuple[float, float]] = (0.02, 0.3)

    def __call__(self, x: Tensor, level: float | Tensor) -> Tensor:
        """Sets each value to either extreme with probability `level / 2`."""
        chance = torch.rand_like(x)
        low, high = x.amin(), x.amax()
        return torch.where(chance < level / 2, low, torch.where(chance < level, high, x))
