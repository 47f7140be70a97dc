"""Frames as data scientists have them: numbers for names, names of results, gaps in categories."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import polars as pl
import pytest

import isthmus
from isthmus import registry
from isthmus.errors import DataError, IsthmusError, UsageError
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


@pytest.fixture(scope="module")
def nameless(settings) -> object:
    """A pair that was trained on an array, and knows no names."""
    made = untrained.untrained_pair("nameless", settings, data={"path": "rows.npy"})
    return isthmus.load(str(registry.register_pair(made, settings)), settings=settings)


def test_a_pair_without_names_returns_frames_and_says_once_what_it_took(nameless, caplog):
    frame = pd.DataFrame(ROWS, columns=list("uvwxyz"), index=INDEX).astype({"u": "float64"})
    with caplog.at_level(logging.WARNING):
        found, clean, latents = (nameless.detect(frame), nameless.denoise(frame),
                                 nameless.embed(frame))  # fmt: skip
    told = "knows no names of columns: those of the frame are taken by their place, u, v, w, x"
    assert caplog.text.count(told) == 1
    for each in (found, clean, latents):
        pd.testing.assert_index_equal(each.index, INDEX)
    assert list(found.columns) == ["score", "p_value", "anomaly"]
    np.testing.assert_allclose(found["score"], nameless.detect(ROWS).scores, rtol=1e-5)
    np.testing.assert_allclose(clean, nameless.denoise(ROWS), atol=1e-5)
    pd.testing.assert_series_equal(clean.dtypes, frame.dtypes)
    np.testing.assert_allclose(latents[["z0", "z1"]], nameless.encode(ROWS).values, atol=1e-5)
    assert isinstance(nameless.detect(pl.DataFrame(ROWS)), pl.DataFrame)
    pd.testing.assert_series_equal(nameless.denoise(frame[:0]).dtypes, frame.dtypes)
    with pytest.raises(DataError, match="has missing values, first in row 0"):
        nameless.detect(frame.assign(w=None))
    with pytest.raises(DataError, match='column "id" is not numeric, and nameless/1 takes all'):
        nameless.detect(frame.assign(id="a"))


def test_a_path_of_an_output_is_refused_where_the_results_are_returned(coloured, nameless):
    frame = pd.DataFrame({"size": [0.5], "colour": ["red"]})
    for pair, rows in ((coloured, frame), (nameless, ROWS)):
        for job in ("detect", "denoise", "embed"):
            with pytest.raises(UsageError, match=f"{job} returns .* writes no file: .*'o.csv'"):
                getattr(pair, job)(rows, "o.csv")
    with pytest.raises(UsageError, match=r"detect returns .* writes no file: .*'o.csv'"):
        coloured.detect(frame, on_rows="o.csv")
    with pytest.raises(UsageError, match="on_rows is a function that is told of progress"):
        nameless.encode(ROWS, "o.csv")


def test_options_of_files_are_refused_for_arrays_by_name(nameless):
    with pytest.raises(UsageError, match=r"detect of an array.* has no option explain; give a fr"):
        nameless.detect(ROWS, explain=True)
    with pytest.raises(UsageError, match='detect of rows has no option "levle"; did you mean "le'):
        nameless.detect(ROWS, levle=0.1)


NOT_ROWS = {
    "nothing": (None, "None is no rows"),
    "a dict": ({"a": [1.0]}, "a dict is no rows; make a frame of it"),
    "a list of dicts": ([{"a": 1.0}], "a list of dicts is no rows; make a frame of it"),
    "a lazy frame": (pl.LazyFrame({"a": [1.0]}), r"a LazyFrame has no rows yet; .*collect\(\)"),
    "a row of a frame": (pd.Series([1.0, "x"]), r"a Series is no rows; .*iloc\[\[0\]\]"),
    "a column of numbers": (pl.Series([1.0, 2.0]), "a Series is no rows; give a frame"),
    "a path": ("new.csv", '"new.csv" is a path and not rows; read the file'),
    "a single row": (ROWS[0], r"takes rows, and this is a single row; give it as x\[None\]"),
}


@pytest.mark.parametrize(("thing", "said"), NOT_ROWS.values(), ids=NOT_ROWS)
def test_what_is_no_rows_is_told_with_the_way_to_rows(nameless, thing, said):
    with pytest.raises(IsthmusError, match=said) as refused:
        nameless.encode(thing)
    assert len(str(refused.value).splitlines()) == 1
    if not isinstance(thing, str):
        with pytest.raises(IsthmusError, match=said):
            nameless.detect(thing)


def test_masked_values_are_missing(nameless):
    holed = np.ma.masked_array(ROWS, ROWS > 2)
    with pytest.raises(DataError, match=r"missing values.*first in row"):
        nameless.encode(holed)


def test_latents_are_chosen_like_rows_and_stay_those_of_their_pair(nameless):
    latents = nameless.encode(ROWS)
    values = latents.values
    assert len(latents) == 50
    for rows in (slice(3, 9), [4, 1, 1], values[:, 0] > 0, np.array([-1]), []):
        some = latents[rows]
        assert some.pair_id == latents.pair_id
        expected = values[:0] if isinstance(rows, list) and not rows else values[rows]
        np.testing.assert_array_equal(some.values, expected)
        np.testing.assert_array_equal(nameless.decode(some).shape, (len(expected), 6))
    np.testing.assert_array_equal(latents[7].values, values[7:8])
    np.testing.assert_array_equal(np.asarray(latents), values)
    assert [len(each) for each in latents] == [1] * 50
    with pytest.raises(IndexError):
        latents[50]
    with pytest.raises(TypeError, match="latents are chosen by their rows"):
        latents[:, 0]
    with pytest.raises(DataError, match="these are latents of pair"):
        nameless.encode(latents)


UNREAD = {
    "sparse": (pd.arrays.SparseArray([0.0, 1.0]), r"type Sparse\[.*\.sparse\.to_dense\(\)"),
    "a period": (pd.period_range("2020-01", periods=2, freq="M"), 'not numeric .*"2020-01"'),
    "complex": (np.ones(2) * 1j, "type complex128, which cannot be read"),
}


@pytest.mark.parametrize(("values", "said"), UNREAD.values(), ids=UNREAD)
def test_types_of_pandas_that_are_no_numbers_are_told_as_pandas_names_them(coloured, values, said):
    frame = pd.DataFrame({"size": values, "colour": ["red", "blue"]})
    with pytest.raises(DataError, match=f'^frame: column "size" is .*{said}'):
        coloured.detect(frame)


def test_a_frame_without_rows_denoises_to_the_same_types_and_has_no_latents(coloured):
    frame = pd.DataFrame({"size": [1, 2], "colour": ["red", "blue"], "when": [True, False]})
    clean = coloured.denoise(frame)
    pd.testing.assert_series_equal(coloured.denoise(frame[:0]).dtypes, clean.dtypes)
    with pytest.raises(DataError, match=r"^frame: has no rows; give at least one"):
        coloured.encode(frame[:0])
