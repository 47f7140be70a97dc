"""The baseline that users would try first: PCA with as many components as a latent has values."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from isthmus.data import StoredRows
from isthmus.types import Shape

# More rows would only change the third digit of the error, and fitting would take longer than
# training.
_FIT_ROWS = 20_000
_FIT_NUMBERS = 20_000_000
# Up to this size the covariance matrix is small and PCA is exact. Beyond it the randomized solver
# is used.
_EXACT_FEATURES = 400
_SEED = 0
# Of more components nobody would call it a baseline that costs nothing: fitting takes minutes.
_MOST_COMPONENT_NUMBERS = 2**24


@dataclass(frozen=True)
class PcaBaseline:
    """A fitted PCA, where F is the number of values in a row.

    Attributes:
        mean: Shape (F,). The mean of the training rows, scaled units.
        components: Shape (K, F), orthonormal. K is the latent size, or less if the data have fewer
            rows or features.
        fit_rows: The number of training rows that it was fitted to.
    """

    mean: NDArray[np.float32]
    components: NDArray[np.float32]
    fit_rows: int

    def reconstruct(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Projects rows onto the components and back; shape (B, *row_shape), scaled units."""
        return self._through(rows.reshape(len(rows), -1)).reshape(rows.shape)

    def errors(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns the mean squared error of each row, shape (B,), scaled units."""
        flat = rows.reshape(len(rows), -1)
        return np.asarray(np.square(self._through(flat) - flat).mean(axis=1))

    def _through(self, flat: NDArray[np.float32]) -> NDArray[np.float32]:
        latents = (flat - self.mean) @ self.components.T
        return np.asarray(latents @ self.components + self.mean, dtype=np.float32)


def is_comparable(code_size: int, row_shape: Shape) -> bool:
    """Returns whether PCA of the same size says anything about an autoencoder.

    It does not where a code has as many values as a row, of which PCA then loses nothing, and not
    for codes so large that PCA costs more than the autoencoder.
    """
    features = prod(row_shape)
    return code_size < features and code_size * features <= _MOST_COMPONENT_NUMBERS


def fit_pca(train: NDArray[np.float32] | StoredRows, latent_dim: int) -> PcaBaseline:
    """Fits PCA to training rows.

    Args:
        train: Shape (M, *row_shape), scaled, without NaN. If there are very many rows, evenly
            spaced ones are used.
        latent_dim: The size of the autoencoder's latent.
    """
    from sklearn.decomposition import PCA

    features = prod(train.shape[1:])
    most_rows = min(_FIT_ROWS, max(_FIT_NUMBERS // features, 4 * latent_dim))
    spaced = train[:: -(-len(train) // most_rows)]
    fitted = spaced.reshape(len(spaced), features)
    components = min(latent_dim, *fitted.shape)
    solver = "covariance_eigh" if features <= _EXACT_FEATURES else "randomized"
    pca = PCA(components, svd_solver=solver, random_state=_SEED)
    # float64, because squares in single precision lose the small components.
    pca.fit(fitted.astype(np.float64) if solver == "covariance_eigh" else fitted)
    mean, axes = pca.mean_.astype(np.float32), pca.components_.astype(np.float32)
    return PcaBaseline(mean, axes, len(fitted))
