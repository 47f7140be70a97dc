"""Maps between two latent spaces: what turns a new encoder's latents into those of an older one.

Shapes: z_ND are N rows' latents in the new space, y_NE the same rows' in the old one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
# Of the latents' own spread. The least is as good as none: a rotated space is found exactly.
_RIDGES = np.logspace(-12, 1, 14)
# How much the inverse of a map may enlarge the rounding of float32 latents.
_WORST_CONDITION = 1e4


@dataclass(frozen=True, eq=False)
class LatentMap:
    """An affine map of latents: y = z matrix + offset.

    Attributes:
        matrix: Shape (D, E).
        offset: Shape (E,).
    """

    matrix: Floats
    offset: Floats

    def apply(self, z_ND: NDArray[Any]) -> NDArray[np.float32]:
        """Latents of the one space as those of the other: (N, D) to (N, E)."""
        return np.asarray(z_ND @ self.matrix + self.offset, dtype=np.float32)

    def then(self, following: LatentMap) -> LatentMap:
        """This map and another after it, as one."""
        offset = self.offset @ following.matrix + following.offset
        return LatentMap(self.matrix @ following.matrix, offset)

    def inverse(self) -> LatentMap | None:
        """What takes mapped latents back to those that they were made of.

        Where E > D it is the pseudo-inverse.

        Returns:
            `None` if the map loses something (D > E, or nearly dependent rows), so that there
            is no way back.
        """
        sizes = np.linalg.svd(self.matrix, compute_uv=False)
        inputs, outputs = self.matrix.shape
        if inputs > outputs or sizes[-1] * _WORST_CONDITION < sizes[0] or sizes[0] == 0:
            return None
        back = np.asarray(np.linalg.pinv(self.matrix), dtype=np.float64)
        return LatentMap(back, -self.offset @ back)


def fit_procrustes(z_ND: NDArray[Any], y_NE: NDArray[Any]) -> tuple[LatentMap, float]:
    """The rotation (or reflection), scale and shift that bring z closest to y.

    Both are centred. Where the sizes differ, the smaller is padded with zeros: the space of few
    numbers is laid into that of many, and of what comes out only the first E numbers count. The
    matrix is then the scale times D rows or E columns of a rotation.

    Returns:
        The map, and its scale: by how much it enlarges distances.

    Source: Schönemann 1966, "A generalized solution of the orthogonal Procrustes problem",
    Psychometrika 31; the scale and the shift: Schönemann & Carroll 1970, Psychometrika 35.
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
    """The affine map of least squares, with as much ridge as leaving out one row asks for.

    With independent latents and rows enough that is none to speak of; with dead numbers or few
    rows it keeps the map from growing without bound.

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
    """The share of y's variance, over all its numbers, that the mapped z leaves unexplained.

    Returns:
        0 for a perfect map; 1 for one that says no more than y's mean; more if it says less. NaN
        if y does not vary.
    """
    y = np.asarray(y_NE, dtype=np.float64)
    spread = np.square(y - y.mean(axis=0)).sum()
    residual = np.square(np.asarray(z_ND, np.float64) @ found.matrix + found.offset - y).sum()
    return float(residual / spread) if spread > 0 else float("nan")
