"""Divergences of latents from a prior, estimated from samples with bounded memory.

Shapes: z_BD is a batch of samples (B, D); the parameters of N normal distributions are (N, D).
Comparisons of all pairs of rows are computed for a part of the rows at a time. If they do not fit
into memory at once, the backward pass computes them again, so that 4096 rows take no more memory
than a few hundred.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log, pi
from typing import Literal

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from isthmus.core.gaussian import standard_log_density

Kernel = Literal["inverse_multiquadratic", "gaussian"]

# The number of elements of the largest tensor that is held at once: 32 MiB in float32.
_MOST_NUMBERS = 2**23
# Widths of the inverse multiquadratic kernel, as in the authors' code, github.com/tolstikhin/wae.
_SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True)
class KlParts:
    """The parts of the KL divergence of posteriors from N(0, 1), averaged over rows, in nats.

    Attributes:
        mutual_information: The mutual information of a row's index and its latent, shape ().
        total_correlation: The total correlation of the latent dimensions over all rows, shape ().
        dimension_wise: The KL divergence of each latent dimension's distribution over all rows
            from N(0, 1), summed over D, shape ().
    """

    mutual_information: Tensor
    total_correlation: Tensor
    dimension_wise: Tensor


def kl_parts(z_BD: Tensor, mean: Tensor, log_variance: Tensor, rows: int = 1) -> KlParts:
    """Decomposes the KL term of a batch's posteriors into parts.

    The parts sum to the one-sample estimate of the KL term. Each density over all rows is
    estimated as the sum of the batch's posterior densities divided by `rows * B`
    (minibatch-weighted sampling). The log of this estimate is too low by log `rows`. The resulting
    bias is + log `rows` in the mutual information, + (D - 1) log `rows` in the total correlation
    and - D log `rows` in the dimension-wise term. These are constants, which have no gradient and
    cancel in the sum. With `rows` 1 the batch itself stands for all rows, and the bias is 0.

    Args:
        z_BD: One sample of each row's posterior.
        mean: The means of the posteriors, shape (B, D).
        log_variance: The log variances of the posteriors, shape (B, D).
        rows: The number of rows in the data set that the batch was drawn from.

    Source: Chen et al. 2018, "Isolating Sources of Disentanglement in VAEs", arXiv:1802.04942,
    equation 2; section 3.1 and appendix C.1 for the estimate.
    """
    posterior = _log_densities(z_BD, mean, log_variance).sum(dim=1)
    sums = _log_sums(z_BD, mean, log_variance) - log(rows * len(mean))
    joint, marginal = sums[:, 0], sums[:, 1:].sum(dim=1)
    return KlParts(
        mutual_information=(posterior - joint).mean(),
        total_correlation=(joint - marginal).mean(),
        dimension_wise=(marginal - standard_log_density(z_BD)).mean(),
    )


def mixture_log_density(z_BD: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Computes the log density of samples in an even mixture of N normal distributions.

    Args:
        z_BD: The samples.
        mean: The means of the distributions, shape (N, D).
        log_variance: Their log variances, shape (N, D).

    Returns:
        The log densities, shape (B,), in nats.
    """

    def of_part(z: Tensor) -> Tensor:
        densities = _log_densities(z.unsqueeze(1), mean, log_variance).sum(dim=2)
        return torch.logsumexp(densities, dim=1)

    return _by_parts(of_part, z_BD, numbers=mean.numel()) - log(len(mean))


def kl_to_mixture(
    mean_BD: Tensor, log_variance_BD: Tensor, other_mean_ND: Tensor, other_log_variance_ND: Tensor
) -> Tensor:
    """Bounds the KL divergence of normal distributions from an even mixture of N others.

    The bound is exact if N is 1, or if the components of the mixture lie far apart.

    Returns:
        The upper bounds, shape (B,), in nats.

    Source: Hershey & Olsen 2007, "Approximating the Kullback Leibler Divergence Between Gaussian
    Mixture Models", ICASSP, equation 18.
    """
    # Products of matrices in float64 hold (B, N) numbers at once, where the differences of all
    # pairs would be (B, N, D), and lose no digits where a component is narrow.
    mean, log_variance, other, other_log = (
        each.double() for each in (mean_BD, log_variance_BD, other_mean_ND, other_log_variance_ND)
    )
    precision_ND = (-other_log).exp()
    squares_BN = (log_variance.exp() + mean.square()) @ precision_ND.t()
    products_BN = mean @ (precision_ND * other).t()
    of_component_N = (precision_ND * other.square() + other_log).sum(dim=1)
    of_row_B1 = (1.0 + log_variance).sum(dim=1, keepdim=True)
    kl_BN = 0.5 * (squares_BN - 2 * products_BN + of_component_N - of_row_B1)
    bound = log(len(other)) - torch.logsumexp(-kl_BN, dim=1)
    return bound.to(mean_BD.dtype)


def mmd(x_BD: Tensor, y_BD: Tensor, kernel: Kernel) -> Tensor:
    """Estimates the squared maximum mean discrepancy of two samples without bias.

    For equal distributions the estimate is 0 on average, so it is negative half of the time.

    Args:
        x_BD: A sample of at least two rows.
        y_BD: Another sample, which may have another number of rows.
        kernel: `inverse_multiquadratic` is C / (C + |x - y|^2), summed over seven widths
            C = 2 D s; `gaussian` is exp(-|x - y|^2 / (2 D)).

    Returns:
        The estimate, shape ().

    Source: Gretton et al. 2012, "A Kernel Two-Sample Test", JMLR 13, equation 3. The inverse
    multiquadratic kernel and its widths are those of Tolstikhin et al. 2017, arXiv:1711.01558,
    algorithm 2, section 4 and the authors' code.
    """
    with torch.autocast(x_BD.device.type, enabled=False):
        x, y = x_BD.float(), y_BD.float()
        between = _similarities(x, y, kernel).mean() / len(y)
        return _within(x, kernel) + _within(y, kernel) - 2 * between


def _within(x: Tensor, kernel: Kernel) -> Tensor:
    """Computes the mean similarity of two different rows of a sample."""
    with_itself = _similarity(x.new_zeros(()), x.shape[1], kernel)
    return (_similarities(x, x, kernel).mean() - with_itself) / max(1, len(x) - 1)


def _similarities(x: Tensor, y: Tensor, kernel: Kernel) -> Tensor:
    """Computes the sum of each row's similarities to all rows of y, shape (B,)."""
    norm_y = y.square().sum(dim=1)

    def of_part(part: Tensor) -> Tensor:
        distance = part.square().sum(dim=1, keepdim=True) + norm_y - 2 * part @ y.t()
        return _similarity(distance.clamp(min=0.0), x.shape[1], kernel).sum(dim=1)

    return _by_parts(of_part, x, numbers=len(y))


def _similarity(distance: Tensor, features: int, kernel: Kernel) -> Tensor:
    """Computes the kernel of squared distances, in the same shape."""
    if kernel == "gaussian":
        return (-distance / (2 * features)).exp()
    widths = [2 * features * scale for scale in _SCALES]
    return torch.stack([width / (width + distance) for width in widths]).sum(dim=0)


def _log_sums(z_BD: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Computes the log of the sum of N densities, shape (B, 1 + D).

    The first column is that of the whole latent, and the others are those of each dimension alone.
    """

    def of_part(z: Tensor) -> Tensor:
        densities = _log_densities(z.unsqueeze(1), mean, log_variance)
        joint = torch.logsumexp(densities.sum(dim=2), dim=1)
        return torch.cat([joint.unsqueeze(1), torch.logsumexp(densities, dim=1)], dim=1)

    return _by_parts(of_part, z_BD, numbers=mean.numel())


def _log_densities(z: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Computes the log density of each latent dimension alone, by broadcasting."""
    scaled = (z - mean).square() * (-log_variance).exp()
    return -0.5 * (log(2 * pi) + log_variance + scaled)


def _by_parts(function: Callable[[Tensor], Tensor], x: Tensor, numbers: int) -> Tensor:
    """Applies a function of rows to as many rows at a time as the memory limit allows.

    Args:
        function: A function from (b, D) to (b, ...) that treats each row independently.
        x: The rows, shape (B, D).
        numbers: The number of elements that the function holds for one row.
    """
    rows = max(1, _MOST_NUMBERS // numbers)
    if len(x) <= rows:
        return function(x)
    parts = torch.split(x, rows)
    if not torch.is_grad_enabled():
        return torch.cat([function(part) for part in parts])
    return torch.cat(
        [
            checkpoint(function, part, use_reentrant=False, preserve_rng_state=False)
            for part in parts
        ]
    )
