"""What a user would try first: PCA with as many components as the latent has numbers."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from isthmus.data import StoredRows

# More rows than these change the third digit of the error, and cost more than the training.
_FIT_ROWS = 20_000
_FIT_NUMBERS = 20_000_000
# Up to here the covariance matrix is small, and PCA exact; beyond, the randomized solver.
_EXACT_FEATURES = 400
_SEED = 0


@dataclass(frozen=True)
class PcaBaseline:
    """A fitted PCA. F is the numbers in a row.

    Attributes:
        mean: Shape (F,), of the training rows, scaled units.
        components: Shape (K, F), orthonormal; K is the latent's size, or less if the data have
            fewer rows or features.
        fit_rows: How many training rows it was fitted to.
    """

    mean: NDArray[np.float32]
    components: NDArray[np.float32]
    fit_rows: int

    def reconstruct(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Rows through the components and back; shape (B, *row_shape), scaled units."""
        return self._through(rows.reshape(len(rows), -1)).reshape(rows.shape)

    def errors(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """The mean squared error of each of a batch of rows, shape (B,), scaled units."""
        flat = rows.reshape(len(rows), -1)
        return np.asarray(np.square(self._through(flat) - flat).mean(axis=1))

    def _through(self, flat: NDArray[np.float32]) -> NDArray[np.float32]:
        latents = (flat - self.mean) @ self.components.T
        return np.asarray(latents @ self.components + self.mean, dtype=np.float32)


def fit_pca(train: NDArray[np.float32] | StoredRows, latent_dim: int) -> PcaBaseline:
    """Fits PCA to training rows.

    Args:
        train: Shape (M, *row_shape), scaled, without NaN. Of very many rows, evenly spaced ones
            are used.
        latent_dim: Size of the autoencoder's latent.
    """
    from sklearn.decomposition import PCA

    features = prod(train.shape[1:])
    most_rows = min(_FIT_ROWS, max(_FIT_NUMBERS // features, 4 * latent_dim))
    spaced = train[:: -(-len(train) // most_rows)]
    fitted = spaced.reshape(len(spaced), features)
    components = min(latent_dim, *fitted.shape)
    solver = "covariance_eigh" if features <= _EXACT_FEATURES else "randomized"
    pca = PCA(components, svd_solver=solver, random_state=_SEED)
    # Squares of single precision lose the small components.
    pca.fit(fitted.astype(np.float64) if solver == "covariance_eigh" else fitted)
    mean, axes = pca.mean_.astype(np.float32), pca.components_.astype(np.float32)
    return PcaBaseline(mean, axes, len(fitted))
