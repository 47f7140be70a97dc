"""Rows that Python holds: arrays, tensors, and frames of other libraries, told from one another."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import DataError


def is_frame(x: object) -> bool:
    """Returns whether rows are a frame with named columns: of pandas, polars, Arrow and others."""
    return hasattr(x, "__arrow_c_stream__") and hasattr(x, "columns")


def array_of(x: Any) -> NDArray[Any]:
    """Returns rows as an array in the memory of the CPU; a tensor may be on any device.

    Values that are masked are missing, NaN.

    Raises:
        DataError: If the rows have different shapes, or are not numbers.
    """
    refuse_other_things(x)
    if hasattr(x, "detach"):
        x = x.detach().cpu()
        # numpy has no bfloat16.
        x = x.float() if x.is_floating_point() and x.element_size() < 4 else x
    try:
        values = np.asarray(x)
        if np.ma.is_masked(x):
            values = np.ma.filled(x.astype(np.result_type(values.dtype, np.float32)), np.nan)
    except ValueError as error:
        message = "rows of different shapes are no array; give those of one shape in a call"
        raise DataError(message) from error
    if values.dtype.kind not in "fiub":
        refuse_series(x)
        raise DataError(f"rows of type {values.dtype} are not numbers; give a numeric array")
    return values


def refuse_other_things(x: object) -> None:
    """Refuses what is often given in place of rows, and says how rows are made of it.

    Raises:
        DataError: If it is nothing, a path, a dict, a list of dicts, or a frame without its rows.
    """
    is_list_of_dicts = isinstance(x, list | tuple) and bool(x) and isinstance(x[0], Mapping)
    said = None
    if x is None:
        said = "None is no rows; give a frame, an array or a tensor"
    elif isinstance(x, str | PathLike):
        said = f'"{x}" is a path and not rows; read the file into a frame or an array first'
    elif (isinstance(x, Mapping) and not hasattr(x, "shape")) or is_list_of_dicts:
        what = "a list of dicts is" if is_list_of_dicts else "a dict is"
        said = f"{what} no rows; make a frame of it, such as pandas.DataFrame(rows)"
    elif hasattr(x, "collect") and not is_frame(x):
        said = f"a {type(x).__name__} has no rows yet; give what its .collect() returns"
    if said is not None:
        raise DataError(said)


def refuse_series(x: object) -> None:
    """Refuses one column or one row of a frame, which has lost the names of the columns.

    Raises:
        DataError: If it is a series of pandas or polars.
    """
    if hasattr(x, "to_frame"):
        raise DataError(
            "a Series is no rows; give a frame, such as frame.iloc[[0]] for its first row"
        )
