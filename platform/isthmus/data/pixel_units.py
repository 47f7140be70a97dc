"""The units of pixels in arrays: what white is in one, and how it comes to the white of a pair."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.data.arrays import ArrayView
from isthmus.data.rows import rows_in_a_block
from isthmus.errors import DataError
from isthmus.spec import RowSchema

_logger = logging.getLogger(__name__)
_WHITES = {"bool": 1.0, "uint8": 255.0, "uint16": 65535.0}
# Pixels from 0 to 1 lie between these, with noise.
_LEAST_OF_UNIT, _MOST_OF_UNIT = -1.0, 2.0
# A pair whose training rows have a range below this was itself trained on such pixels, or nearly.
_FAR_LARGER = 10 * (_MOST_OF_UNIT - _LEAST_OF_UNIT)


def white_of(values: ArrayView) -> float | None:
    """Returns the value of white in an array; `None` if its type of number does not say it."""
    return _WHITES.get(values.dtype.name)


def factor_to(schema: RowSchema, values: ArrayView, name: str) -> float:
    """Returns what pixels of an array are multiplied by for a pair, and says so unless it is 1.

    Args:
        schema: The schema of the pair's training rows; those of other kinds know no white.
        values: The array, images along its first axis.
        name: The name of the array for messages.

    Raises:
        DataError: If the array holds floats from 0 to 1, and white is 255 or 65535 to the pair.
    """
    _refuse_unit_range(schema, values, name)
    white = white_of(values)
    # In the units of a float array, or of the digits, white is not known for sure.
    if white is None or schema.white not in _WHITES.values() or schema.white == white:
        return 1.0
    if _are_masks_to(schema, values, white):
        return 1.0
    _logger.warning(
        "%s: white is %g in %s, and %g to the pair; the pixels are scaled to that",
        *(name, white, values.dtype.name, schema.white),
    )
    return float(np.float32(schema.white) / np.float32(white))


def _are_masks_to(schema: RowSchema, values: ArrayView, white: float) -> bool:
    """Returns whether 1 is white in both, whatever the types of number say: masks of 0 and 1."""
    if schema.white != _WHITES["bool"] and _width(schema, schema.white or 0.0) >= _FAR_LARGER:
        return False
    if white == _WHITES["bool"]:
        return True
    return all(np.max(block, initial=0) <= 1 for block in _blocks(values))


def _refuse_unit_range(schema: RowSchema, values: ArrayView, name: str) -> None:
    """Refuses floats from 0 to 1 where white is 255 or 65535; the pair would take them for black.

    Arrays of other units are told by their first numbers, so that they are not read twice.
    """
    white = schema.white
    is_float = np.issubdtype(values.dtype, np.floating)
    if white is None or white not in _WHITES.values():
        return
    if not is_float or _width(schema, white) < _FAR_LARGER:
        return
    lowest, highest = np.inf, -np.inf
    for block in _blocks(values):
        lowest = np.fmin(lowest, np.fmin.reduce(block, axis=None))
        highest = np.fmax(highest, np.fmax.reduce(block, axis=None))
        if lowest < _LEAST_OF_UNIT or highest > _MOST_OF_UNIT:
            return
    if lowest < highest:  # images of one value, as black ones are, mean the same in any unit
        raise DataError(
            f"{name}: holds numbers from {lowest:.3g} to {highest:.3g}, and white is {white:g} to "
            f"the pair; give 0 to {white:g}, or multiply them by {white:g} if their white is 1"
        )


def _blocks(values: ArrayView) -> Iterator[NDArray[Any]]:
    at_once = rows_in_a_block(values.shape[1:] or (1,))
    for first in range(0, values.shape[0], at_once):
        yield np.asarray(values[first : first + at_once])


def _width(schema: RowSchema, white: float) -> float:
    """Returns the width of the range of the training rows; up to white if that is not known."""
    if schema.lowest is None or schema.highest is None:
        return white
    return max(schema.highest) - min(schema.lowest)
