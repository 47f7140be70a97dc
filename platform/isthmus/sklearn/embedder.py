"""The transformer that turns rows into the latents of a registered pair."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import TransformerMixin

from isthmus.registry import Device, Pair, load_compatible
from isthmus.sklearn.estimator import PairEstimator
from isthmus.spec import Settings


# scikit-learn has no types.
class Embedder(TransformerMixin, PairEstimator):  # type: ignore[misc]
    """Turns rows into the latents of a registered pair, in a pipeline of scikit-learn.

    Nothing is fitted: `fit` loads the pair, checks that the rows are such as it takes, and keeps to
    its version from then on, whatever becomes champion later. A pickle holds the name of that
    version and no weights, so whoever loads it needs the same registry.

    Columns of a frame are found by their names, in any order; other columns are left alone. Arrays
    have the shape of the pair's rows, or are flat.

    Parameters:
        model: `NAME@ALIAS`, `NAME/VERSION`, or `NAME` for its champion.
        compatible_with: An older pair, `digits/3`, in whose space the latents are to be.
        device: `auto`, `cpu` or `gpu`; `auto` is a GPU if there is one.
    """

    def __init__(
        self, model: str, *, compatible_with: str | None = None, device: Device = "auto"
    ) -> None:
        """Creates the transformer; the pair is loaded when it is needed first."""
        self.model = model
        self.compatible_with = compatible_with
        self.device = device

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Returns the latents, shape (N, latent_dim)."""
        return self._pair_in_use().encode(self._rows(X, reset=False)).values

    def get_feature_names_out(self, input_features: object = None) -> NDArray[np.object_]:
        """Returns the names of the numbers of a latent: `z0`, `z1` and so on."""
        names = [f"z{number}" for number in range(self._pair_in_use().latent_dim)]
        return np.asarray(names, dtype=object)

    def _found(self, reference: str, settings: Settings) -> Pair:
        if self.compatible_with is None:
            return super()._found(reference, settings)
        return load_compatible(reference, self.compatible_with, settings, self.device)

    def __sklearn_tags__(self) -> Any:
        """Returns scikit-learn's tags: nothing has to be fitted, and float32 comes out."""
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags
