"""One short text that says whether two sets of rows are the same."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.data.rows import Rows
from isthmus.types import DataKind


def fingerprint(*views: Rows) -> str:
    """Returns the sha256 of rows and other measurements of them: shape, type, content, labels.

    Tables of several files have a fingerprint of those of the files, so that these can be found
    side by side on a cluster.

    Returns:
        64 hexadecimal digits.
    """
    first = views[0]
    is_table = first.schema.kind is DataKind.TABULAR
    if is_table and len(first.part_sizes) > 1 and len(views) == 1 and first.labels is None:
        ends = np.cumsum(first.part_sizes)
        parts = [
            first.values[end - size : end] for size, end in zip(first.part_sizes, ends, strict=True)
        ]
        return fingerprint_of_files([_of_arrays([part]) for part in parts])
    return _of_arrays([array for rows in views for array in (rows.values, rows.labels)])


def _of_arrays(arrays: Sequence[NDArray[Any] | None]) -> str:
    digest = Fingerprint()
    for array in arrays:
        if array is not None:
            digest.add(array)
    return digest.hexdigest()


def fingerprint_of_files(fingerprints: Sequence[str]) -> str:
    """Returns the fingerprint of a table in several files, of theirs in order; of one, its own."""
    if len(fingerprints) == 1:
        return fingerprints[0]
    return hashlib.sha256("\n".join(fingerprints).encode()).hexdigest()


class Fingerprint:
    """The fingerprint of rows that come a block at a time."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._kind = ""
        self._rows = 0

    def add(self, array: NDArray[Any]) -> None:
        """Adds the next block of an array, or the first of another shape or type."""
        array = np.ascontiguousarray(array)
        kind = f"{array.shape[1:]} {array.dtype.str}"
        if kind != self._kind:
            self._close()
            self._kind = kind
        self._rows += len(array)
        # As bytes, since texts have no buffer that hashlib takes; a view copies nothing.
        self._digest.update(array.reshape(-1).view(np.uint8).data)

    def hexdigest(self) -> str:
        """Returns 64 hexadecimal digits; what is added later does not count."""
        self._close()
        return self._digest.hexdigest()

    def _close(self) -> None:
        # At the end: how many rows a file has is not known before.
        self._digest.update(f" {self._kind} {self._rows} ".encode())
        self._rows = 0
