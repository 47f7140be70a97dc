"""The units of rows: what differs between those of two pairs, and rows in the units of another."""

from __future__ import annotations

from collections.abc import Iterator
from math import isclose

import numpy as np

from isthmus.data.prepared.centring import recentred
from isthmus.data.rows import FloatArray
from isthmus.spec import RowSchema

# So far below white is no pixel of images whose white it is, unless all are nearly black.
_FAR = 20
_STEP_TOLERANCE = 0.01


def unlike_units(
    ours: RowSchema, theirs: RowSchema, *, scales_white: bool = False
) -> Iterator[tuple[str, object, object]]:
    """Yields what the numbers of two pairs' rows stand for, where it differs.

    What one of the two does not know, such as a pair of an earlier version, does not differ.

    Args:
        ours: The schema of the one's rows.
        theirs: The schema of the other's.
        scales_white: Whether rows are brought to the other's white by `in_units_of`, so that it
            matters only where one of them does not know it, and has pixels far from it.

    Yields:
        The name of the unit, and its values for the one and for the other.
    """
    if ours.kind != theirs.kind:
        yield "data.kind", str(ours.kind), str(theirs.kind)
    yield from _unlike_whites(ours, theirs, is_scaled=scales_white)
    rates = ours.sample_rate_hz, theirs.sample_rate_hz
    if None not in rates and rates[0] != rates[1]:
        yield "data.sample_rate_hz", *rates
    steps = ours.time_step_s, theirs.time_step_s
    if steps[0] and steps[1] and not isclose(steps[0], steps[1], rel_tol=_STEP_TOLERANCE):
        yield "seconds between steps", *steps


def in_units_of(values: FloatArray, ours: RowSchema, theirs: RowSchema) -> FloatArray:
    """Returns rows with the centre and the white of another schema instead of their own.

    Args:
        values: Shape (N, *row_shape), in the units of `ours`.
        ours: The schema of the rows.
        theirs: The other schema.
    """
    moved = recentred(values, ours.centre, theirs.centre)
    if not has_other_white(ours, theirs):
        return moved
    # In float64, so that pixels of 8 bits come back from 16 bits as the whole numbers they were.
    scaled = moved.astype(np.float64) * (theirs.white or 1) / (ours.white or 1)
    return np.asarray(scaled, dtype=np.float32)


def has_other_white(ours: RowSchema, theirs: RowSchema) -> bool:
    """Returns whether both schemas know white, and each another."""
    return None not in (ours.white, theirs.white) and ours.white != theirs.white


def _unlike_whites(
    ours: RowSchema, theirs: RowSchema, *, is_scaled: bool
) -> Iterator[tuple[str, object, object]]:
    if ours.white == theirs.white or (is_scaled and has_other_white(ours, theirs)):
        return
    # Arrays of floats name no white, and nor do pairs of earlier versions.
    if theirs.white is None and ours.white is not None:
        highest = None if theirs.highest is None else max(theirs.highest)
        if highest is not None and highest * _FAR < ours.white:
            yield "no pixel above", ours.white, highest
    elif ours.white is None and theirs.white is not None and ours.highest is not None:
        highest = max(ours.highest)
        if highest * _FAR < theirs.white:
            yield "white", f"none and no pixel above {highest:g}", theirs.white
    elif not is_scaled:  # rows that are to be trained on do not know their range yet
        yield "white", ours.white, theirs.white
