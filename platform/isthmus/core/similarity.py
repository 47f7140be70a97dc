"""Structural similarity of images whose values span [0, 1]."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    structural_similarity_index_measure,
)

_KERNEL = 11
# Weights of the scales, from fine to coarse; images that are too small for all use the first few.
_SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def ssim(output: Tensor, target: Tensor) -> Tensor:
    """The structural similarity of each pair of images.

    Args:
        output: Shape (B, C, H, W).
        target: Shape (B, C, H, W), in [0, 1].

    Returns:
        Shape (B,), at most 1; 1 where both are the same.

    Source: Wang et al. 2004, "Image Quality Assessment: From Error Visibility to Structural
    Similarity", IEEE TIP 13(4), equation 13; Gaussian window of 11 pixels, sigma 1.5, or the
    largest that the image holds.
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
    """The structural similarity over up to five scales, shape (B,), at most 1.

    Source: Wang et al. 2003, "Multiscale Structural Similarity for Image Quality Assessment",
    Asilomar, equation 7; the weights of its section 3.2, made to sum to 1 where scales are fewer.
    """
    shorter = min(target.shape[2], target.shape[3])
    # The window fits the coarsest scale, by torchmetrics' reckoning.
    scales = max(n for n in range(1, len(_SCALES) + 1) if shorter // max(1, n - 1) ** 2 >= _KERNEL)
    weights = _SCALES[:scales]
    found = multiscale_structural_similarity_index_measure(
        output,
        target,
        kernel_size=_KERNEL,
        reduction="none",
        data_range=1.0,
        betas=tuple(weight / sum(weights) for weight in weights),
        # Below zero there is no real power of a similarity.
        normalize="relu",
    )
    return found.reshape(len(target))


def peak_signal_to_noise_ratio(output: Tensor, target: Tensor) -> float:
    """In dB, over all rows; the peak is the range of the target's values."""
    peak = target.amax() - target.amin()
    return float(10 * torch.log10(peak.square() / (output - target).square().mean()))


def _window(x: Tensor) -> int:
    shorter = min(_KERNEL, x.shape[2], x.shape[3])
    return shorter - (shorter + 1) % 2
