"""Noise of a given root mean square."""

from __future__ import annotations

import torch
from torch import Tensor


def at_level(x: Tensor, level: float | Tensor) -> Tensor:
    """Scales each row to a root mean square; silence stays silent.

    Args:
        x: The rows, shape (B, C, T).
        level: The root mean square, one number or shape (B, 1, 1).
    """
    power = x.square().mean(dim=(1, 2), keepdim=True)
    return level * x * power.clamp(min=torch.finfo(torch.float32).tiny).rsqrt()
