"""Measures of similarity: structural similarity of images, and signal-to-noise ratios in dB.

Functions import torchmetrics when they are called, because its import takes longer than torch's.
"""

from __future__ import annotations

import torch
from torch import Tensor

_KERNEL = 11
# The weights of the scales, from fine to coarse. Images that are too small use the first few.
_SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
# Float32 does not tell smaller squared errors from none.
_LEAST_ERROR = 1e-15
# The ratio of an output in which nothing of the target is left, and of one that goes against it.
_LOWEST_DB = -150.0
_OPPOSED_DB = -30.0
# An error of 30 dB below the signal is small enough to learn from: rows with smaller ones would
# decide the mean of the logarithms.
_LEARNED_SHARE = 1e-3
# The power of a row at -80 dB of full scale, below which rows count as silent.
_SILENT_POWER = 1e-8
# Float32 does not tell smaller spreads, as a share of the largest value, from none.
_LEAST_SPREAD = 1e-9


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
    from torchmetrics.functional.image import structural_similarity_index_measure

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
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

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


def psnr_db(output: Tensor, target: Tensor, peak: float | Tensor) -> Tensor:
    """Computes the peak signal-to-noise ratio of each row in dB, shape (B,).

    The mean over the rows is what papers on images report. Equal rows have about 150 dB.

    Args:
        output: Shape (B, *row).
        target: Shape (B, *row).
        peak: The highest possible value less the lowest: 255 for pixels of 8 bits.
    """
    error = ((output - target) / peak).square().flatten(1).mean(dim=1)
    return -10 * torch.log10(error.clamp(min=_LEAST_ERROR))


def si_sdr_db(output: Tensor, target: Tensor) -> Tensor:
    """Computes the scale-invariant signal-to-distortion ratio of each row in dB, shape (B,).

    The loudness of the output does not count, and neither does a constant offset.

    Args:
        output: Shape (B, C, T). The ratios of the channels are averaged.
        target: Shape (B, C, T).

    Returns:
        NaN for a row whose target is silent, because nothing is left to measure the noise by. A
        constant output has -150 dB. An output that is negatively correlated with the target has at
        most -30 dB: no loudness above 0 brings it nearer, though the formula takes either sign.

    Source: Le Roux et al. 2019, "SDR - Half-baked or Well Done?", ICASSP, arXiv:1811.02508,
    equation 5.
    """
    from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio

    output, target = output.double(), target.double()
    peak = output.abs().amax(dim=-1, keepdim=True)
    spread, output_spread = (
        each.std(dim=-1, correction=0, keepdim=True) for each in (target, output)
    )
    # Each in units of its own loudness, in which quiet signals are as exact as loud ones.
    output, target = output / output_spread, target / spread
    ratio = scale_invariant_signal_distortion_ratio(output, target, zero_mean=True)
    centred = target - target.mean(dim=-1, keepdim=True)
    is_opposed = (output * centred).sum(dim=-1) < 0
    ratio = torch.where(is_opposed, ratio.clamp(max=_OPPOSED_DB), ratio).clamp(min=_LOWEST_DB)
    # Means of equal numbers are rounded, so that the spread of a constant is not always 0.
    varies = (output_spread > _LEAST_SPREAD * peak).squeeze(-1)
    ratio = ratio.where(varies, _LOWEST_DB)
    return ratio.where(spread.squeeze(-1) > 0, torch.nan).nanmean(dim=1).to(torch.float32)


def log_noise_to_signal(output: Tensor, target: Tensor) -> Tensor:
    """Computes the natural logarithm of the squared error over the target's variance, shape (B,).

    Its gradient does not depend on the loudness of a row. From 0 for an output of silence it falls
    to -6.9, which is 30 dB.

    Args:
        output: Shape (B, C, T).
        target: Shape (B, C, T). A silent target counts as one at -80 dB of full scale.

    Source: Wisdom et al. 2020, "Unsupervised Sound Separation Using Mixture Invariant Training",
    arXiv:2006.12701, equation 2, over the power of the target.
    """
    noise = (output - target).square().flatten(1).mean(dim=1)
    centred = target - target.mean(dim=-1, keepdim=True)
    signal = centred.square().flatten(1).mean(dim=1).clamp(min=_SILENT_POWER)
    return (noise / signal + _LEARNED_SHARE).log()


def _window(x: Tensor) -> int:
    shorter = min(_KERNEL, x.shape[2], x.shape[3])
    return shorter - (shorter + 1) % 2
