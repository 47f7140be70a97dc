"""Normal distributions with a diagonal covariance, as posteriors and priors of a latent.

Shapes: All arguments are (B, D) and may have further axes before these; sums are over D, in nats.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import log, pi

import torch
from torch import Tensor
from torch.nn import functional

# Outside this range a variance overflows or underflows float32 early in training.
_LOG_VARIANCE_RANGE = (-20.0, 20.0)


def posterior(encoded: Tensor) -> tuple[Tensor, Tensor]:
    """Splits an encoder's output (B, 2 * D) into a mean and a log variance, each (B, D).

    Both are in full precision, because bfloat16 has too few digits for densities and divergences.
    """
    full = encoded.to(torch.promote_types(encoded.dtype, torch.float32))
    mean, log_variance = full.chunk(2, dim=-1)
    return mean, log_variance.clamp(*_LOG_VARIANCE_RANGE)


def draw(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Draws a sample that passes gradients to both parameters.

    Source: Kingma & Welling 2013, arXiv:1312.6114, section 2.4 (the reparameterization trick).
    """
    return mean + torch.randn_like(mean) * (0.5 * log_variance).exp()


def product(
    mean: Tensor, log_variance: Tensor, other_mean: Tensor, other_log_variance: Tensor
) -> tuple[Tensor, Tensor]:
    """Computes the mean and the log variance of a product of two normal densities.

    The precision of the product is the sum of both precisions.

    Source: Sonderby et al. 2016, "Ladder Variational Autoencoders", arXiv:1602.02282, section 2.2
    (the precision-weighted combination).
    """
    # The fraction of the product's precision that comes from the first density. It tells the
    # variance too, with operations that ONNX supports: a score may be made of it.
    log_odds = other_log_variance - log_variance
    combined = log_variance + functional.logsigmoid(log_odds)
    return torch.lerp(other_mean, mean, torch.sigmoid(log_odds)), combined


def log_density(z: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Computes log N(z; mean, exp(log_variance)), summed over the last axis: (..., D) to (...)."""
    scaled = (z - mean).square() * (-log_variance).exp()
    return -0.5 * (log(2 * pi) + log_variance + scaled).sum(dim=-1)


def standard_log_density(z: Tensor) -> Tensor:
    """Computes log N(z; 0, 1), summed over the last axis: (..., D) to (...)."""
    return -0.5 * (log(2 * pi) + z.square()).sum(dim=-1)


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Computes the KL divergence of N(mean, exp(log_variance)) from N(0, 1).

    Args:
        mean: The means, shape (B, D).
        log_variance: The log variances, shape (B, D).

    Returns:
        The divergences, shape (B,), in nats, summed over D.

    Source: Kingma & Welling 2013, arXiv:1312.6114, appendix B.
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).sum(dim=-1)


def kl_between(
    mean: Tensor, log_variance: Tensor, other_mean: Tensor, other_log_variance: Tensor
) -> Tensor:
    """Computes the KL divergence of N(mean, ...) from N(other_mean, ...).

    Returns:
        The divergences, shape (B,), in nats, summed over D.
    """
    ratio = (log_variance - other_log_variance).exp()
    distance = (mean - other_mean).square() * (-other_log_variance).exp()
    return 0.5 * (ratio + distance - 1.0 + other_log_variance - log_variance).sum(dim=-1)


def evidence_metrics(parts: Mapping[str, Tensor], means: Tensor) -> dict[str, float]:
    """Computes the evidence lower bound and its KL term, in nats per row, and the active units.

    Args:
        parts: The `reconstruction` and `kl` terms of a loss, not weighted.
        means: The posterior means of the same rows, shape (N, D).
    """
    return {
        "elbo_nats": -float(parts["reconstruction"] + parts["kl"]),
        "kl_nats": float(parts["kl"]),
        "active_units": active_units(means),
    }


def active_units(means: Tensor, least_variance: float = 0.01) -> float:
    """Counts the latent dimensions that depend on the row.

    Args:
        means: The posterior means of N rows, shape (N, D).
        least_variance: A dimension is active if the variance of its means is above this value.

    Source: Burda et al. 2015, "Importance Weighted Autoencoders", arXiv:1509.00519, section 5.2.
    """
    return float((means.var(dim=0) > least_variance).sum())
