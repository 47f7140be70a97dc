"""Scores rows by how improbable their latents are under a mixture of normal distributions."""

from __future__ import annotations

import warnings
from math import log, pi
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from sklearn.covariance import ledoit_wolf
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch import Tensor

from isthmus.scores._score import Score, Views, rows_at_most, settled
from isthmus.scores._sketch import Sketch
from isthmus.spec import SpecModel

_MOST_ROWS = 5000
# Latents of more values are sketched to as many.
_WIDEST = 64
# A component needs so many rows for each dimension.
_ROWS_PER_DIMENSION = 5
# This share of the latents' mean variance is added to every direction.
_LEAST_VARIANCE = 0.01


class LatentDensity(Score):
    """Scores a row by the negative log-likelihood of its latent under a Gaussian mixture.

    The number of components is the one with the best Bayesian information criterion. Each
    component's covariance is shrunk towards a sphere, by as much as its number of rows asks for.

    Source: McLachlan & Peel 2000, "Finite Mixture Models", Wiley; shrinkage by Ledoit & Wolf 2004,
    "A well-conditioned estimator for large-dimensional covariance matrices", Journal of
    Multivariate Analysis 88, p. 365.
    """

    class Config(SpecModel):
        """The size of the mixture."""

        components: int = Field(default=8, ge=1, le=256)
        """The most components that are tried."""

    SUMMARY: ClassVar[str] = "how improbable the latent is; strange combinations of usual parts"
    FITTED: ClassVar[tuple[str, ...]] = ("centre", "scale", "means", "whitening", "log_weights")
    USES_LATENTS: ClassVar[bool] = True
    options: Config
    centre: Tensor
    scale: Tensor
    means: Tensor
    whitening: Tensor
    log_weights: Tensor

    def __init__(self, options: SpecModel) -> None:
        """Creates a score that is not fitted yet."""
        super().__init__(options)
        self.sketch = Sketch(_WIDEST)

    def fit(self, train: Views, held_out: Views, seed: int) -> None:
        """Fits the mixture to the latents of the training rows."""
        self.sketch.fit(train.latents.shape[1])
        latents: Tensor = self.sketch(train.latents)
        latents = latents[rows_at_most(len(latents), _MOST_ROWS, seed)]
        self.keep("centre", latents.mean(dim=0))
        spread = latents.std(dim=0, correction=0)
        self.keep("scale", torch.where(spread > 1e-9, spread, 1.0))
        points = ((latents - self.centre) / self.scale).double().numpy()
        mixture = _best_mixture(points, self.options.components, seed)
        owners = mixture.predict(points)
        kept = [k for k in range(mixture.n_components) if (owners == k).sum() >= 1]
        covariances = [_shrunk(points[owners == k], mixture.means_[k]) for k in kept]
        factors = np.linalg.cholesky(np.linalg.inv(np.stack(covariances)))
        volumes = np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(axis=1)
        shares = np.log([(owners == k).mean() for k in kept])
        constant = -0.5 * points.shape[1] * log(2 * pi)
        self.keep("means", torch.from_numpy(mixture.means_[kept]).float())
        self.keep("whitening", torch.from_numpy(factors).float())
        self.keep("log_weights", torch.from_numpy(shares + volumes + constant).float())

    def forward(self, views: Views) -> Tensor:
        """Computes the negative log-likelihoods, shape (B,), in nats."""
        latents = (self.sketch(views.latents) - self.centre) / self.scale
        # One matrix product for each component: (K, B, D) x (K, D, D).
        apart = torch.matmul(latents - self.means[:, None], self.whitening)
        log_densities = self.log_weights[:, None] - 0.5 * apart.square().sum(dim=2)
        return settled(-torch.logsumexp(log_densities, dim=0))


def _best_mixture(points: np.ndarray, most: int, seed: int) -> GaussianMixture:
    rows, width = points.shape
    fitted = []
    with warnings.catch_warnings():
        # A mixture that still improves a little is as good a description.
        warnings.simplefilter("ignore", ConvergenceWarning)
        for count in (1, *(2**power for power in range(1, 9))):
            if count > 1 and (count > most or count * _ROWS_PER_DIMENSION * width > rows):
                break
            mixture = GaussianMixture(
                count, covariance_type="diag", reg_covar=_LEAST_VARIANCE, random_state=seed
            )
            fitted.append(mixture.fit(points))
    return min(fitted, key=lambda mixture: mixture.bic(points))


def _shrunk(points: np.ndarray, mean: np.ndarray) -> np.ndarray:
    width = points.shape[1]
    found = (
        ledoit_wolf(points - mean, assume_centered=True)[0] if len(points) > 1 else np.eye(width)
    )
    return found + _LEAST_VARIANCE * np.eye(width)
