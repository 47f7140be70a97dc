"""Full precision under autocast, which small differences of large numbers need."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor


def with_all_digits(method: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Makes a method of tensors compute in float32 even under autocast.

    Autocast has no rule for Fourier transforms, and it runs convolutions of SSIM and of spectra in
    half precision, as if they were layers of a net.
    """

    @wraps(method)
    def called(self: Any, *tensors: Tensor) -> Tensor:
        device = tensors[0].device.type
        if not torch.is_autocast_enabled(device):
            return method(self, *tensors)
        with torch.autocast(device, enabled=False):
            return method(self, *(each.float() for each in tensors))

    return called
