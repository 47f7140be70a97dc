"""Labels choose rows and colour figures; they are never trained on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from isthmus.data.rows import IndexArray, Labels, Rows
from isthmus.errors import DataError

FOLDER_LABELS = "folder"
_SHOWN = 20


def keep_labelled(rows: Rows, keep: Sequence[int | str] | None, name: str) -> Rows:
    """Only the rows with one of these labels; all rows where `keep` is `None`.

    A label is kept if it equals one of `keep` by value or as text: 1 keeps 1, 1.0 and "1".

    Raises:
        DataError: If there are no labels, or none of these.
    """
    if keep is None:
        return rows
    if rows.labels is None:
        raise DataError(f"{name}: data.keep_labels needs data.labels; name what holds them")
    kept = _matching(rows.labels, keep)
    if not len(kept):
        present = [str(label) for label in np.unique(rows.labels)]
        shown = ", ".join(present[:_SHOWN]) + (", ..." if len(present) > _SHOWN else "")
        wanted = ", ".join(str(label) for label in keep)
        raise DataError(f"{name}: no row is labelled {wanted}; the labels are {shown}")
    return rows if len(kept) == len(rows) else rows.take(kept)


def other_labelled(rows: Rows, keep: Sequence[int | str]) -> Rows:
    """The rows that `keep_labelled` leaves out."""
    if rows.labels is None:
        return rows.take(np.empty(0, dtype=np.int64))
    is_other = np.ones(len(rows), dtype=bool)
    is_other[_matching(rows.labels, keep)] = False
    return rows.take(np.flatnonzero(is_other).astype(np.int64))


def _matching(labels: Labels, keep: Sequence[int | str]) -> IndexArray:
    found = np.isin(labels.astype(str), [str(label) for label in keep])
    if labels.dtype.kind in "biuf":
        found |= np.isin(labels, [label for label in keep if isinstance(label, int)])
    return np.flatnonzero(found).astype(np.int64)


def folder_labels(files: Sequence[str], labels: str | None, name: str) -> Labels | None:
    """The label of each file: the name of the subfolder it lies in.

    Args:
        files: Names relative to the folder, with "/" between the parts.
        labels: `data.labels`; for files, only "folder" is possible.
        name: What the message calls the source.

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
