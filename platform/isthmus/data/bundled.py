"""Small real sets that scikit-learn ships: `sklearn:digits` and a few tables."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.data.rows import FloatArray, Labels
from isthmus.data.storage import BUNDLED_PREFIX
from isthmus.errors import DataError, nearest

BUNDLED_SETS = ("breast_cancer", "digits", "iris", "wine")
IMAGE_SET = "sklearn:digits"
DIGITS_WHITE = 16.0
"""The brightest value of a pixel in `sklearn:digits`."""
_LABELS = "target"


def load_bundled(
    path: str, labels: str | None
) -> tuple[FloatArray, Labels, tuple[str, ...] | None]:
    """Loads a set by its path, `sklearn:digits`.

    Args:
        path: Where `data.path` says it is.
        labels: `data.labels`; the only labels of a set are its target, used in any case.

    Returns:
        Values of shape (N, 8, 8) for digits, else (N, F); labels of shape (N,); names of the
        features, `None` for digits.

    Raises:
        DataError: If there is no such set, or labels other than its target are asked for.
    """
    name = path.removeprefix(BUNDLED_PREFIX)
    if name not in BUNDLED_SETS:
        raise DataError(f'{path}: no bundled set "{name}"; {nearest(name, BUNDLED_SETS)}')
    if labels not in (None, _LABELS):
        raise DataError(f'{path}: no labels "{labels}"; Valid: {_LABELS}')
    from sklearn import datasets

    bunch: Any = getattr(datasets, f"load_{name}")()
    target: NDArray[np.int64] = np.asarray(bunch.target, dtype=np.int64)
    if path == IMAGE_SET:
        return bunch.images.astype(np.float32), target, None
    columns = tuple(str(column) for column in bunch.feature_names)
    return bunch.data.astype(np.float32), target, columns
