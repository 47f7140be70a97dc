"""Pixels in other units than a pair's are refused, or told."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from isthmus.data import RangeWatch, UseOptions, open_input
from isthmus.errors import DataError
from isthmus.spec import DataSpec, RowSchema
from isthmus.types import DataKind, ScalingMode

RNG = np.random.default_rng(0)
SPEC = DataSpec(path="t", kind=DataKind.IMAGES, scaling=ScalingMode.MINMAX, patch=16)


def schema(white: float, highest: float | None = None) -> RowSchema:
    return RowSchema(
        kind=DataKind.IMAGES,
        shape=(1, 16, 16),
        white=white,
        lowest=(0.0,),
        highest=(white if highest is None else highest,),
    )


@pytest.mark.parametrize("white", [255, 65535])
def test_floats_from_0_to_1_are_refused_where_white_is_that_of_whole_numbers(
    in_tmp: Path, white: float
) -> None:
    photo = np.clip(RNG.random((1, 40, 50)) + RNG.normal(0, 0.2, (1, 40, 50)), -0.9, 1.9)
    np.save("photo.npy", photo.astype(np.float32))
    with pytest.raises(
        DataError,
        match=rf"^photo.npy: holds numbers from -0\.\S+ to 1\.\S+, and white is {white} to the "
        rf"pair; give 0 to {white}, or multiply them by {white} if their white is 1$",
    ):
        open_input(SPEC, "photo.npy", schema(white), UseOptions())


def test_floats_in_the_units_of_the_pair_are_taken(in_tmp: Path) -> None:
    photo = RNG.random((1, 40, 50))
    np.save("photo.npy", photo)
    open_input(SPEC, "photo.npy", schema(16), UseOptions())  # digits: white is not known for sure
    open_input(SPEC, "photo.npy", schema(255, highest=1), UseOptions())  # trained on masks
    np.save("photo.npy", 255 * photo)
    open_input(SPEC, "photo.npy", schema(255), UseOptions())
    np.save("photo.npy", np.zeros((1, 40, 50)))
    open_input(SPEC, "photo.npy", schema(255), UseOptions())
    np.save("photo.npy", RNG.integers(0, 2, (1, 40, 50)))
    open_input(SPEC, "photo.npy", schema(255), UseOptions())


def test_one_large_image_that_fills_little_of_the_range_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        for size, is_told in ((40, False), (256, True)):
            watch = RangeWatch(schema(255), "photo.npy")
            watch.look(RNG.random((1, 1, size, size)).astype(np.float32))
            watch.report()
            assert ("fill little of the trained range" in caplog.text) is is_told
