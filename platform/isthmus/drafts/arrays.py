"""Drafts the data section for a file of arrays: which holds the rows, and which the labels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from isthmus.data import arrays
from isthmus.data.arrays import USUAL_KEYS, LoadedArray
from isthmus.data.columns.survey import rows_looked_at
from isthmus.data.storage.files import Files
from isthmus.drafts.columns import LABEL_NAMES
from isthmus.drafts.fields import Field
from isthmus.drafts.tables import labels_fields
from isthmus.errors import DataError
from isthmus.types import DataKind

_KINDS = {1: DataKind.SERIES, 2: DataKind.TABULAR, 3: DataKind.IMAGES, 4: DataKind.IMAGES}
_LABELS_OF_A_SET = "target"
_MOST_LABELS = 100


def draft_array(files: Files) -> Iterator[list[Field]]:
    """Yields the data section's fields.

    Raises:
        DataError: If the file is damaged, or holds no array of rows.
    """
    is_set = arrays.is_bundled(files.name)
    address, name = files.name if is_set else str(files.path(0)), files.called(0)
    keys = arrays.keys(address, name)
    key = _key_of_rows(address, name, keys)
    rows = arrays.open_array(address, name, key, None)
    axes = len(rows.values.shape)
    fields = [Field("kind", _KINDS.get(axes, DataKind.TABULAR).value)]
    if key is not None and key not in USUAL_KEYS and len(keys) > 1:
        shown = " x ".join(map(str, rows.values.shape))
        why = f"Of the arrays {', '.join(keys)} this one seems to hold the rows, {shown}."
        fields.append(Field("key", key, why))
    labels = _LABELS_OF_A_SET if is_set else _key_of_labels(address, name, keys, key, rows)
    if labels is not None:
        loaded = arrays.open_array(address, name, key, labels)
        fields += labels_fields(labels, _as_labels(loaded))
    fields += _gaps(rows)
    yield fields


def _key_of_rows(address: str, name: str, keys: tuple[str, ...]) -> str | None:
    """Returns the array with the usual name of rows, else the largest; `None` if it has no name."""
    usual = [each for each in USUAL_KEYS if each in keys]
    if not keys or usual:
        return usual[0] if usual else None
    sizes: dict[str, tuple[int, int]] = {}
    for key in keys:
        try:
            shape = arrays.open_array(address, name, key, None).values.shape
        except DataError:
            continue  # texts, objects, or one number: no rows
        sizes[key] = (len(shape), int(np.prod(shape)))
    if not sizes:
        raise DataError(f"{name}: none of its arrays ({', '.join(keys)}) holds rows of numbers")
    return max(sizes, key=lambda each: (sizes[each][0] > 1, sizes[each][1]))


def _key_of_labels(
    address: str, name: str, keys: tuple[str, ...], key: str | None, rows: LoadedArray
) -> str | None:
    for each in keys:
        if each == key or each.rpartition("/")[2].lower() not in LABEL_NAMES:
            continue
        try:
            labels = arrays.open_array(address, name, key, each).labels
        except DataError:
            continue  # not a label for each row
        if labels is not None and 2 <= len(np.unique(labels)) <= min(_MOST_LABELS, len(rows) // 2):
            return each
    return None


def _as_labels(loaded: LoadedArray) -> list[object]:
    labels = loaded.labels
    assert labels is not None  # noqa: S101 (asked for)
    if labels.dtype.kind == "f" and (labels == np.round(labels)).all():
        labels = labels.astype(np.int64)
    return list(labels.tolist() if labels.dtype.kind in "iu" else labels.astype(str).tolist())


def _gaps(rows: LoadedArray) -> list[Field]:
    shape = rows.values.shape
    sample = rows.values[0 : rows_looked_at(int(np.prod(shape[1:])))]
    if sample.dtype.kind != "f" or not np.isnan(sample).any():
        return []
    if len(shape) > 2:
        return [Field("missing", "drop", "Some rows have missing values; they are left out.")]
    return [
        Field("missing", "mean", "A missing value becomes its column's mean; or drop the rows.")
    ]
