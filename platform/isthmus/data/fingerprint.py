"""One short text that says whether two sets of rows are the same."""

from __future__ import annotations

import hashlib

import numpy as np

from isthmus.data.rows import Rows


def fingerprint(rows: Rows) -> str:
    """The sha256 of the rows: shape, type, content, and labels if there are any.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for array in (rows.values, rows.labels):
        if array is None:
            continue
        array = np.ascontiguousarray(array)
        digest.update(f"{array.shape} {array.dtype.str} ".encode())
        # As bytes, since texts have no buffer that hashlib takes; a view copies nothing.
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
