"""What mixed precision must not touch: small differences of large numbers."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor


def with_all_digits(method: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A method of tensors that computes in float32 where all else computes in half of it.

    Autocast alone does not: it knows no Fourier transform, and takes the convolutions of SSIM for
    those of a net.
    """

    @wraps(method)
    def called(self: Any, *tensors: Tensor) -> Tensor:
        device = tensors[0].device.type
        if not torch.is_autocast_enabled(device):
            return method(self, *tensors)
        with torch.autocast(device, enabled=False):
            return method(self, *(each.float() for each in tensors))

    return called
