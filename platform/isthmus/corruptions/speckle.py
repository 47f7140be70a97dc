"""Noise that grows with the value, as in radar and ultrasound images."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from isthmus.corruptions._corruption import Corruption


class Speckle(Corruption):
    """Multiplies each value by 1 plus normal noise whose standard deviation is the level.

    Source: Goodman 1976, "Some fundamental properties of speckle", JOSA 66(11), with a normal
    distribution, which the mean of several looks approaches.
    """

    SUMMARY: ClassVar[str] = (
        "multiplies by normal noise around 1; the level is a share of the value"
    )
    HIGHEST_LEVEL: ClassVar[float] = 10.0

    def __call__(self, x: Tensor, level: float | Tensor) -> Tensor:
        """Adds noise of mean 0 and variance `(level * x)**2`."""
        return x * (1 + level * torch.randn_like(x))
