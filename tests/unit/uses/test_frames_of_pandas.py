"""Frames as data scientists have them: numbers for names, names of results, gaps in categories."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import polars as pl
import pytest

import isthmus
from isthmus import registry
from isthmus.errors import DataError
from tests import untrained
from tests.unit.uses import test_frames, test_scoring

settings, small_blocks = untrained.settings, test_scoring.small_blocks

ROWS = test_frames.ROWS
INDEX = pd.Index([f"day-{number}" for number in range(50)])


@pytest.fixture(scope="module")
def coloured(settings) -> object:
    """A pair for a number and a category."""
    return test_frames.coloured(settings)


def pair_for(names: tuple[str, ...], settings: object) -> object:
    """Returns a pair of drawn weights for columns of these names."""
    made = untrained.untrained_pair("named", settings, data={"path": "r.csv", "columns": names})
    return isthmus.load(str(registry.register_pair(made, settings)), settings=settings)


NUMBERS_FOR_NAMES = {
    "never named": list(range(6)),
    "some": ["a", "b", 2, "d", 5, "f"],
    "years": list(range(2019, 2025)),
}


@pytest.mark.filterwarnings("error:The DataFrame has column names of mixed type")
@pytest.mark.parametrize("names", NUMBERS_FOR_NAMES.values(), ids=NUMBERS_FOR_NAMES)
def test_columns_that_pandas_calls_by_numbers_are_found_by_them(settings, names):
    pair = pair_for(tuple(map(str, names)), settings)
    frame = pd.DataFrame(ROWS, columns=names, index=INDEX)[names[::-1]].assign(id=7)
    frame[99] = 1.5  # one that the pair does not take
    found = pair.detect(frame)
    assert list(found.columns) == ["id", 99, "score", "p_value", "anomaly"]
    np.testing.assert_allclose(found["score"], pair.detect(ROWS).scores, rtol=1e-5)
    pd.testing.assert_index_equal(found.index, INDEX)
    clean = pair.denoise(frame)
    assert list(clean.columns) == [*names[::-1], "id", 99]
    np.testing.assert_allclose(clean[names], pair.denoise(ROWS), atol=1e-5)
    latents = pair.encode(ROWS).values
    np.testing.assert_allclose(pair.encode(frame).values, latents, atol=1e-5)
    np.testing.assert_allclose(pair.embed(frame)[["z0", "z1"]], latents, atol=1e-5)
    way = pair.interpolate(frame[:1], frame[1:2], steps=2)
    np.testing.assert_allclose(way, pair.reconstruct(frame[:2]), atol=1e-5)


def test_a_column_that_the_result_has_too_is_refused_by_name(coloured):
    frame = pd.DataFrame({"size": [0.5, 1.5], "colour": ["red", "blue"], "anomaly": [True, False]})
    with pytest.raises(DataError, match=r'^frame: has "anomaly", and so has the result; rename'):
        coloured.detect(frame)
    with pytest.raises(DataError, match=r'^frame: has "score", "reason", and so has the result'):
        coloured.detect(pl.DataFrame(frame.drop(columns="anomaly").assign(score=1, reason="x")))
    with pytest.raises(DataError, match=r'^frame: has "z0", and so has the result'):
        coloured.embed(frame.assign(z0=1.0))
    # What the result does not have is kept, and what is denoised stays.
    assert coloured.embed(frame)["anomaly"].tolist() == [True, False]
    assert coloured.denoise(frame)["anomaly"].tolist() == [True, False]


def test_columns_of_one_name_are_named(coloured):
    frame = pd.DataFrame([[0.5, "red", 1, 2, 3, 4]], columns=["size", "colour", "y", "y", 3, "3"])
    with pytest.raises(DataError, match=r'^frame: more than one column is called "3", "y"; rename'):
        coloured.detect(frame)
    with pytest.raises(DataError, match=r'^frame: more than one column is called "3"; rename'):
        coloured.detect(frame.loc[:, ["size", "colour", 3, "3"]])


@pytest.mark.parametrize("gap", [None, np.nan, ""], ids=["None", "nan", "empty"])
def test_a_category_without_a_value_is_told_as_such(coloured, caplog, gap):
    frame = pd.DataFrame({"size": [0.5, 1.5], "colour": ["red", gap]})
    with caplog.at_level(logging.WARNING):
        found = coloured.detect(frame)
    assert found["reason"].tolist() == [
        "",
        "colour has no value, and in training each row had one",
    ]
    assert found["anomaly"][1]
    assert '"colour" has 1 row(s) without a value, and in training each row had one' in caplog.text
    assert '""' not in caplog.text


def test_a_csv_of_which_no_row_is_a_number_is_refused_in_one_line(coloured, here):
    pd.DataFrame({"size": ["x"] * 6, "colour": ["red"] * 6}).to_csv("bad.csv", index=False)
    for job in (coloured.detect, coloured.embed):
        with pytest.raises(DataError, match=r"^bad.csv: none of its 6 row\(s\) can be read; row 0"):
            job("bad.csv", "out.csv")
    assert not (here / "out.csv").exists()


def test_a_whole_block_that_cannot_be_read_is_set_aside(coloured, here, small_blocks):
    sizes = np.arange(900).astype(str).astype(object)
    sizes[300:700] = "x"
    pd.DataFrame({"size": sizes, "colour": "red"}).to_csv("some.csv", index=False)
    result = coloured.detect("some.csv", "out.csv")
    assert (result.rows, result.rejected) == (500, 400)
    assert len(pd.read_csv("out.csv")) == 500
