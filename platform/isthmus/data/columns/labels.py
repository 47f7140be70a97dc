"""Labels choose rows and colour figures; they are never trained on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from isthmus.data.columns.categories import canonical
from isthmus.data.rows import Labels
from isthmus.errors import DataError

FOLDER_LABELS = "folder"


def matching(labels: Labels, keep: Sequence[int | str]) -> NDArray[np.bool_]:
    """Returns which labels equal one of `keep`, by value or as text, shape (N,)."""
    wanted = canonical(np.array([str(label) for label in keep]))
    found = np.isin(canonical(labels.astype(str)), wanted)
    return found | np.isin(_as_numbers(labels), _as_numbers(np.array(keep, dtype=str)))


def _as_numbers(labels: Labels) -> NDArray[np.float64]:
    """Returns the values of labels; NaN, which equals nothing, for those that are no numbers."""
    if labels.dtype.kind in "biuf":
        return labels.astype(np.float64)
    texts, places = np.unique(labels.astype(str), return_inverse=True)
    return np.array([_as_number(str(text)) for text in texts], dtype=np.float64)[places]


def _as_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def folder_labels(files: Sequence[str], labels: str | None, name: str) -> Labels | None:
    """The label of each file: the name of the subfolder it lies in.

    Args:
        files: Names relative to the folder, with "/" between the parts.
        labels: `data.labels`; for files, only "folder" is possible.
        name: The name of the source for the message.

    Returns:
        Shape (len(files),), or `None` if no labels are asked for.

    Raises:
        DataError: If the files lie in no subfolders.
    """
    if labels is None:
        return None
    if labels != FOLDER_LABELS:
        raise DataError(
            f'{name}: data.labels: "{labels}" is not possible for files; '
            f"use {FOLDER_LABELS}, the name of the subfolder each lies in"
        )
    bare = next((file for file in files if "/" not in file), None)
    if bare is not None:
        raise DataError(
            f"{name}: {bare} lies in no subfolder, so data.labels: folder gives it no label; "
            "move it into one"
        )
    return np.array([file.split("/", 1)[0] for file in files])
