"""Small real sets that scikit-learn ships: `sklearn:digits` and a few tables."""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.data.arrays import ArrayFormat, LoadedArray
from isthmus.errors import DataError, nearest

_PREFIX = "sklearn:"
SETS = ("breast_cancer", "digits", "iris", "wine")
IMAGE_SET = "sklearn:digits"
DIGITS_WHITE = 16.0
"""The brightest value of a pixel in `sklearn:digits`."""
_LABELS = "target"


class Sklearn(ArrayFormat):
    """A set by its path, `sklearn:digits`: images of shape (8, 8), or a table of features.

    Source: https://scikit-learn.org/stable/datasets/toy_dataset.html.
    """

    PREFIXES = (_PREFIX,)

    def open(self, key: str | None, labels: str | None) -> LoadedArray:
        """Loads a set; its labels are its target.

        Raises:
            DataError: If there is no such set, or other labels are asked for.
        """
        name = self.address.removeprefix(_PREFIX)
        if name not in SETS:
            raise DataError(f'{self.name}: no bundled set "{name}"; {nearest(name, SETS)}')
        if labels not in (None, _LABELS):
            raise DataError(f'{self.name}: no labels "{labels}"; Valid: {_LABELS}')
        from sklearn import datasets

        bunch: Any = getattr(datasets, f"load_{name}")()
        target = np.asarray(bunch.target, dtype=np.int64)
        if self.address == IMAGE_SET:
            return LoadedArray(bunch.images.astype(np.float32), labels=target)
        columns = tuple(str(column) for column in bunch.feature_names)
        return LoadedArray(bunch.data.astype(np.float32), labels=target, columns=columns)

    def keys(self) -> tuple[str, ...]:
        """Returns nothing: a set has one array without a name."""
        return ()
