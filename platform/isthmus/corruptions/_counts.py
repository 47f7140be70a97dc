"""Counts of photons or events, whose variance is their mean."""

from __future__ import annotations

import torch
from torch import Tensor

# Below this level, shot noise is smaller than the resolution of float32 for the counts.
_LEAST_LEVEL = 1e-3


def shot_noise(x: Tensor, level: float | Tensor) -> Tensor:
    """Draws counts and scales them back, to values of mean x and variance `level**2 * x`.

    `1 / level**2` counts are expected at value 1. Values below 0 count as 0.
    """
    count_size = torch.as_tensor(level, dtype=x.dtype, device=x.device)
    count_size = count_size.clamp(min=_LEAST_LEVEL).square()
    return torch.poisson(x.clamp(min=0.0) / count_size) * count_size
