"""The outlier detector that scores rows by a registered pair."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.base import OutlierMixin
from sklearn.utils.validation import check_is_fitted

from isthmus.errors import UsageError
from isthmus.registry import Device, Pair
from isthmus.sklearn.estimator import PairEstimator


# scikit-learn has no types.
class AutoencoderDetector(OutlierMixin, PairEstimator):  # type: ignore[misc]
    """Finds unusual rows by a registered pair, as an outlier detector of scikit-learn.

    The pair was trained and calibrated by `isthmus.train`. `fit` loads it, checks that it takes
    such rows and keeps to its version; with a `contamination` it also takes the cut from the rows.
    A pickle holds the name of that version and no weights.

    Parameters:
        model: `NAME@ALIAS`, `NAME/VERSION`, or `NAME` for its champion.
        contamination: `auto` is the pair's own threshold, which few normal rows exceed (by default
            1 in 100). A share, above 0 and at most 0.5, is that of the rows of `fit` which are
            outliers.
        device: `auto`, `cpu` or `gpu`; `auto` is a GPU if there is one.

    Attributes:
        offset_: The `score_samples` below which a row is an outlier.
    """

    def __init__(
        self,
        model: str,
        *,
        contamination: float | Literal["auto"] = "auto",
        device: Device = "auto",
    ) -> None:
        """Creates the detector; the pair is loaded when it is needed first."""
        self.model = model
        self.contamination = contamination
        self.device = device

    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """Returns how usual rows are, shape (N,): the pair's scores, negated. Lower is stranger."""
        check_is_fitted(self, "offset_")
        return _usualness(self._pair_in_use(), self._rows(X, reset=False))

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Returns `score_samples` less `offset_`, shape (N,): outliers are below 0."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> NDArray[np.int64]:
        """Returns -1 for outliers and 1 for other rows, shape (N,)."""
        return np.where(self.decision_function(X) >= 0, 1, -1)

    def _learn(self, pair: Pair, rows: Any) -> None:
        share = self.contamination
        if share == "auto":
            pair.encode(rows[:1])
            self.offset_ = -pair.threshold
            return
        if isinstance(share, str) or not 0 < share <= 0.5:
            raise UsageError(
                f"contamination={share!r} is neither auto nor a share of outliers above 0 and at "
                "most 0.5; choose one"
            )
        self.offset_ = float(np.percentile(_usualness(pair, rows), 100 * share))


def _usualness(pair: Pair, rows: Any) -> NDArray[np.float64]:
    return -pair.detect(rows).scores.astype(np.float64)
