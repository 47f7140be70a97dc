"""`detect --explain` names what makes a row strange: the feature, pixel, step or frequency."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from isthmus.data import rows
from isthmus.errors import DataError
from isthmus.explanations import Contributions, Strangest
from tests.strange import COLUMNS, ODD_HZ, ODD_ROWS, ODD_TABLE_ROWS, RATE_HZ, table_rows
from tests.using import detect, detect_with


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "_NUMBERS_IN_A_BLOCK", 600)


def explained(found, output: str) -> pd.DataFrame:
    detect(found.model, found.source, output, found.settings, explain=True)
    return pd.read_parquet(output) if output.endswith("parquet") else pd.read_csv(output)


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
@pytest.mark.usefixtures("small_blocks")
def test_the_changed_feature_of_a_row_is_named_first(here, strange, ending):
    found = explained(strange("tabular"), f"o{ending}")
    new = pd.read_csv(strange("tabular").source)
    rows = list(ODD_TABLE_ROWS)
    odd = found.loc[rows]
    assert odd["anomaly"].mean() > 0.85
    names = odd[["feature_1", "feature_2", "feature_3"]]
    assert (odd["feature_1"] == "product").mean() > 0.9
    assert (names == "product").any(axis=1).mean() > 0.95
    first = odd[odd["feature_1"] == "product"]
    expected = new.loc[first.index, "product"]
    np.testing.assert_allclose(first["value_1"].astype(float), expected, rtol=1e-4)
    # The reconstruction is where the other features say that the product should be.
    made = first["reconstruction_1"].astype(float)
    assert (np.abs(made - (expected - 5)) < np.abs(made - expected)).mean() > 0.9
    low, high = map(float, first["usual_1"].iloc[0].split(".."))
    assert (low, high) == pytest.approx((-3.6, 3.6), abs=0.6)
    assert first["share_1"].median() > 0.5
    assert (found["share_1"] >= found["share_2"]).all()


@pytest.mark.parametrize("feature", ["pressure", "product", "squared", "sine"])
def test_a_feature_that_pulls_the_others_along_is_still_the_one_that_is_named(
    here, strange, feature
):
    found = strange("tabular")
    new = table_rows(200, 4)
    new[feature] += 5
    new.to_csv("pulled.csv", index=False)
    detect_with(found.pair, "pulled.csv", "o.csv", explain=True, held_out=lambda: found.held_out)
    named = pd.read_csv("o.csv")
    assert (named["feature_1"] == feature).mean() > 0.9
    assert named["share_1"].median() > 0.6


def test_a_category_is_one_feature_with_texts_for_values(here, strange):
    pair, held_out = strange("tabular").pair, strange("tabular").held_out
    new = table_rows(60, 3)
    # The mode does not go with the pressure, by which the training rows tell it.
    new["mode"] = np.where(new["pressure"] > 0, "cold", "hot")
    new.to_csv("modes.csv", index=False)
    detect_with(pair, "modes.csv", "o.csv", explain=True, held_out=lambda: held_out)
    found = pd.read_csv("o.csv")
    far = found[new["pressure"].abs() > 1.3]
    # Either of the two may be the one that is wrong.
    assert (far["feature_1"] == "mode").mean() > 0.5
    assert far["feature_1"].isin(["mode", "pressure"]).mean() > 0.9
    named = far[far["feature_1"] == "mode"]
    assert set(named["value_1"]) == {"hot", "cold"}
    assert set(named["usual_1"]) == {"mild|cold|hot"} or set(named["usual_1"]) == {"mild|hot|cold"}


def test_a_feature_that_is_never_reconstructed_well_explains_nothing(strange):
    found = strange("tabular")
    module_scale = Contributions(found.pair, None)
    usual = Contributions(found.pair, found.held_out)
    rows = found.held_out.rows
    noise = COLUMNS.index("noise")
    share = [
        (each.of(rows).contributions[:, noise] / each.of(rows).contributions.sum(axis=1)).mean()
        for each in (module_scale, usual)
    ]
    assert share[0] > 0.3
    assert share[1] < share[0] / 2


def test_without_held_out_rows_the_usual_range_is_that_of_the_training_rows(here, strange):
    pair = strange("tabular").pair
    schema = pair.manifest.rows_taken.model_copy(
        update={"lowest": (-2.0,) * 9, "highest": (2.5,) * 9}
    )
    pair.manifest = pair.manifest.model_copy(update={"row_schema": schema})
    detect_with(pair, strange("tabular").source, "o.csv", explain=True)
    found = pd.read_csv("o.csv")
    assert set(found.loc[found["feature_1"] == "product", "usual_1"]) == {"-2..2.5"}


@pytest.mark.usefixtures("small_blocks")
def test_the_bright_pixel_of_an_image_is_its_peak_and_it_has_a_picture(here, strange):
    found = explained(strange("images"), "o.csv")
    odd = found.loc[list(ODD_ROWS)]
    assert odd["anomaly"].all()
    assert (np.abs(odd["peak_row"] - 2) <= 1).all()
    assert (np.abs(odd["peak_column"] - 9) <= 1).all()
    pictures = sorted(Path("o.csv.heatmaps").glob("*.png"))
    assert len(pictures) == 20
    assert {name.name.split("-")[2] for name in pictures[:2]} == {f"{row}.png" for row in ODD_ROWS}
    with Image.open(pictures[0]) as picture:
        assert picture.width > picture.height > 100
    said = json.loads(Path("o.csv.heatmaps/pair.json").read_text())
    assert said["pair_id"] == strange("images").pair.manifest.pair_id


def test_the_channel_and_the_step_of_a_series_are_named(here, strange):
    found = explained(strange("series"), "o.csv")
    hit = found[(found["first_step"] <= 1000) & (found["last_step"] >= 1011)]
    assert len(hit)
    assert set(hit["feature_1"]) == {"load"}
    assert hit["step_1"].between(1000, 1011).all()
    assert (hit["value_1"] - hit["reconstruction_1"] > 1).all()
    assert len(list(Path("o.csv.heatmaps").glob("*.png"))) == 20


def test_the_time_and_the_frequency_of_a_strange_sound_are_named(here, strange):
    found = explained(strange("audio"), "o.csv")
    worst = found.sort_values("score").iloc[-1]
    assert worst["file"] == "1.wav"
    assert 1.5 <= worst["peak_s"] <= 1.5 + 300 / RATE_HZ
    assert worst["peak_hz"] == pytest.approx(ODD_HZ, rel=0.05)
    assert list(Path("o.csv.heatmaps").glob("01-*.png"))


@pytest.mark.usefixtures("small_blocks")
def test_ctrl_c_leaves_neither_scores_nor_pictures(here, strange):
    def interrupt(done: int, total: int | None) -> None:
        if done >= 100:
            raise KeyboardInterrupt

    found = strange("images")
    with pytest.raises(KeyboardInterrupt):
        detect_with(found.pair, found.source, "o.csv", interrupt, explain=True)
    assert list(Path.cwd().iterdir()) == []


def test_a_folder_that_holds_something_else_is_refused_before_the_work(here, strange):
    Path("o.csv.heatmaps").mkdir()
    Path("o.csv.heatmaps/holiday.jpg").write_text("")
    found = strange("images")
    with pytest.raises(DataError, match=r"o\.csv\.heatmaps: holds other files"):
        detect_with(found.pair, found.source, "o.csv", explain=True)
    assert not Path("o.csv").exists()


def test_the_strangest_rows_of_many_blocks_are_those_of_all_rows():
    from isthmus.data import Block

    generator = np.random.default_rng(0)
    values, scores = generator.normal(size=(1000, 3)).astype("f"), generator.normal(size=1000)
    scores[617] = np.nan  # no normal row's
    keeper = Strangest(7)
    for first in range(0, 1000, 90):
        part = slice(first, first + 90)
        block = Block(values[part], {"row": np.arange(1000)[part]})
        keeper.look(block, scores[part].astype("f"))
    expected = [617, *np.argsort(-np.nan_to_num(scores, nan=-9))[:6]]
    assert list(keeper.rows.positions) == expected
    np.testing.assert_array_equal(keeper.rows.block.values, values[expected])
    assert keeper.rows.names()[0] == "row 617"
