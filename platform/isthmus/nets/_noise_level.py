"""Estimates how strong the noise of a row is, from what its noise alone makes of its curvature."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

# The median of the absolute values of a standard normal distribution.
_MEDIAN = 0.6745
# The norm of a second difference, (1, -2, 1).
_NORM = 6**0.5
_LEAST_SIDE = 3
# Of every second place: neighbouring differences share pixels, and say little more.
_STEP = 2


def noise_level(x: Tensor) -> Tensor:
    """Estimates the standard deviation of the white noise in each row.

    Second differences along every axis leave little of a picture or a wave, and all of the noise;
    their median absolute value ignores the few places with edges. The estimate of a row times a
    number is the estimate times that number.

    Args:
        x: Rows of shape (B, C, H, W) or (B, C, T).

    Returns:
        Shape (B,), in the units of the rows. It has no gradient.

    Source: Immerkaer 1996, "Fast Noise Variance Estimation", CVIU 64(2), equations 1 to 3, for the
    differences; Donoho & Johnstone 1994, "Ideal Spatial Adaptation by Wavelet Shrinkage",
    Biometrika 81(3), section 4.2, for the median in place of the mean.
    """
    axes = x.ndim - 2
    short = [max(0, _LEAST_SIDE - side) for side in x.shape[2:]]
    if any(short):
        x = functional.pad(x, [pad for axis in reversed(short) for pad in (0, axis)], "replicate")
    differences = x.detach()
    for axis in range(2, x.ndim):
        differences = _second_differences(differences, axis)
    sizes = differences.abs().flatten(1).sort(dim=1).values
    return sizes[:, (sizes.shape[1] - 1) // 2] / (_MEDIAN * _NORM**axes)


def _second_differences(x: Tensor, axis: int) -> Tensor:
    every = (slice(None),) * axis + (slice(None, None, _STEP),)
    count = x.shape[axis] - _LEAST_SIDE + 1
    before, middle, after = (x.narrow(axis, first, count)[every] for first in range(_LEAST_SIDE))
    return before - 2 * middle + after
