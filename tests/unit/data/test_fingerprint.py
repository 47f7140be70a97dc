"""The fingerprint changes with the content, and with nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from isthmus.data import Rows, fingerprint
from isthmus.spec import RowSchema
from isthmus.types import DataKind


def rows_of(values: np.ndarray, labels: np.ndarray | None = None) -> Rows:
    schema = RowSchema(kind=DataKind.TABULAR, shape=values.shape[1:])
    return Rows(values.astype(np.float32), schema, labels=labels)


def test_it_is_a_sha256_of_the_content() -> None:
    values = np.arange(12.0).reshape(4, 3)
    first = fingerprint(rows_of(values))
    assert len(first) == 64
    assert fingerprint(rows_of(values.copy())) == first
    assert fingerprint(rows_of(values.reshape(3, 4))) != first
    changed = values.copy()
    changed[3, 2] = 99
    assert fingerprint(rows_of(changed)) != first


def test_labels_count_as_content() -> None:
    values = np.arange(12.0).reshape(4, 3)
    numbers = rows_of(values, np.array([0, 1, 0, 1]))
    texts = replace(numbers, labels=np.array(["a", "b", "a", "b"]))
    swapped = replace(numbers, labels=np.array(["b", "a", "a", "b"]))
    assert len({fingerprint(rows) for rows in (rows_of(values), numbers, texts, swapped)}) == 4
