"""Large values that vary little keep what tells them apart, or the message says why they cannot."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from isthmus.data import read_rows
from isthmus.errors import DataError
from isthmus.spec import DataSpec

RNG = np.random.default_rng(0)
NOISE = RNG.normal(0, 1.4, 300)


@pytest.mark.parametrize("offset", [2e7, 1e10, 1e13, -1e13])
@pytest.mark.parametrize("form", ["csv", "parquet", "npy"])
def test_a_column_that_float64_tells_apart_is_centred_beside_normal_ones(
    offset: float, form: str, here: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frame = pd.DataFrame({"big": offset + NOISE, "x": RNG.normal(size=300), "y": NOISE[::-1]})
    if form == "npy":
        np.save("t.npy", frame.to_numpy())
    else:
        getattr(frame, f"to_{form}")(f"t.{form}", index=False)
    with caplog.at_level(logging.WARNING):
        rows, _ = read_rows(DataSpec(path=f"t.{form}"))
    assert rows.values[:, 0].std() == pytest.approx(NOISE.std(), rel=0.01)
    assert "so they are centred" in caplog.text
    assert "constant" not in caplog.text


@pytest.mark.parametrize(("offset", "spacing"), [(1e16, "2"), (1e17, "16")])
def test_values_that_float64_hardly_tells_apart_are_told_with_its_spacing(
    offset: float, spacing: str, here: Path, caplog: pytest.LogCaptureFixture
) -> None:
    big = offset + 10 * NOISE
    pd.DataFrame({"big": big, "x": NOISE}).to_parquet("t.parquet", index=False)
    with caplog.at_level(logging.WARNING):
        rows, _ = read_rows(DataSpec(path="t.parquet"))
    assert rows.schema.centre is None
    assert f"t.parquet: big: float64 has a spacing of {spacing} at 1e+1" in caplog.text
    pd.DataFrame({"a": big, "b": big + 1e12}).to_parquet("all.parquet", index=False)
    with pytest.raises(DataError, match=f"a and 1 more: float64 has a spacing of {spacing} at"):
        read_rows(DataSpec(path="all.parquet"))


def test_a_column_that_never_varies_is_told_as_constant_at_any_size(
    here: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frame = pd.DataFrame({"big": np.full(300, 1e13 + 0.1), "small": 0.1, "x": NOISE})
    frame.to_parquet("t.parquet", index=False)
    with caplog.at_level(logging.WARNING):
        read_rows(DataSpec(path="t.parquet"))
    assert "float64" not in caplog.text
