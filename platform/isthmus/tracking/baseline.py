"""What a user would try first: PCA with as many components as the latent has numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# More rows than these change the third digit of the error, and cost more than the training.
_FIT_ROWS = 20_000
_FIT_NUMBERS = 20_000_000
# Up to here the covariance matrix is small, and PCA exact; beyond, the randomized solver.
_EXACT_FEATURES = 400
_NUMBERS_AT_A_TIME = 10_000_000
_SEED = 0


@dataclass(frozen=True)
class PcaBaseline:
    """A fitted PCA and what it makes of the evaluation rows. F is the numbers in a row.

    Attributes:
        mean: Shape (F,), of the training rows, scaled units.
        components: Shape (K, F), orthonormal; K is the latent's size, or less if the data have
            fewer rows or features.
        errors: Shape (N,): the mean squared error of each evaluation row, scaled units.
        fit_rows: How many training rows it was fitted to.
    """

    mean: NDArray[np.float32]
    components: NDArray[np.float32]
    errors: NDArray[np.float32]
    fit_rows: int

    def reconstruct(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Rows through the components and back; shape (B, *row_shape), scaled units."""
        return _reconstruct(rows.reshape(len(rows), -1), self.mean, self.components).reshape(
            rows.shape
        )


def pca_baseline(
    train: NDArray[np.float32], evaluation: NDArray[np.float32], latent_dim: int
) -> PcaBaseline:
    """Fits PCA to training rows and reconstructs the evaluation rows with it.

    Args:
        train: Shape (M, *row_shape), scaled, without NaN. Of very many rows, evenly spaced ones
            are used.
        evaluation: Shape (N, *row_shape), scaled, without NaN.
        latent_dim: Size of the autoencoder's latent.
    """
    from sklearn.decomposition import PCA

    flat = train.reshape(len(train), -1)
    features = flat.shape[1]
    most_rows = min(_FIT_ROWS, max(_FIT_NUMBERS // features, 4 * latent_dim))
    fitted = flat[:: -(-len(flat) // most_rows)]
    components = min(latent_dim, *fitted.shape)
    solver = "covariance_eigh" if features <= _EXACT_FEATURES else "randomized"
    pca = PCA(components, svd_solver=solver, random_state=_SEED)
    # Squares of single precision lose the small components.
    pca.fit(fitted.astype(np.float64) if solver == "covariance_eigh" else fitted)
    mean, axes = pca.mean_.astype(np.float32), pca.components_.astype(np.float32)
    return PcaBaseline(mean, axes, _errors(evaluation, mean, axes), len(fitted))


def _errors(
    evaluation: NDArray[np.float32], mean: NDArray[np.float32], axes: NDArray[np.float32]
) -> NDArray[np.float32]:
    flat = evaluation.reshape(len(evaluation), -1)
    errors = np.empty(len(flat), dtype=np.float32)
    step = max(1, _NUMBERS_AT_A_TIME // flat.shape[1])
    for start in range(0, len(flat), step):
        rows = flat[start : start + step]
        errors[start : start + step] = np.square(_reconstruct(rows, mean, axes) - rows).mean(axis=1)
    return errors


def _reconstruct(
    flat: NDArray[np.float32], mean: NDArray[np.float32], axes: NDArray[np.float32]
) -> NDArray[np.float32]:
    return np.asarray(((flat - mean) @ axes.T) @ axes + mean, dtype=np.float32)
