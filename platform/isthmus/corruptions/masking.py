"""Values that are lost."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from isthmus.corruptions._corruption import Corruption


class Masking(Corruption):
    """Sets values to 0; the level is the share of them.

    Source: Vincent et al. 2008, "Extracting and Composing Robust Features with Denoising
    Autoencoders", ICML, section 2.3.
    """

    SUMMARY: ClassVar[str] = "sets values to 0; the level is their share"
    TAKES_A_SHARE: ClassVar[bool] = True
    HIGHEST_LEVEL: ClassVar[float] = 1.0

    def __call__(self, x: Tensor, level: float | Tensor) -> Tensor:
        """Sets each value to 0 with probability `level`."""
        return torch.where(torch.rand_like(x) < level, torch.zeros_like(x), x)
