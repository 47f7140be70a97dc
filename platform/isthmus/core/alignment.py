"""Maps between two latent spaces, from a new encoder's latents to those of an older one.

Shapes: z_ND are the latents of N rows in the new space; y_NE are the latents of the same rows in
the old space.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
# Ridge penalties for latents that are divided by their spread. The smallest one is practically
# zero, so that the map to a rotated space is found exactly.
_RIDGES = np.logspace(-12, 1, 14)
# The largest factor by which the inverse of a map may amplify the rounding errors of float32.
_WORST_CONDITION = 1e4


@dataclass(frozen=True, eq=False)
class LatentMap:
    """An affine map of latents: y = z @ matrix + offset.

    Attributes:
        matrix: The linear part, shape (D, E).
        offset: The shift, shape (E,).
    """

    matrix: Floats
    offset: Floats

    def apply(self, z_ND: NDArray[Any]) -> NDArray[np.float32]:
        """Maps latents of shape (N, D) to the other space, shape (N, E)."""
        return np.asarray(z_ND @ self.matrix + self.offset, dtype=np.float32)

    def then(self, following: LatentMap) -> LatentMap:
        """Returns one map that applies this map and then the following one."""
        offset = self.offset @ following.matrix + following.offset
        return LatentMap(self.matrix @ following.matrix, offset)

    def inverse(self) -> LatentMap | None:
        """Returns the map from mapped latents back to the original ones.

        Returns:
            The inverse, which is the pseudo-inverse if E > D; or `None` if the map loses
            information (D > E, or nearly dependent rows) and cannot be inverted.
        """
        sizes = np.linalg.svd(self.matrix, compute_uv=False)
        inputs, outputs = self.matrix.shape
        if inputs > outputs or sizes[-1] * _WORST_CONDITION < sizes[0] or sizes[0] == 0:
            return None
        back = np.asarray(np.linalg.pinv(self.matrix), dtype=np.float64)
        return LatentMap(back, -self.offset @ back)


def fit_procrustes(z_ND: NDArray[Any], y_NE: NDArray[Any]) -> tuple[LatentMap, float]:
    """Fits the rotation (or reflection), scale and shift that bring z closest to y.

    Both are centred. If D and E differ, the smaller space is padded with zeros to the size of the
    larger one, and only the first E outputs count. The matrix is then the scale times D rows or E
    columns of a rotation.

    Returns:
        The map and its scale, which is the factor by which it enlarges distances.

    Source: Schönemann 1966, "A generalized solution of the orthogonal Procrustes problem",
    Psychometrika 31; for the scale and the shift Schönemann & Carroll 1970, Psychometrika 35.
    """
    z, y = np.asarray(z_ND, dtype=np.float64), np.asarray(y_NE, dtype=np.float64)
    inputs, outputs = z.shape[1], y.shape[1]
    z_mean, y_mean = z.mean(axis=0), y.mean(axis=0)
    size = max(inputs, outputs)
    z_padded = np.pad(z - z_mean, ((0, 0), (0, size - inputs)))
    y_padded = np.pad(y - y_mean, ((0, 0), (0, size - outputs)))
    left, agreements, right = np.linalg.svd(z_padded.T @ y_padded)
    scale = float(agreements.sum() / max(np.square(z_padded).sum(), np.finfo(np.float64).tiny))
    matrix = scale * (left @ right)[:inputs, :outputs]
    return LatentMap(matrix, y_mean - z_mean @ matrix), scale


def fit_affine(z_ND: NDArray[Any], y_NE: NDArray[Any]) -> LatentMap:
    """Fits the least-squares affine map, with a ridge penalty from leave-one-out cross-validation.

    The penalty is negligible if the latent dimensions are independent and rows are many. With dead
    dimensions or few rows it keeps the map bounded.

    Source: Golub, Heath & Wahba 1979, "Generalized cross-validation as a method for choosing a
    good ridge parameter", Technometrics 21.
    """
    from sklearn.linear_model import RidgeCV

    z, y = np.asarray(z_ND, dtype=np.float64), np.asarray(y_NE, dtype=np.float64)
    z_mean, y_mean = z.mean(axis=0), y.mean(axis=0)
    spread = float(np.sqrt(np.square(z - z_mean).sum())) or 1.0
    fitted = RidgeCV(alphas=_RIDGES, fit_intercept=False).fit((z - z_mean) / spread, y - y_mean)
    matrix = fitted.coef_.reshape(y.shape[1], z.shape[1]).T / spread
    return LatentMap(matrix, y_mean - z_mean @ matrix)


def unexplained_share(found: LatentMap, z_ND: NDArray[Any], y_NE: NDArray[Any]) -> float:
    """Computes the fraction of y's total variance that the mapped z leaves unexplained.

    Returns:
        0 for a perfect map, 1 for a map that is as good as y's mean, and more for a worse one; NaN
        if y does not vary.
    """
    y = np.asarray(y_NE, dtype=np.float64)
    spread = np.square(y - y.mean(axis=0)).sum()
    residual = np.square(np.asarray(z_ND, np.float64) @ found.matrix + found.offset - y).sum()
    return float(residual / spread) if spread > 0 else float("nan")
