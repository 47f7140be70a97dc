"""The distance between the spectra of two waves, at several resolutions."""

from __future__ import annotations

import torch
from torch import Tensor

_TRANSFORM_SIZES = (1024, 512, 256, 128, 64, 32)
_MOST_SIZES = 3
_FLOOR = 1e-5


def spectral_distance(output: Tensor, target: Tensor) -> Tensor:
    """Computes the multi-resolution spectral distance of each pair of waves.

    It is the spectral convergence plus the mean difference of log magnitudes, averaged over
    resolutions.

    Args:
        output: The first waves, shape (B, C, T).
        target: The second waves, shape (B, C, T), with T >= 32.

    Returns:
        The distances, shape (B,).

    Source: Yamamoto et al. 2020, "Parallel WaveGAN", arXiv:1910.11480, equations 4 to 6, with the
    three largest transforms that fit into the window.
    """
    sizes = [size for size in _TRANSFORM_SIZES if size <= target.shape[-1]][:_MOST_SIZES]
    distances = [_at_size(output, target, size) for size in sizes]
    return torch.stack(distances).mean(dim=0)


def _at_size(output: Tensor, target: Tensor, size: int) -> Tensor:
    ours, theirs = _magnitudes(output, size), _magnitudes(target, size)
    norm = torch.linalg.vector_norm
    convergence: Tensor = norm(theirs - ours, dim=1) / norm(theirs, dim=1).clamp(min=_FLOOR)
    return convergence + (theirs.log() - ours.log()).abs().mean(dim=1)


def _magnitudes(x: Tensor, size: int) -> Tensor:
    """Computes all spectral magnitudes of each row: (B, C, T) to (B, magnitudes).

    Each is at least a floor, so that logarithms and gradients are finite at 0.
    """
    window = torch.hann_window(size, device=x.device, dtype=x.dtype)
    transform = torch.stft(
        x.flatten(0, 1),
        size,
        hop_length=size // 4,
        window=window,
        center=False,
        return_complex=True,
    )
    power = transform.real.square() + transform.imag.square()
    return power.clamp(min=_FLOOR**2).sqrt().reshape(len(x), -1)
