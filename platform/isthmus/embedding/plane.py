"""Maps latents to two dimensions, by PCA or by UMAP, and draws the map.

Shapes: z_ND are the latents of N rows; p_N2 are their places on the map.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from isthmus.data import Provenance
from isthmus.data.outputs.output import whole_file
from isthmus.data.outputs.provenance import PROVENANCE_KEY
from isthmus.data.rows import FloatArray
from isthmus.embedding.spool import Spooled
from isthmus.errors import DataError
from isthmus.extras import check_installed
from isthmus.tracking import drawing

Method = Literal["pca", "umap"]
MAP_COLUMNS = ("map_x", "map_y")
"""The columns of a table of latents that hold the places on the map."""
PICTURE_ENDING = ".map.png"
"""The ending that is appended to the name of a table to name the picture of its map."""
# The axes of PCA hardly change with more rows. UMAP takes minutes for more.
_MOST_ROWS_OF_PCA = 200_000
_MOST_ROWS_OF_UMAP = 20_000
_MOST_POINTS_DRAWN = 20_000
_NEIGHBOURS_OF_UMAP = 15
_FEWEST_ROWS_OF_UMAP = 5


class Plane(ABC):
    """A map from latents to two dimensions.

    Attributes:
        title: The title of the picture.
        axis_names: The names of the two axes.
    """

    title: str
    axis_names: tuple[str, str] = ("", "")

    @abstractmethod
    def places(self, z_ND: FloatArray) -> FloatArray:
        """Returns the places of latents on the map, shape (N, 2)."""


def fit_plane(method: Method, latents: Spooled) -> Plane:
    """Fits a map to latents; of many rows, to evenly spaced ones.

    Raises:
        MissingExtra: If the library of the method is not installed.
        DataError: If there are too few rows.
    """
    return _Pca(latents) if method == "pca" else _Umap(latents)


def check_method(method: Method) -> None:
    """Refuses a map whose library is not installed, before the work.

    Raises:
        MissingExtra: Naming what to install.
    """
    if method == "umap":
        check_installed("umap", "map", needed_by="--map umap")


def picture_path(output: Path) -> Path:
    """Returns the path of the picture of an output's map: `OUTPUT.map.png`."""
    return output.with_name(f"{output.name}{PICTURE_ENDING}")


def draw(plane: Plane, latents: Spooled, picture: Path, provenance: Provenance) -> None:
    """Draws the places of latents, of many rows those of evenly spaced ones, to a png.

    Raises:
        DataError: If the picture cannot be written.
    """
    shown_N2 = plane.places(latents.sample(_MOST_POINTS_DRAWN))
    figure = drawing.new_figure(7.4, 5.8)
    axes = figure.subplots()
    drawing.margins(figure)
    drawing.plain_axes(axes, *plane.axis_names)
    size = float(np.clip(9000 / len(shown_N2), 3, 34))
    x, y = shown_N2[:, 0], shown_N2[:, 1]
    axes.scatter(x, y, s=size, color=drawing.MODEL, alpha=0.6, linewidths=0)
    rows, latent_dim = latents.z_ND.shape
    few = "" if len(shown_N2) == rows else f", {len(shown_N2):,} of them shown"
    drawing.head(
        figure, plane.title, f"{rows:,} latents of {latent_dim} numbers by {provenance.model}{few}"
    )
    with whole_file(picture, provenance) as temporary:
        figure.savefig(temporary, metadata={PROVENANCE_KEY: provenance.to_json()})


class _Pca(Plane):
    """The two directions in which latents vary most; distances on the map are never too long.

    Source: Hotelling 1933, "Analysis of a complex of statistical variables into principal
    components", Journal of Educational Psychology 24.
    """

    def __init__(self, latents: Spooled) -> None:
        sample_ND = latents.sample(_MOST_ROWS_OF_PCA).astype(np.float64)
        self._mean: NDArray[np.float64] = sample_ND.mean(axis=0)
        centred = sample_ND - self._mean
        variances, directions = np.linalg.eigh(centred.T @ centred)
        self._directions: NDArray[np.float64] = _with_fixed_signs(directions[:, ::-1][:, :2])
        shares = variances[::-1][:2] / max(variances.sum(), np.finfo(np.float64).tiny)
        names = [
            f"component {i + 1} ({share:.0%} of the variance)" for i, share in enumerate(shares)
        ]
        self.axis_names = (names[0], names[1] if len(names) > 1 else "")
        self.title = "PCA of the latents"

    def places(self, z_ND: FloatArray) -> FloatArray:
        """Returns the first two components; the second is 0 if a latent is one number."""
        found = np.zeros((len(z_ND), 2), dtype=np.float32)
        found[:, : self._directions.shape[1]] = (z_ND - self._mean) @ self._directions
        return found


def _with_fixed_signs(directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns directions whose largest number is positive: a direction and its opposite are one."""
    largest = np.take_along_axis(directions, np.abs(directions).argmax(axis=0)[None], axis=0)
    return directions * np.where(largest < 0, -1.0, 1.0)


class _Umap(Plane):
    """A map on which neighbours stay neighbours; distances between groups mean little.

    Source: McInnes, Healy & Melville 2018, "UMAP: Uniform Manifold Approximation and Projection
    for Dimension Reduction", arXiv:1802.03426.
    """

    def __init__(self, latents: Spooled) -> None:
        check_method("umap")
        from umap import UMAP

        sample_ND = latents.sample(_MOST_ROWS_OF_UMAP)
        if len(sample_ND) < _FEWEST_ROWS_OF_UMAP:
            raise DataError(
                f"UMAP needs at least {_FEWEST_ROWS_OF_UMAP} rows, and there are "
                f"{len(sample_ND)}; use --map pca"
            )
        neighbours = min(_NEIGHBOURS_OF_UMAP, len(sample_ND) - 1)
        # A seed makes it the same each time, and use one thread.
        self._umap: Any = UMAP(n_neighbors=neighbours, random_state=0, n_jobs=1)
        self._umap.fit(sample_ND)
        self.title = "UMAP of the latents"

    def places(self, z_ND: FloatArray) -> FloatArray:
        """Returns the places near those of the nearest latents that the map was fitted to."""
        return np.asarray(self._umap.transform(z_ND), dtype=np.float32)
