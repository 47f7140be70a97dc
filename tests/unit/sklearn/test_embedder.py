"""Registered pairs as transformers in other people's pipelines."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import isthmus
from isthmus import aliases
from isthmus.errors import DataError, ModelNotFound, RegistryError
from isthmus.sklearn import Embedder
from isthmus.spec import Settings
from tests.unit.sklearn.any_width import OfAnyWidth, passes_own_checks

ROWS = np.random.default_rng(0).standard_normal((40, 6))
FRAME = pd.DataFrame(ROWS, columns=list("abcdef"))


def test_it_gives_the_latents_of_the_pair(register):
    model = register("same")
    expected = isthmus.load(model).encode(ROWS).values
    np.testing.assert_array_equal(Embedder(model).fit_transform(ROWS), expected)
    np.testing.assert_array_equal(Embedder(model).transform(ROWS), expected)


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(FRAME[list("fbdace")].assign(other="text"), id="pandas"),
        pytest.param(pl.DataFrame(FRAME[list("fbdace")].assign(other="text")), id="polars"),
        pytest.param(pa.table(FRAME[list("fbdace")].assign(other="text")), id="arrow"),
    ],
)
def test_columns_of_a_frame_are_found_by_name_whatever_their_order(register, frame):
    model = register("named")
    found = Embedder(model).fit(frame)
    np.testing.assert_allclose(
        found.transform(frame), isthmus.load(model).encode(ROWS).values, atol=1e-6
    )
    assert list(found.feature_names_in_) == list("abcdef")


def test_a_frame_without_a_column_is_refused_with_the_nearest_name(register):
    model = register("lacking")
    told = r'frame: no column "b", which the model was trained on; .*Valid: BB, a'
    with pytest.raises(DataError, match=told):
        Embedder(model).fit(FRAME.rename(columns={"b": "BB"}))
    with pytest.raises(
        DataError, match=r'frame: column "c" is not numeric \(for example "red", in row 0'
    ):
        Embedder(model).fit(FRAME.assign(c="red"))


def test_categories_of_a_frame_are_told_as_in_a_file(register, tmp_path):
    rows = pd.DataFrame({"a": [0.5, 1.5, 2.5], "b": ["red", "blue", "red"]})
    model = register("coloured", 3, trained_on=("a", "b"), categories={"b": ("blue", "red")})
    rows.to_csv(tmp_path / "rows.csv", index=False)
    as_numbers = np.array([[0.5, 0, 1], [1.5, 1, 0], [2.5, 0, 1]])
    np.testing.assert_allclose(
        Embedder(model).fit_transform(rows), isthmus.load(model).encode(as_numbers).values
    )


def test_latents_go_into_a_pipeline_and_out_as_named_columns(register):
    labels = (ROWS[:, 0] > 0).astype(int)
    model = make_pipeline(Embedder(register("piped")), StandardScaler(), LogisticRegression())
    assert model.fit(ROWS, labels).predict(ROWS).shape == (40,)
    found = Embedder("piped/1").set_output(transform="pandas").fit_transform(FRAME)
    assert list(found.columns) == ["z0", "z1"]
    assert clone(model).get_params()["embedder__model"] == "piped/1"


def test_a_fitted_one_keeps_to_its_version_when_another_becomes_champion(register):
    register("moved", seed=0)
    aliases.promote("moved", 1, Settings.from_environment())
    fitted = Embedder("moved@champion").fit(ROWS)
    register("moved", seed=1)
    aliases.promote("moved", 2, Settings.from_environment())
    assert fitted.model_ == "moved/1"
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.transform(ROWS), fitted.transform(ROWS))
    assert not np.array_equal(clone(fitted).fit_transform(ROWS), fitted.transform(ROWS))


def test_a_pickle_holds_a_name_and_no_weights(register):
    fitted = Embedder(register("light")).fit(ROWS)
    content = pickle.dumps(fitted)
    assert len(content) < 1500
    assert b"torch" not in content


def test_a_pickle_is_refused_where_the_name_is_another_pair(register, tmp_path, monkeypatch):
    content = pickle.dumps(Embedder(register("twin", seed=0)).fit(ROWS))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelNotFound):
        pickle.loads(content).transform(ROWS)
    from isthmus.registry import register_pair
    from tests.untrained import untrained_pair

    settings = Settings.from_environment()
    register_pair(untrained_pair("twin", settings, seed=3), settings)
    with pytest.raises(RegistryError, match="was fitted with pair"):
        pickle.loads(content).transform(ROWS)


def test_rows_of_another_width_are_refused_as_scikit_learn_does(register):
    fitted = Embedder(register("wide")).fit(ROWS)
    with pytest.raises(ValueError, match="X has 5 features, but Embedder is expecting 6"):
        fitted.transform(ROWS[:, :5])
    with pytest.raises(DataError, match=r"rows of shape \(5,\) do not fit wide/1"):
        Embedder("wide/1").fit(ROWS[:, :5])


class EmbedderOfAnyWidth(OfAnyWidth, Embedder):
    """Takes rows of the widths of scikit-learn's checks."""


@pytest.mark.slow
def test_it_passes_all_of_scikit_learns_own_checks_on_rows_that_its_pair_takes(register):
    passes_own_checks(EmbedderOfAnyWidth("width"), register)
