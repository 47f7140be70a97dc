"""scikit-learn's own checks of an estimator, on pairs that take rows of the checks' widths."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from sklearn.utils.estimator_checks import check_estimator

from isthmus.registry import Pair
from isthmus.sklearn.estimator import PairEstimator
from isthmus.spec import Settings

_WIDTHS = (1, 2, 3, 4, 5, 10, 20)


class OfAnyWidth:
    """Takes the pair that has as many columns as the rows: the checks come with many widths."""

    _width = 5

    def fit(self, X: Any, y: object = None) -> Any:
        shape = np.asarray(X).shape
        self._width = max(1, shape[1]) if len(shape) == 2 else 1
        return super().fit(X, y)  # type: ignore[misc]

    def _found(self, reference: str, settings: Settings) -> Pair:
        return super()._found(f"width-{self._width}/1", settings)  # type: ignore[misc]


def passes_own_checks(
    estimator: PairEstimator,
    register: Callable[..., str],
    expected_to_fail: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Runs all checks that scikit-learn has for such an estimator.

    Args:
        estimator: One whose class is an `OfAnyWidth` too.
        register: Registers a pair for a table.
        expected_to_fail: The checks that it fails, and why it may.
    """
    for width in _WIDTHS:
        register(f"width-{width}", width)
    results = check_estimator(
        estimator, on_skip=None, on_fail=None, expected_failed_checks=dict(expected_to_fail)
    )
    failed = [each for each in results if each["status"] == "failed"]
    assert not failed, [(each["check_name"], str(each["exception"])) for each in failed]
    assert sum(each["status"] == "passed" for each in results) > 30
