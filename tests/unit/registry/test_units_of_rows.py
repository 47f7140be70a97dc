"""Rows that are given in Python are held against the trained ranges, as those of files are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from isthmus.registry import Pair
from tests.untrained import pair_of

COLUMNS = ("a", "b", "c")
VALUES = np.random.default_rng(0).uniform(0, 255, (200, 3)).astype(np.float32)
VERBS = ["encode", "reconstruct", "denoise", "detect"]


@pytest.fixture
def pair(here: Path) -> Pair:
    """A pair of three columns of 0 to 255, of whose values none were missing in training."""
    as_frame(VALUES).to_csv("rows.csv", index=False)
    return pair_of("rows.csv", missing="mean")


def as_frame(values: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(values, columns=list(COLUMNS))


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("form", [np.asarray, as_frame], ids=["array", "frame"])
def test_rows_in_other_units_are_told_once_a_call_with_the_figures(
    pair: Pair, verb: str, form, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = VALUES.copy()
    wrong[:, 1] = np.nan
    for rows, said in (
        (VALUES / 255, 'fill little of the trained range ("a" '),
        (VALUES * 30, 'far outside the trained range ("a" '),
        (wrong, '"b" has no value at all, and 0 % were missing in training'),
        (VALUES, ""),
        (VALUES[:1], ""),
    ):
        getattr(pair, verb)(form(rows))
        assert len(caplog.messages) == bool(said), caplog.messages
        assert said in caplog.text
        caplog.clear()


def test_of_many_rows_a_sample_is_enough(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    rows = np.tile(VALUES, (5000, 1))
    pair.encode(rows / 255)
    (told,) = caplog.messages
    assert "rows for plant/1: has values that fill little" in told
