"""Frames in, frames out: columns by name, categories by the manifest, index and ids kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch

import isthmus
from isthmus import registry
from isthmus.errors import DataError, RegistryError, UsageError
from isthmus.spec import RowSchema
from isthmus.types import DataKind
from tests import untrained

settings = untrained.settings

COLUMNS = list("abcdef")
ROWS = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
# A frame of another order, with an id and an index of its own.
FRAME = pd.DataFrame(ROWS, columns=COLUMNS, index=np.arange(50) * 10)[list("fbdace")]
FRAME.insert(2, "id", [f"order-{number}" for number in range(50)])
LIBRARIES = {
    "pandas": lambda frame: frame,
    "polars": lambda frame: pl.DataFrame(frame.reset_index(drop=True)),
    "arrow": lambda frame: pa.Table.from_pandas(frame, preserve_index=False),
}


@pytest.fixture(scope="module")
def pair(settings) -> object:
    """A pair of drawn weights for the columns a to f."""
    made = untrained.untrained_pair("framed", settings, data={"path": "r.csv", "columns": COLUMNS})
    return isthmus.load(str(registry.register_pair(made, settings)), settings=settings)


@pytest.fixture(params=LIBRARIES.values(), ids=LIBRARIES)
def library(request):
    """Makes a frame of one of the libraries of a frame of pandas'."""
    return request.param


def of_pandas(frame: object) -> pd.DataFrame:
    """Returns any frame as one of pandas', without its index."""
    found = frame if isinstance(frame, pd.DataFrame) else frame.to_pandas()
    return found.reset_index(drop=True)


def test_columns_are_scored_by_name_and_ids_are_kept(pair, library):
    given = library(FRAME)
    found = pair.detect(given)
    assert type(found) is type(given)
    expected = pair.detect(ROWS)
    table = of_pandas(found)
    assert list(table.columns) == ["id", "score", "p_value", "anomaly"]
    np.testing.assert_allclose(table["score"], expected.scores, rtol=1e-5)
    np.testing.assert_array_equal(table["anomaly"], expected.anomalies)
    assert table["id"].tolist() == FRAME["id"].tolist()


def test_denoised_columns_take_the_place_of_those_that_came(pair, library):
    given = library(FRAME)
    found = pair.denoise(given)
    assert type(found) is type(given)
    table = of_pandas(found)
    assert list(table.columns) == list(FRAME.columns)
    np.testing.assert_allclose(table[COLUMNS], pair.denoise(ROWS), atol=1e-5)
    assert table["id"].tolist() == FRAME["id"].tolist()


def test_latents_of_a_frame_are_columns_and_of_an_array_an_array(pair, library):
    given = library(FRAME)
    found = pair.embed(given)
    assert type(found) is type(given)
    table = of_pandas(found)
    assert list(table.columns) == ["id", "z0", "z1"]
    expected = pair.encode(ROWS).values
    np.testing.assert_allclose(table[["z0", "z1"]], expected, atol=1e-5)
    np.testing.assert_array_equal(pair.embed(ROWS), expected)
    np.testing.assert_allclose(pair.encode(given).values, expected, atol=1e-5)


def test_the_index_of_pandas_is_kept_even_if_it_repeats(pair):
    given = FRAME.set_index(pd.Index([1] * 25 + [2] * 25, name="day"))
    for found in (pair.detect(given), pair.denoise(given), pair.embed(given)):
        pd.testing.assert_index_equal(found.index, given.index)
    without_ids = given[COLUMNS]
    pd.testing.assert_index_equal(pair.detect(without_ids).index, given.index)


def test_a_frame_is_not_changed_by_what_is_made_of_it(pair):
    given, before = FRAME.copy(), FRAME.copy()
    pair.denoise(given)
    pd.testing.assert_frame_equal(given, before)


@pytest.mark.parametrize("job", ["detect", "denoise", "embed", "encode", "reconstruct"])
def test_a_missing_column_gets_the_message_of_the_command(pair, library, job):
    given = library(FRAME.rename(columns={"b": "B1"}).drop(columns="f"))
    told = r'^frame: no column "b", "f", which the model was trained on; Valid: '
    with pytest.raises(DataError, match=told):
        getattr(pair, job)(given)


def test_a_missing_value_and_a_text_get_the_messages_of_the_command(pair, library):
    holed = FRAME.copy()
    holed.iloc[3, 0] = np.nan
    with pytest.raises(DataError, match=r'frame: column "f" has missing values, first in row 3'):
        pair.detect(library(holed))
    with pytest.raises(
        DataError, match=r'frame: column "c" is not numeric \(for example "red", in row 0'
    ):
        pair.denoise(library(FRAME.assign(c="red")))


def test_two_columns_of_one_name_are_refused(pair):
    twice = pd.concat([FRAME, FRAME[["a"]]], axis=1)
    with pytest.raises(DataError, match=r"^frame: .*a.*; rename columns"):
        pair.detect(twice)


def test_options_of_the_command_go_with_a_frame(pair):
    found = pair.detect(FRAME, explain=True, false_alarm_rate=0.2)
    assert {"id", "score", "p_value", "anomaly"} < set(found.columns)
    assert {"feature_1", "share_1"} < set(found.columns)
    with pytest.raises(UsageError, match='detect has no option "explian"'):
        pair.detect(FRAME, explian=True)
    with pytest.raises(UsageError, match="an index is written beside a file"):
        pair.embed(FRAME, index=True)


def coloured(settings) -> object:
    """A pair of drawn weights for a number and a category of two values."""
    columns, features = ("size", "colour"), ("size", "colour=blue", "colour=red")
    made = untrained.untrained_pair("coloured", settings, shape=(3,))
    data = made.data.model_copy(
        update={"columns": columns, "categories": {"colour": ("blue", "red")}}
    )
    schema = RowSchema(kind=DataKind.TABULAR, shape=(3,), features=features)
    pair = registry.register_pair(replace(made, data=data, row_schema=schema), settings)
    return isthmus.load(str(pair), settings=settings)


def test_categories_are_told_by_the_manifest_of_the_pair(settings, library):
    pair = coloured(settings)
    rows = pd.DataFrame(
        {"colour": ["red", "blue", "red"], "size": [0.5, 1.5, 2.5], "id": [7, 8, 9]}
    )
    as_numbers = np.array([[0.5, 0, 1], [1.5, 1, 0], [2.5, 0, 1]])
    expected = pair.encode(as_numbers).values
    np.testing.assert_allclose(pair.encode(library(rows)).values, expected, atol=1e-6)
    clean = of_pandas(pair.denoise(library(rows)))
    assert set(clean["colour"]) <= {"red", "blue"}
    assert list(clean.columns) == ["colour", "size", "id"]
    as_categories = library(rows.astype({"colour": "category"}))
    np.testing.assert_allclose(pair.encode(as_categories).values, expected, atol=1e-6)
    unseen = of_pandas(pair.detect(library(rows.assign(colour="green"))))
    assert unseen["anomaly"].all()
    assert unseen["reason"].tolist() == ['colour="green" was not in training'] * 3


def test_an_array_is_taken_in_the_order_of_training_which_is_said_once(settings, caplog):
    made = untrained.untrained_pair("noted", settings, data={"path": "r.csv", "columns": COLUMNS})
    schema = RowSchema(kind=DataKind.TABULAR, shape=(6,), features=tuple(COLUMNS))
    reference = str(registry.register_pair(replace(made, row_schema=schema), settings))
    pair = isthmus.load(reference, settings=settings)
    pair.detect(FRAME)
    assert "without names" not in caplog.text
    for _ in range(2):
        pair.detect(ROWS)
        pair.encode(torch.from_numpy(ROWS))
    assert caplog.text.count("came without names: their columns are taken to be a, b, c, d") == 1
    with pytest.raises(DataError, match=r"rows of shape \(5,\) do not fit noted/1"):
        pair.detect(ROWS[:, :5])
    # A frame whose columns were never named is taken in that order too, and is a frame again.
    unnamed = pair.detect(pd.DataFrame(ROWS, index=FRAME.index))
    np.testing.assert_array_equal(unnamed["score"], pair.detect(ROWS).scores)
    pd.testing.assert_index_equal(unnamed.index, FRAME.index)


@pytest.mark.parametrize(
    "tensor",
    [
        pytest.param(torch.from_numpy(ROWS).requires_grad_(), id="with gradients"),
        pytest.param(torch.from_numpy(ROWS).bfloat16(), id="bfloat16"),
    ],
)
def test_tensors_are_rows(pair, tensor):
    expected = pair.encode(tensor.detach().float().numpy()).values
    np.testing.assert_array_equal(pair.encode(tensor).values, expected)
    assert pair.detect(tensor).scores.shape == (50,)


def test_only_latents_are_decoded(pair):
    latents = pair.encode(ROWS)
    assert isinstance(latents, isthmus.Latents)
    with pytest.raises(DataError, match="decode takes the Latents that encode returned"):
        pair.decode(latents.values)
    again = isthmus.Latents(latents.values.tolist(), pair.manifest.pair_id)
    np.testing.assert_array_equal(pair.decode(again), pair.decode(latents))
    with pytest.raises(DataError, match=r"latents of shape \(50, 1\) cannot be decoded; pair"):
        pair.decode(isthmus.Latents(latents.values[:, :1], pair.manifest.pair_id))
    with pytest.raises(RegistryError, match="these latents were made by pair other"):
        pair.decode(isthmus.Latents(latents.values, "other"))


def test_a_way_leads_from_a_row_of_a_frame_to_another(pair, library):
    ends = library(FRAME.iloc[[3]]), library(FRAME.iloc[[7]])
    way = pair.interpolate(*ends, steps=4)
    np.testing.assert_allclose(way, pair.interpolate(ROWS[3], ROWS[7], steps=4), atol=1e-5)
    np.testing.assert_allclose(way[[0, -1]], pair.reconstruct(ROWS[[3, 7]]), atol=1e-5)
    with pytest.raises(UsageError, match="plain, which has no prior over latents"):
        pair.sample(3)
