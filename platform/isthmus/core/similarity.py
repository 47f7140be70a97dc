"""Structural similarity of images with values in [0, 1], and the peak signal-to-noise ratio."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    structural_similarity_index_measure,
)

_KERNEL = 11
# The weights of the scales, from fine to coarse. Images that are too small use the first few.
_SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def ssim(output: Tensor, target: Tensor) -> Tensor:
    """Computes the structural similarity of each pair of images.

    Args:
        output: The first images, shape (B, C, H, W).
        target: The second images, shape (B, C, H, W), in [0, 1].

    Returns:
        The similarities, shape (B,). They are at most 1, and 1 for equal images.

    Source: Wang et al. 2004, "Image Quality Assessment: From Error Visibility to Structural
    Similarity", IEEE TIP 13(4), equation 13, with a Gaussian window of 11 pixels and sigma 1.5, or
    the largest window that fits into the image.
    """
    found = structural_similarity_index_measure(
        output,
        target,
        gaussian_kernel=min(target.shape[2:]) >= _KERNEL,
        kernel_size=_window(target),
        reduction="none",
        data_range=1.0,
    )
    assert isinstance(found, Tensor)  # noqa: S101 (for the type checker)
    return found.reshape(len(target))


def multiscale_ssim(output: Tensor, target: Tensor) -> Tensor:
    """Computes the structural similarity over up to five scales, shape (B,), at most 1.

    Source: Wang et al. 2003, "Multiscale Structural Similarity for Image Quality Assessment",
    Asilomar, equation 7, with the weights of section 3.2, which are rescaled to sum to 1 if there
    are fewer scales.
    """
    shorter = min(target.shape[2], target.shape[3])
    # The window must fit into the coarsest scale, by the formula that torchmetrics uses.
    scales = max(n for n in range(1, len(_SCALES) + 1) if shorter // max(1, n - 1) ** 2 >= _KERNEL)
    weights = _SCALES[:scales]
    found = multiscale_structural_similarity_index_measure(
        output,
        target,
        kernel_size=_KERNEL,
        reduction="none",
        data_range=1.0,
        betas=tuple(weight / sum(weights) for weight in weights),
        # A negative similarity has no real power.
        normalize="relu",
    )
    return found.reshape(len(target))


def peak_signal_to_noise_ratio(output: Tensor, target: Tensor) -> float:
    """Computes the ratio in dB over all rows; the peak is the range of the target's values."""
    peak = target.amax() - target.amin()
    return float(10 * torch.log10(peak.square() / (output - target).square().mean()))


def _window(x: Tensor) -> int:
    shorter = min(_KERNEL, x.shape[2], x.shape[3])
    return shorter - (shorter + 1) % 2
