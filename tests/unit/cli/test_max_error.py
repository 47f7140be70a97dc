"""`isthmus compress --max-error` as people type it."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from isthmus.spec import Settings
from tests.challengers import register


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Returns the settings of a registry with the pair `plant/1`, of the columns flow and heat."""
    folder = tmp_path_factory.mktemp("plant")
    settings = Settings.from_environment({}, folder)
    plant(2000).to_csv(folder / "plant.csv", index=False)
    variant = {"name": "fsq", "levels": [8]}
    register("plant", folder / "plant.csv", settings, steps=1, variant=variant)
    return settings


@pytest.fixture
def plant_csv(here, store, monkeypatch) -> pd.DataFrame:
    """Returns what is in new.csv, in a folder whose commands find the pair."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.tracking_uri)
    monkeypatch.setenv("ISTHMUS_HOME", str(store.home))
    rows = plant(600)
    rows.to_csv("new.csv", index=False)
    return rows


def plant(rows: int) -> pd.DataFrame:
    generator = np.random.default_rng(rows)
    flow = np.round(generator.normal(100, 10, rows), 3)
    heat = np.round(20 + flow / 10 + generator.normal(0, 1, rows), 3)
    return pd.DataFrame({"flow": flow, "heat": heat, "label": 0})


def compress(isthmus, max_error: str, *more: str):
    asked = ("--max-error", max_error, *more, "--force")
    return isthmus("compress", "--model", "plant/1", "new.csv", "new.isth", *asked)


def again(isthmus) -> pd.DataFrame:
    done = isthmus("decompress", "new.isth", "again.csv", "--force")
    assert (done.code, done.err.count("Error")) == (0, 0)
    return pd.read_csv("again.csv")


@pytest.mark.parametrize(
    ("asked", "flow", "heat"),
    [("0.05", 0.05, 0.05), ("flow=0.1,heat=5%", 0.1, 0.6), ("heat=0.2", 0, 0.2), ("0", 0, 0)],
)
def test_every_value_comes_back_within_its_error(plant_csv, isthmus, asked, flow, heat):
    done = compress(isthmus, asked)
    assert done.code == 0, done.err
    told = "every value comes back exactly" if asked == "0" else "the largest error is"
    assert told in done.out
    off = (again(isthmus) - plant_csv).abs().max()
    # A millionth for the decimals that a float has not.
    assert off["flow"] <= flow + 1e-6
    assert off["heat"] <= heat + 1e-6
    assert off["label"] == 0
    assert (off["heat"] > heat / 4) == (heat > 0)


def test_json_has_the_largest_error_of_each_column(plant_csv, isthmus):
    found = json.loads(compress(isthmus, "flow=0.1", "--json").out)
    errors = {each["name"]: each["largest_error"] for each in found["columns"]}
    assert 0 < errors["flow"] <= 0.1
    assert (errors["heat"], errors["label"]) == (0, 0)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("flo=0.1", 'no column "flo"; did you mean "flow"'),
        ("-1", '"-1" is no error; give a number such as 0.01'),
        ("flow=-0.1", '"-0.1" is no error'),
        ("nan", '"nan" is no error'),
        ("label=5%", "label is no feature of the pair, so it has no trained range"),
        ("0.1,0.2", "has two errors for all"),
        ("flow=1,flow=2", '"flow=2" names no new column'),
    ],
)
def test_an_error_that_is_none_is_refused_with_one_line(plant_csv, isthmus, here, asked, said):
    done = compress(isthmus, asked)
    assert done.code != 0
    assert said in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not (here / "new.isth").exists()
