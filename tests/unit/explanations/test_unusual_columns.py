"""`detect --explain` with numbers that overflow, large ones that vary little, and constants."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from isthmus.data import Block
from isthmus.detection.controls import Control
from isthmus.explanations import Contributions, Strangest
from isthmus.registry import fetch_held_out, load
from isthmus.report.cards import Card, cards_of, plain_cards
from isthmus.report.scores_file import open_scores
from isthmus.spec import Settings
from tests.challengers import register
from tests.strange import NO_LABELS
from tests.using import detect_with


def plant_rows(count: int, seed: int) -> pd.DataFrame:
    """Seven features of two dimensions: one is 1e8 and a bit, two are constant."""
    generator = np.random.default_rng(seed)
    a, b = generator.uniform(-1, 1, (2, count))
    columns = {"a": a, "b": b, "sum": a + b, "product": a * b, "large": 1e8 + a}
    return pd.DataFrame({**columns, "three": np.full(count, 3.0), "tenth": np.full(count, 0.1)})


class Plant:
    """A pair that was trained on such rows, with or without a category among them."""

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        name: str,
        categories: tuple[str, ...] = (),
        left_out: tuple[str, ...] = (),
    ) -> None:
        self.categories, self.left_out = categories, left_out
        rows = self.rows(1500, 0)
        rows.to_csv(folder / "train.csv", index=False)
        data = {**NO_LABELS, "categories": list(categories)}
        pair = register(name, folder / "train.csv", settings, data=data)
        self.pair = load(f"{pair.name}/{pair.version}", settings)
        self.held_out = fetch_held_out(self.pair.manifest, settings)

    def rows(self, count: int, seed: int) -> pd.DataFrame:
        rows = plant_rows(count, seed).drop(columns=list(self.left_out))
        for name in self.categories:
            rows[name] = np.where(rows["a"] > 0, "hot", "cold")
        return rows

    def explained(self, rows: pd.DataFrame, output: str = "o.csv", **asked) -> pd.DataFrame:
        rows.to_csv("new.csv", index=False)
        held_out = lambda: self.held_out  # noqa: E731
        detect_with(self.pair, "new.csv", output, explain=True, held_out=held_out, **asked)
        if output.endswith("npz"):
            return pd.DataFrame()
        return pd.read_parquet(output) if output.endswith("parquet") else pd.read_csv(output)


@pytest.fixture(scope="module")
def plants(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Plant]:
    settings = Settings.from_environment({}, tmp_path_factory.mktemp("registry"))
    made = {"numbers": (), "categories": ("mode",)}
    return {
        name: Plant(settings, tmp_path_factory.mktemp(name), name, categories)
        for name, categories in made.items()
    }


@pytest.fixture(scope="module")
def constants(tmp_path_factory: pytest.TempPathFactory) -> Plant:
    """Two features that vary, beside two that do not."""
    settings = Settings.from_environment({}, tmp_path_factory.mktemp("registry"))
    left_out = ("sum", "product", "large")
    return Plant(settings, tmp_path_factory.mktemp("constants"), "constants", left_out=left_out)


def test_a_number_that_overflows_is_what_is_named_first(here, plants):
    rows = plants["numbers"].rows(40, 3)
    changed = list(product(["a", "b", "product", "three"], [1e12, -1e20, 1e30, 3e38]))
    for row, (name, value) in enumerate(changed, start=7):
        rows.loc[row, name] = value
    found = plants["numbers"].explained(rows)
    for row, (name, value) in enumerate(changed, start=7):
        line, said = found.loc[row], f"{name} = {value}"
        assert line["feature_1"] == name, said
        assert line["value_1"] == pytest.approx(value), said
        assert line["share_1"] > 0.9, said
        assert np.isfinite(line.filter(like="share_").astype(float)).all(), said
        assert np.isfinite(line["reconstruction_1"]), said


def test_two_numbers_that_overflow_are_both_named(here, plants):
    rows = plants["numbers"].rows(40, 3)
    rows.loc[7, "b"], rows.loc[7, "sum"] = 1e30, -1e25
    found = plants["numbers"].explained(rows).loc[7]
    assert [found["feature_1"], found["feature_2"]] == ["b", "sum"]


@pytest.mark.parametrize("kind", ["numbers", "categories"])
def test_large_numbers_that_vary_little_have_the_digits_that_tell_them_apart(
    here, plants, kind, caplog
):
    rows = plants[kind].rows(40, 3)
    rows.loc[7, "large"] = 100000004.25
    found = plants[kind].explained(rows).loc[7]
    assert found["feature_1"] == "large"
    assert str(found["value_1"]) == "100000004.25"
    # Between what the others say, 1e8 and a, and what it is.
    made = float(found["reconstruction_1"]) - 1e8
    assert rows.loc[7, "a"] < made < 4.25
    assert made != round(made)
    low, high = (float(end) - 1e8 for end in found["usual_1"].split(".."))
    assert (low, high) == pytest.approx((-1, 1), abs=0.1)
    assert len(found["usual_1"]) < 30
    # And so has the warning that they are outside the trained range.
    assert any("to 100000004.25, trained on 99999999." in line for line in caplog.messages)


@pytest.mark.parametrize("kind", ["numbers", "categories"])
def test_a_page_shows_large_numbers_that_vary_little_apart(here, plants, kind):
    rows = plants[kind].rows(40, 3)
    rows.loc[7, "large"] = 100000004.25
    plants[kind].explained(rows)
    scores = next(block for block in open_scores(Path("o.csv")).blocks())
    line = plain_cards(scores)[7].features[0]
    assert (line.name, line.value) == ("large", "100000004.25")
    low, high = (float(end) - 1e8 for end in line.usual.split(" to "))
    assert (low, high) == pytest.approx((-1, 1), abs=0.1)
    assert 100000000 < float(line.reconstruction) + 2 < 100000004


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize("kind", ["numbers", "categories"])
def test_a_constant_at_its_usual_value_is_never_named(here, plants, kind, ending):
    rows = plants[kind].rows(40, 3)
    rows.loc[range(0, 40, 2), "product"] += 5
    found = plants[kind].explained(rows, f"o.{ending}")
    named = found[["feature_1", "feature_2", "feature_3"]]
    assert not named.isin(["three", "tenth"]).any(axis=None)
    assert named.notna().all(axis=None)


def test_another_value_than_the_constant_is_named_with_the_digits_that_it_takes(here, plants):
    rows = plants["categories"].rows(40, 3)
    rows.loc[7, "three"], rows.loc[8, "tenth"] = 3.5, 0.7
    rows.loc[9, "three"] = 30000.25
    found = plants["categories"].explained(rows)
    assert list(found.loc[[7, 8, 9], "feature_1"]) == ["three", "tenth", "three"]
    assert list(found.loc[[7, 8, 9], "usual_1"]) == ["3..3", "0.1..0.1", "3..3"]
    assert found.loc[9, "value_1"] == "30000.2"


@pytest.mark.parametrize("control", ["rate", "fdr"])
@pytest.mark.parametrize("ending", ["csv", "parquet", "npz"])
def test_where_fewer_than_three_may_be_responsible_the_rest_is_empty(
    here, constants, ending, control
):
    rows = constants.rows(40, 3)
    rows.loc[range(0, 40, 2), "b"] = 4
    found = constants.explained(rows, f"o.{ending}", control=Control(control))
    if ending == "npz":
        with np.load("o.npz") as found:
            assert set(found["feature_3"]) == {""}
            assert np.isnan(found["share_3"]).all()
        return
    found = found.replace("", None)
    assert set(found["feature_1"]) | set(found["feature_2"]) == {"a", "b"}
    for what in ("feature", "share", "value", "reconstruction", "usual"):
        assert found[f"{what}_2"].notna().all()
        assert found[f"{what}_3"].isna().all()
    if ending == "csv":
        assert Path("o.csv").read_text().splitlines()[1].endswith(",,,,,")
        scores = next(block for block in open_scores(Path("o.csv")).blocks())
        assert [len(card.features) for card in plain_cards(scores)] == [2] * 40


def test_a_page_of_the_rows_themselves_names_no_constant_either(here, constants):
    strange = Strangest(5)
    values = constants.held_out.rows[:5]
    strange.look(Block(values, {"row": np.arange(5)}), np.arange(5, dtype="f"))
    cards = [Card(name, "1", "1", is_anomaly=False) for name in strange.rows.names()]
    made = cards_of(cards, strange.rows, Contributions(constants.pair, constants.held_out))
    assert [{line.name for line in card.features} for card in made] == [{"a", "b"}] * 5
