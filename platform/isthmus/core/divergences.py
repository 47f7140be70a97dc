"""How far a set of latents is from a prior, estimated from samples; memory stays bounded.

Shapes: z_BD a batch of samples (B, D); parameters of N normal distributions are (N, D). What
compares each row with each is made for a part of the rows at a time, and made again for the
backward pass where it does not fit at once: so 4096 rows take no more memory than a few hundred.
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

# Numbers in the largest tensor that is held at once: 32 MiB in float32.
_MOST_NUMBERS = 2**23
# Widths of the inverse multiquadratic kernel, as in the authors' code, github.com/tolstikhin/wae.
_SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True)
class KlParts:
    """What the KL term of a posterior from N(0, 1), averaged over rows, is made of; in nats.

    Attributes:
        mutual_information: Shape (). Between a row's index and its latent.
        total_correlation: Shape (). Of the latent's numbers, over all rows.
        dimension_wise: Shape (). KL of each number's distribution over all rows from N(0, 1),
            summed over D.
    """

    mutual_information: Tensor
    total_correlation: Tensor
    dimension_wise: Tensor


def kl_parts(z_BD: Tensor, mean: Tensor, log_variance: Tensor, rows: int = 1) -> KlParts:
    """The decomposed KL term of a batch's posteriors; the three sum to its one-sample estimate.

    Each density over all rows is estimated as the sum of the batch's posterior densities over
    `rows * B` (minibatch-weighted sampling). That is too low by log `rows`: in the sum the bias
    is none, in the mutual information it is + log `rows`, in the total correlation
    + (D - 1) log `rows` and in the dimension-wise term - D log `rows`, constants that no gradient
    sees. With `rows` 1 the batch itself is taken for all rows, and each part is what it says.

    Args:
        z_BD: A sample of each row's posterior.
        mean: Shape (B, D).
        log_variance: Shape (B, D).
        rows: Rows of the data set that the batch was drawn from.

    Source: Chen et al. 2018, "Isolating Sources of Disentanglement in VAEs", arXiv:1802.04942,
    equation 2, and section 3.1 with appendix C.1 for the estimate.
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
    """The log density of N normal distributions, (N, D), mixed evenly; shape (B,), in nats."""

    def of_part(z: Tensor) -> Tensor:
        densities = _log_densities(z.unsqueeze(1), mean, log_variance).sum(dim=2)
        return torch.logsumexp(densities, dim=1)

    return _by_parts(of_part, z_BD, numbers=mean.numel()) - log(len(mean))


def mmd(x_BD: Tensor, y_BD: Tensor, kernel: Kernel) -> Tensor:
    """The squared maximum mean discrepancy of two samples, estimated without bias.

    The estimate is 0 on average for equal distributions, and so below 0 half of the time.

    Args:
        x_BD: A sample of at least two rows.
        y_BD: Another, of as many or other.
        kernel: `inverse_multiquadratic`: C / (C + |x - y|^2), summed over seven widths
            C = 2 D s; `gaussian`: exp(-|x - y|^2 / (2 D)).

    Returns:
        Shape ().

    Source: Gretton et al. 2012, "A Kernel Two-Sample Test", JMLR 13, equation 3; kernel and
    widths of the first as in Tolstikhin et al. 2017, arXiv:1711.01558, algorithm 2, section 4 and
    the authors' code.
    """
    with torch.autocast(x_BD.device.type, enabled=False):
        x, y = x_BD.float(), y_BD.float()
        between = _similarities(x, y, kernel).mean() / len(y)
        return _within(x, kernel) + _within(y, kernel) - 2 * between


def _within(x: Tensor, kernel: Kernel) -> Tensor:
    """The mean similarity of two different rows."""
    with_itself = _similarity(x.new_zeros(()), x.shape[1], kernel)
    return (_similarities(x, x, kernel).mean() - with_itself) / max(1, len(x) - 1)


def _similarities(x: Tensor, y: Tensor, kernel: Kernel) -> Tensor:
    """Each row's similarities to all rows of y, summed: shape (B,)."""
    norm_y = y.square().sum(dim=1)

    def of_part(part: Tensor) -> Tensor:
        distance = part.square().sum(dim=1, keepdim=True) + norm_y - 2 * part @ y.t()
        return _similarity(distance.clamp(min=0.0), x.shape[1], kernel).sum(dim=1)

    return _by_parts(of_part, x, numbers=len(y))


def _similarity(distance: Tensor, features: int, kernel: Kernel) -> Tensor:
    """The kernel at squared distances, of the same shape."""
    if kernel == "gaussian":
        return (-distance / (2 * features)).exp()
    widths = [2 * features * scale for scale in _SCALES]
    return torch.stack([width / (width + distance) for width in widths]).sum(dim=0)


def _log_sums(z_BD: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """(B, 1 + D): the log of the N densities' sum, of the row as a whole and of each number."""

    def of_part(z: Tensor) -> Tensor:
        densities = _log_densities(z.unsqueeze(1), mean, log_variance)
        joint = torch.logsumexp(densities.sum(dim=2), dim=1)
        return torch.cat([joint.unsqueeze(1), torch.logsumexp(densities, dim=1)], dim=1)

    return _by_parts(of_part, z_BD, numbers=mean.numel())


def _log_densities(z: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """The log density of each number of a latent alone, by broadcasting."""
    scaled = (z - mean).square() * (-log_variance).exp()
    return -0.5 * (log(2 * pi) + log_variance + scaled)


def _by_parts(function: Callable[[Tensor], Tensor], x: Tensor, numbers: int) -> Tensor:
    """A function that takes rows apart, of as many rows at once as memory is meant to hold.

    Args:
        function: (b, D) to (b, ...).
        x: Shape (B, D).
        numbers: In what the function makes of one row.
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
