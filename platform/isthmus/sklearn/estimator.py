"""The base of the estimators: it loads a registered pair and checks the rows given to it."""

from __future__ import annotations

from typing import Any, Self, cast

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data

from isthmus.data.given import is_frame, refuse_other_things, refuse_series
from isthmus.errors import RegistryError
from isthmus.quiet import quieten
from isthmus.registry import Device, Pair, load
from isthmus.registry.frames import features_of, finds_columns
from isthmus.spec import Settings

_LOADED = "_pair"
# They stay as they are, because they say what white is.
_PIXELS = (np.uint8, np.uint16, np.bool_)


# scikit-learn has no types.
class PairEstimator(BaseEstimator):  # type: ignore[misc]
    """A registered pair as an estimator of scikit-learn; a subclass says what it does with rows.

    Attributes:
        model_: The name and version of the pair, such as `digits/3`.
        pair_id_: The id of the pair.
        n_features_in_: Number of numbers in a row, or of columns of a frame.
        feature_names_in_: The names of the columns that are taken, if rows came as a frame.
    """

    model: str
    device: Device

    def fit(self, X: Any, y: object = None) -> Self:
        """Loads the pair, and checks that it takes such rows.

        Raises:
            ModelNotFound: If there is no such pair.
            DataError: If the rows do not fit it.
            ValueError: If the rows are no array of finite numbers.
        """
        for name in [each for each in self.__dict__ if each.endswith("_") or each == _LOADED]:
            del self.__dict__[name]
        pair = self._load(self.model)
        self.model_ = pair.reference
        self.pair_id_ = pair.manifest.pair_id
        self._learn(pair, self._rows(X, reset=True))
        return self

    def _learn(self, pair: Pair, rows: Any) -> None:
        """Learns what there is to learn from rows, or tries whether the pair takes them."""
        pair.encode(rows[:1])

    def _rows(self, x: Any, *, reset: bool) -> Any:
        """Returns rows for the pair: a frame as it is, or an array that was checked."""
        pair = self._pair_in_use()
        columns = features_of(pair.manifest)
        if columns is not None and is_frame(x) and finds_columns(pair.manifest, x):
            if reset:
                self.n_features_in_ = len(columns)
                self.feature_names_in_ = np.asarray(columns, dtype=object)
            return x
        refuse_other_things(x)
        refuse_series(None if is_frame(x) else x)
        if len(x.shape if hasattr(x, "shape") else np.asarray(x).shape) > 2:
            return x
        return validate_data(
            self,
            x,
            reset=reset,
            dtype=[np.float64, np.float32, *_PIXELS],
            ensure_all_finite="allow-nan" if pair.manifest.data.missing == "mean" else True,
        )

    # -- the pair ----------------------------------------------------------------------------------

    def _pair_in_use(self) -> Pair:
        return cast("Pair | None", self.__dict__.get(_LOADED)) or self._load(
            getattr(self, "model_", self.model)
        )

    def _load(self, reference: str) -> Pair:
        quieten()
        pair = self._found(reference, Settings.from_environment())
        wanted = getattr(self, "pair_id_", pair.manifest.pair_id)
        if pair.manifest.pair_id != wanted:
            raise RegistryError(
                f"{reference} is pair {pair.manifest.pair_id} here, and this estimator was fitted "
                f"with pair {wanted}; load it where its registry is, or fit it again"
            )
        self.__dict__[_LOADED] = pair
        return pair

    def _found(self, reference: str, settings: Settings) -> Pair:
        """Returns the pair of a reference."""
        return load(reference, settings, self.device)

    def __getstate__(self) -> dict[str, Any]:
        """Returns what a pickle holds: everything but the pair itself."""
        state = cast("dict[str, Any]", super().__getstate__())
        return {name: value for name, value in state.items() if name != _LOADED}

    def __sklearn_tags__(self) -> Any:
        """Returns scikit-learn's tags: whether a missing value is filled in depends on the pair."""
        tags = super().__sklearn_tags__()
        pair = self.__dict__.get(_LOADED)
        tags.input_tags.allow_nan = pair is not None and pair.manifest.data.missing == "mean"
        return tags
