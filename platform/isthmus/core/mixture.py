"""Gaussian mixtures with full covariances, computed from given memberships of the rows.

Shapes: K is the number of components, and F of features. z_BF are rows. membership_BK are their
memberships in the components, which are at least 0 and sum to 1 over K.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log, pi

import torch
from torch import Tensor, nn

from isthmus.core.workers import sum_over_workers

_TINY = 1e-8


@dataclass(frozen=True)
class Components:
    """The parameters of a Gaussian mixture.

    Attributes:
        share_K: The mixture weights, which are fractions of all rows and sum to 1.
        mean_KF: The means.
        covariance_KFF: The covariances, which are symmetric and positive semidefinite.
    """

    share_K: Tensor
    mean_KF: Tensor
    covariance_KFF: Tensor


def components_of(z_BF: Tensor, membership_BK: Tensor) -> Components:
    """Computes the weight, mean and covariance of each component, with gradients.

    Source: Zong et al. 2018, "Deep Autoencoding Gaussian Mixture Model for Unsupervised Anomaly
    Detection", ICLR, equation 5.
    """
    mass_K = membership_BK.sum(dim=0)
    mean_KF = (membership_BK.t() @ z_BF) / mass_K.clamp(min=_TINY).unsqueeze(1)
    return Components(
        share_K=mass_K / len(z_BF),
        mean_KF=mean_KF,
        covariance_KFF=_scatter(z_BF, membership_BK, mean_KF)
        / mass_K.clamp(min=_TINY).view(-1, 1, 1),
    )


def energy(z_BF: Tensor, components: Components, floor: float) -> Tensor:
    """Computes the negative log-likelihood of each row, shape (B,), in nats.

    Args:
        z_BF: The rows.
        components: The mixture.
        floor: A constant that is added to each variance, so that each covariance can be inverted.

    Source: Zong et al. 2018, equation 6, computed from the Cholesky factor of each covariance.
    """
    features = z_BF.shape[1]
    identity = torch.eye(features, dtype=z_BF.dtype, device=z_BF.device)
    factor_KFF = torch.linalg.cholesky(components.covariance_KFF + floor * identity)
    whitened_KFB = torch.linalg.solve_triangular(factor_KFF, _offset(z_BF, components), upper=False)
    half_log_det_K = factor_KFF.diagonal(dim1=1, dim2=2).log().sum(dim=1)
    return _energy(whitened_KFB, half_log_det_K, components)


class FixedEnergy:
    """The `energy` of a fixed mixture, computed without a triangular solve, which ONNX lacks."""

    @torch.no_grad()
    def __init__(self, components: Components, floor: float) -> None:
        """Inverts the Cholesky factors of the covariances.

        Args:
            components: The mixture.
            floor: The constant that is added to each variance, as in `energy`.
        """
        covariance_KFF = components.covariance_KFF.double()
        identity = torch.eye(covariance_KFF.shape[1], dtype=torch.float64)
        factor_KFF = torch.linalg.cholesky(covariance_KFF + floor * identity)
        inverse_KFF = torch.linalg.solve_triangular(factor_KFF, identity, upper=False)
        half_log_det_K = factor_KFF.diagonal(dim1=1, dim2=2).log().sum(dim=1)
        self._components = components
        self._inverse_KFF = inverse_KFF.to(components.mean_KF.dtype)
        self._half_log_det_K = half_log_det_K.to(components.mean_KF.dtype)

    def __call__(self, z_BF: Tensor) -> Tensor:
        """Computes the energy of rows on the CPU, shape (B,), in nats."""
        whitened_KFB = self._inverse_KFF @ _offset(z_BF, self._components)
        return _energy(whitened_KFB, self._half_log_det_K, self._components)


@torch.no_grad()
def sample(components: Components, floor: float, count: int, generator: torch.Generator) -> Tensor:
    """Draws rows from a mixture, shape (count, F).

    Args:
        components: The mixture.
        floor: The constant that is added to each variance, as in `energy`.
        count: The number of rows.
        generator: A generator of the CPU.
    """
    mean_KF, covariance_KFF = (
        each.double().cpu() for each in (components.mean_KF, components.covariance_KFF)
    )
    chosen_B = torch.multinomial(
        components.share_K.cpu(), count, replacement=True, generator=generator
    )
    identity = torch.eye(mean_KF.shape[1], dtype=torch.float64)
    factor_KFF = torch.linalg.cholesky(covariance_KFF + floor * identity)
    noise_BF1 = torch.randn(count, mean_KF.shape[1], 1, generator=generator).double()
    drawn_BF = mean_KF[chosen_B] + (factor_KFF[chosen_B] @ noise_BF1).squeeze(2)
    found: Tensor = drawn_BF.to(components.mean_KF)
    return found


def _offset(z_BF: Tensor, components: Components) -> Tensor:
    return (z_BF.unsqueeze(1) - components.mean_KF).permute(1, 2, 0)


def _energy(whitened_KFB: Tensor, half_log_det_K: Tensor, components: Components) -> Tensor:
    features = whitened_KFB.shape[1]
    log_density_KB = -0.5 * (whitened_KFB.square().sum(dim=1) + features * log(2 * pi))
    log_share_K = components.share_K.clamp(min=_TINY).log()
    weighted_KB = (log_share_K - half_log_det_K).unsqueeze(1) + log_density_KB
    likelihood: Tensor = weighted_KB.logsumexp(dim=0)
    return -likelihood


def inverse_variances(components: Components, floor: float) -> Tensor:
    """Computes the sum of 1 / variance over components and features, shape ().

    The sum is large if a component collapses.

    Source: Zong et al. 2018, section 3.3, P(Sigma) in equation 7.
    """
    variance_KF = components.covariance_KFF.diagonal(dim1=1, dim2=2)
    return (variance_KF + floor).reciprocal().sum()


class RunningMixture(nn.Module):
    """The mixture of all training rows as a moving average, which is the same on all workers.

    Attributes:
        mass_K: The moving average of the number of rows in each component; 0 before the first
            batch.
        mean_KF: The means.
        covariance_KFF: The covariances.
    """

    mass_K: Tensor
    mean_KF: Tensor
    covariance_KFF: Tensor

    def __init__(self, components: int, features: int) -> None:
        super().__init__()
        self.register_buffer("mass_K", torch.zeros(components))
        self.register_buffer("mean_KF", torch.zeros(components, features))
        self.register_buffer("covariance_KFF", torch.eye(features).repeat(components, 1, 1))

    @torch.no_grad()
    def update(self, z_BF: Tensor, membership_BK: Tensor, rate: float) -> None:
        """Moves the mixture towards a batch, of which each worker has a part.

        Args:
            z_BF: This worker's rows.
            membership_BK: The memberships of this worker's rows.
            rate: The weight of this batch relative to all earlier ones, in (0, 1].
        """
        mass_K = sum_over_workers(membership_BK.sum(dim=0))
        least = mass_K.clamp(min=_TINY)
        mean_KF = sum_over_workers(membership_BK.t() @ z_BF) / least.unsqueeze(1)
        scatter_KFF = sum_over_workers(_scatter(z_BF, membership_BK, mean_KF))
        # Two weighted sets are merged about their common mean, so that no precision is lost where
        # the means are far from 0 (Chan et al. 1979, the pairwise update).
        kept_K = (1 - rate) * self.mass_K
        together_K = kept_K + rate * mass_K
        part_K = rate * mass_K / together_K.clamp(min=_TINY)
        offset_KF = mean_KF - self.mean_KF
        between_KFF = offset_KF.unsqueeze(2) * offset_KF.unsqueeze(1)
        part_K11 = part_K.view(-1, 1, 1)
        within_KFF = torch.lerp(self.covariance_KFF, scatter_KFF / least.view(-1, 1, 1), part_K11)
        self.covariance_KFF.copy_(within_KFF + part_K11 * (1 - part_K11) * between_KFF)
        self.mean_KF.add_(part_K.unsqueeze(1) * offset_KF)
        self.mass_K.copy_(together_K)

    def components(self) -> Components:
        """Returns the current mixture. Before the first batch all its components are the same."""
        mass_K = self.mass_K + _TINY
        return Components(mass_K / mass_K.sum(), self.mean_KF, self.covariance_KFF)


def _scatter(z_BF: Tensor, membership_BK: Tensor, mean_KF: Tensor) -> Tensor:
    """Computes the scatter matrix of each component about its mean, shape (K, F, F).

    It is the sum of weighted outer products over B.
    """
    centred_KBF = z_BF.unsqueeze(0) - mean_KF.unsqueeze(1)
    weighted_KBF = membership_BK.t().unsqueeze(2) * centred_KBF
    return weighted_KBF.transpose(1, 2) @ centred_KBF
