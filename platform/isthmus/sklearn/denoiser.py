"""The transformer that takes the noise away from rows by a registered pair."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import TransformerMixin

from isthmus.registry import Device
from isthmus.sklearn.estimator import PairEstimator


# scikit-learn has no types.
class Denoiser(TransformerMixin, PairEstimator):  # type: ignore[misc]
    """Takes the noise away from rows by a registered pair, in a pipeline of scikit-learn.

    Nothing is fitted, as in `Embedder`. Rows come out in the shape in which they came; those of a
    frame with the pair's features as columns, which are one for each value of a category.

    Parameters:
        model: `NAME@ALIAS`, `NAME/VERSION`, or `NAME` for its champion.
        device: `auto`, `cpu` or `gpu`; `auto` is a GPU if there is one.
    """

    def __init__(self, model: str, *, device: Device = "auto") -> None:
        """Creates the transformer; the pair is loaded when it is needed first."""
        self.model = model
        self.device = device

    def transform(self, X: Any) -> NDArray[Any]:
        """Returns the rows without their noise."""
        return self._pair_in_use().denoise(self._rows(X, reset=False))

    def get_feature_names_out(self, input_features: object = None) -> NDArray[np.object_]:
        """Returns the names of the pair's features: `x0`, `x1` and so on if they have none."""
        manifest = self._pair_in_use().manifest
        width = int(np.prod(manifest.plan.row_shape))
        names = manifest.rows_taken.features
        if names is None or len(names) != width:
            names = tuple(f"x{number}" for number in range(width))
        return np.asarray(names, dtype=object)

    def __sklearn_tags__(self) -> Any:
        """Returns scikit-learn's tags: nothing has to be fitted, and float32 comes out."""
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags
