"""Rows that Python holds: arrays, tensors, and frames of other libraries, told from one another."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import DataError


def is_frame(x: object) -> bool:
    """Returns whether rows are a frame with named columns: of pandas, polars, Arrow and others."""
    return hasattr(x, "__arrow_c_stream__") and hasattr(x, "columns")


def array_of(x: Any) -> NDArray[Any]:
    """Returns rows as an array in the memory of the CPU; a tensor may be on any device.

    Raises:
        DataError: If the rows have different shapes, or are not numbers.
    """
    if hasattr(x, "detach"):
        x = x.detach().cpu()
        # numpy has no bfloat16.
        x = x.float() if x.is_floating_point() and x.element_size() < 4 else x
    try:
        values = np.asarray(x)
    except ValueError as error:
        message = "rows of different shapes are no array; give those of one shape in a call"
        raise DataError(message) from error
    if values.dtype.kind not in "fiub":
        raise DataError(f"rows of type {values.dtype} are not numbers; give a numeric array")
    return values
