"""Detect on series: every step has a score, near anomalous steps are a range, times are kept."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import false_discovery_control

import isthmus
from isthmus.core.calibration import Calibration
from isthmus.data import open_input, rows
from isthmus.detection.controls import Control, deciding
from isthmus.detection.points import Per, calibration_of_points, score_points
from isthmus.errors import DataError, UsageError
from isthmus.registry import Pair
from isthmus.registry.card_detector import calibration_in_words
from isthmus.spec import Settings
from tests.using import detect_with

PERIOD, WINDOW = 25, 32
WORTH = r"worth about \d+ independent ones?\)"
BUMP = slice(600, 620)
TRAINING = {"epochs": 15, "learning_rate": 3e-3}


def machine(
    steps: int = 1000, name: str = "a", *, seed: int = 0, bump: slice | None = None
) -> pd.DataFrame:
    """A table of two related waves, one minute from step to step; the bump is in one of them."""
    rng, phase = np.random.default_rng(seed), np.arange(steps) * 2 * np.pi / PERIOD
    load, heat = np.sin(phase), np.cos(phase)
    if bump is not None:
        heat[bump] += 2
    when = pd.date_range("2024-01-01", periods=steps, freq="1min").astype(str)
    noise = 0.05 * rng.normal(size=(2, steps))
    return pd.DataFrame(
        {"when": when, "machine": name, "load": load + noise[0], "heat": heat + noise[1]}
    )


def trained(folder: Path, name: str, data: dict[str, Any], table: pd.DataFrame) -> Pair:
    table.to_csv(folder / "train.csv", index=False)
    settings = Settings.from_environment({}, folder)
    content = {"path": str(folder / "train.csv"), **data}
    result = isthmus.train(
        {"name": name, "data": content, "latent_dim": 4, "training": TRAINING}, settings=settings
    )
    return isthmus.load(str(result.pair), settings=settings)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """A pair of two channels, trained on windows of two machines."""
    table = pd.concat([machine(7500, "a"), machine(6500, "b", seed=1)])
    # One window of steps counts as one independent step: half of them tell 1 %.
    data = {"time": "when", "series_id": "machine", "window": WINDOW, "calibration_fraction": 0.5}
    return trained(tmp_path_factory.mktemp("series"), "machines", data, table)


def detected(pair: Pair, table: pd.DataFrame, **options: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The scores and the ranges of a table."""
    table.to_csv("new.csv", index=False)
    result = detect_with(pair, "new.csv", "scores.csv", **options)
    scores = pd.read_csv("scores.csv", keep_default_na=False, na_values=[""])
    assert result.points is not None
    assert result.rows == len(scores) == len(table)
    assert result.anomalies == (scores["anomaly"] == True).sum()  # noqa: E712 (may be empty)
    return scores, pd.read_csv(result.points.ranges_output)


@pytest.mark.usefixtures("here")
def test_every_step_has_a_line_and_the_highest_score_lies_in_the_bump(pair: Pair) -> None:
    table = machine(seed=2, bump=BUMP)
    scores, ranges = detected(pair, table)
    assert scores["step"].tolist() == list(range(1000))
    assert scores["time"].tolist() == table["when"].tolist()
    assert set(scores["series_id"]) == {"a"}
    assert BUMP.start <= scores["score"].idxmax() < BUMP.stop
    assert not scores["anomaly"][: BUMP.start - WINDOW].mean() > 0.05
    (_, highest), *_ = ranges.sort_values("peak_score", ascending=False).iterrows()
    assert abs(highest["first_step"] - BUMP.start) <= WINDOW
    assert abs(highest["last_step"] - BUMP.stop) <= WINDOW
    assert BUMP.start <= highest["peak_step"] < BUMP.stop
    assert highest["first_time"] == table["when"][highest["first_step"]]
    assert highest["last_time"] == table["when"][highest["last_step"]]
    assert highest["peak_time"] == table["when"][highest["peak_step"]]
    assert highest["peak_score"] == pytest.approx(scores["score"].max())
    assert highest["p_value"] < 0.02
    assert highest["steps"] == highest["last_step"] - highest["first_step"] + 1


@pytest.mark.usefixtures("here")
def test_steps_of_two_series_keep_their_places_in_the_input(pair: Pair) -> None:
    calm, strange = machine(400, "calm", seed=3), machine(400, "odd", seed=4, bump=slice(200, 215))
    mixed = pd.concat([calm, strange]).sort_values("when", kind="stable").reset_index(drop=True)
    scores, ranges = detected(pair, mixed)
    assert scores["series_id"].tolist() == mixed["machine"].tolist()
    assert scores["time"].tolist() == mixed["when"].tolist()
    highest = scores.loc[scores["score"].idxmax()]
    assert highest["series_id"] == "odd"
    assert mixed["when"][400] <= highest["time"] < mixed["when"][430]
    alone, _ = detected(pair, strange)
    np.testing.assert_allclose(
        scores["score"][scores["series_id"] == "odd"], alone["score"], rtol=1e-4
    )
    assert "odd" in set(ranges["series_id"])


@pytest.mark.usefixtures("here")
def test_steps_between_gaps_that_no_window_fits_have_no_score_and_say_why(pair: Pair) -> None:
    # 400 steps, a gap, 20 steps, a gap, the rest: the middle is shorter than a window.
    table = machine(800, seed=5).drop(index=[*range(400, 410), *range(430, 440)])
    scores, _ = detected(pair, table.reset_index(drop=True))
    is_short = scores["reason"].notna()
    assert np.flatnonzero(is_short).tolist() == list(range(400, 420))
    assert set(scores["reason"][is_short]) == {"20 steps in a row, fewer than a window of 32"}
    assert scores[["score", "p_value", "anomaly"]][is_short].isna().all(axis=None)
    assert scores[["score", "p_value", "anomaly"]][~is_short].notna().all(axis=None)
    # No window crosses a gap: what lies behind it changes nothing before it.
    before, _ = detected(pair, table.iloc[:400])
    np.testing.assert_allclose(scores["score"][:400], before["score"], rtol=1e-4)


@pytest.mark.usefixtures("here")
def test_no_range_crosses_a_gap_in_time(pair: Pair) -> None:
    table = machine(800, seed=6, bump=slice(390, 430)).drop(index=range(405, 415))
    _, ranges = detected(pair, table.reset_index(drop=True))
    at_gap = ranges[(ranges["last_step"] > 380) & (ranges["first_step"] < 425)]
    assert at_gap["last_step"].min() == 404
    assert at_gap["first_step"].max() == 405


@pytest.mark.usefixtures("here")
def test_steps_that_are_out_of_order_are_written_as_they_came(pair: Pair) -> None:
    table = machine(seed=2, bump=BUMP)
    shuffled = table.sample(frac=1, random_state=0)
    scores, _ = detected(pair, shuffled.reset_index(drop=True))
    in_order, _ = detected(pair, table)
    assert scores["time"].tolist() == shuffled["when"].tolist()
    np.testing.assert_allclose(
        scores.set_index("time")["score"][table["when"]], in_order["score"], rtol=1e-5
    )


@pytest.mark.parametrize("numbers_in_a_block", [2 * WINDOW * 7, 2 * WINDOW * 100])
def test_scores_of_steps_do_not_depend_on_the_size_of_the_blocks(
    pair: Pair, here: Path, monkeypatch: pytest.MonkeyPatch, numbers_in_a_block: int
) -> None:
    table = machine(500, seed=2, bump=slice(300, 310))
    whole, ranges = detected(pair, table)
    monkeypatch.setattr(rows, "_NUMBERS_IN_A_BLOCK", numbers_in_a_block)
    in_blocks, ranges_in_blocks = detected(pair, table)
    np.testing.assert_allclose(in_blocks["score"], whole["score"], rtol=1e-4)
    assert in_blocks["anomaly"].tolist() == whole["anomaly"].tolist()
    assert len(ranges_in_blocks) == len(ranges)


def test_memory_grows_by_numbers_of_steps_and_not_by_windows(
    pair: Pair, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "_NUMBERS_IN_A_BLOCK", 2**16)
    steps = 40_000
    machine(steps).to_csv("long.csv", index=False)
    data = pair.manifest.data.model_copy(update={"time": None, "series_id": None, "stride": 1})
    series = open_input(data, "long.csv", pair.manifest.rows_taken)
    calibration = calibration_of_points(pair)
    tracemalloc.start()
    try:
        with deciding(pair, calibration, Control()) as decisions:
            score_points(pair, series, decisions)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # All windows at once would take 2 x 32 numbers of four bytes for each step: 256 bytes.
    assert peak < 140 * steps


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """A pair of a short series, whose calibration steps are worth three windows."""
    table = machine(1000).drop(columns="machine")
    data = {"time": "when", "window": WINDOW, "missing": "drop"}
    return trained(tmp_path_factory.mktemp("drop"), "drops", data, table)


@pytest.mark.usefixtures("here")
def test_missing_values_leave_steps_without_a_score_where_rows_with_them_are_dropped(
    short: Pair,
) -> None:
    table = machine(1000).drop(columns="machine")
    table.loc[300:303, "load"] = np.nan
    scores, _ = detected(short, table)
    assert np.flatnonzero(scores["score"].isna()).tolist() == [300, 301, 302, 303]
    (reason,) = set(scores["reason"].dropna())
    assert reason == "no window of 32 steps without missing values"


@pytest.mark.usefixtures("here")
def test_normal_steps_are_called_anomalous_as_often_as_was_promised(pair: Pair) -> None:
    shares = []
    for seed in range(10, 20):
        scores, _ = detected(pair, machine(1000, seed=seed))
        shares.append((scores["anomaly"] == True).mean())  # noqa: E712 (may be empty)
    # 1 %; neighbouring steps share windows, so that few of the steps count for themselves.
    assert np.mean(shares) < 0.05


@pytest.mark.parametrize("ending", [".parquet", ".npz"])
def test_scores_of_steps_are_written_in_every_form(pair: Pair, here: Path, ending: str) -> None:
    table = machine(600, seed=5).drop(index=[*range(400, 410), *range(430, 440)])
    table.to_csv("new.csv", index=False)
    result = detect_with(pair, "new.csv", f"scores{ending}")
    found = pd.read_parquet("scores.parquet") if ending == ".parquet" else np.load("scores.npz")
    assert np.flatnonzero(np.isnan(np.asarray(found["score"]))).tolist() == list(range(400, 420))
    assert result.points is not None
    assert result.points.ranges_output == Path(f"scores{ending}.ranges.csv")
    assert result.points.unscored == 20


def test_a_short_series_promises_no_rate_that_its_few_windows_cannot_tell(
    short: Pair, here: Path
) -> None:
    of_points = short.detector.point_calibration
    assert of_points is not None
    assert of_points.scored is not None
    steps, worth = int(of_points.scored), of_points.rows
    assert 1 <= worth <= steps // WINDOW
    table = machine(400, seed=3).drop(columns="machine")
    scores, _ = detected(short, table)
    p_values = scores["p_value"]
    assert p_values.min() >= 1 / (worth + 1) - 1e-6
    for per in ("point", "window"):
        with pytest.raises(UsageError, match=rf"0\.01 needs at least 99 independent .* \({WORTH}"):
            detect_with(short, "new.csv", "scores.csv", control=Control(rate=0.01), per=per)
    manifest = short.manifest
    said = f"calibrated on {steps} steps, worth about {worth} independent ones"
    assert said in str(calibration_in_words(manifest))
    headline = Control().rule_of(short, of_points)
    assert f"{steps} calibration steps (worth about {worth} independent" in headline
    assert f"a false-alarm rate of {1 / (worth + 1):.2g}" in headline


@pytest.mark.usefixtures("here")
def test_windows_are_scored_where_that_is_asked_for(pair: Pair) -> None:
    machine(500).to_csv("new.csv", index=False)
    result = detect_with(pair, "new.csv", "scores.csv", per="window")
    scores = pd.read_csv("scores.csv")
    assert result.points is None
    assert scores["first_step"].tolist()[:3] == [0, 16, 32]
    assert list(scores.columns)[:2] == ["first_step", "last_step"]
    assert not Path("scores.csv.ranges.csv").exists()


@pytest.mark.usefixtures("here")
def test_a_pair_that_is_not_calibrated_for_steps_scores_windows_and_says_so(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    old = Pair(pair.detector, pair.manifest, "old/1")
    calibration, pair.detector.point_calibration = pair.detector.point_calibration, None
    try:
        machine(500).to_csv("new.csv", index=False)
        assert detect_with(old, "new.csv", "scores.csv").points is None
        assert "old/1 was trained before single steps had scores" in caplog.text
        with pytest.raises(UsageError, match="use --per window, or train it again"):
            detect_with(old, "new.csv", "scores.csv", per="point")
    finally:
        pair.detector.point_calibration = calibration


@pytest.mark.usefixtures("here")
def test_the_rate_of_false_alarms_and_of_false_discoveries_is_kept_over_steps(pair: Pair) -> None:
    table = machine(seed=2, bump=BUMP)
    often, _ = detected(pair, table, control=Control(rate=0.2))
    seldom, _ = detected(pair, table, control=Control(rate=0.02))
    assert (often["anomaly"] == (often["p_value"] <= 0.2)).all()
    assert (seldom["anomaly"] == (seldom["p_value"] <= 0.02)).all()
    discovered, ranges = detected(pair, table, control=Control("fdr", level=0.2))
    expected = false_discovery_control(discovered["p_value"]) <= 0.2
    assert discovered["anomaly"].tolist() == expected.tolist()
    assert expected[BUMP].all()
    highest = ranges.loc[ranges["peak_score"].idxmax()]
    assert highest["first_step"] <= BUMP.start < BUMP.stop <= highest["last_step"] + 1


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("first", "then", "said"),
    [
        (
            "window",
            "point",
            r"compares rows with \d+ calibration rows, .* steps .*; use --per window",
        ),
        (
            "point",
            "window",
            r"compares steps with \d+ calibration steps, .* leave out --per window",
        ),
    ],
)
def test_a_stream_of_steps_does_not_go_on_with_windows_nor_the_other_way(
    pair: Pair, first: Per, then: Per, said: str
) -> None:
    machine(200, seed=2).to_csv("new.csv", index=False)
    state = Path("stream.json")
    control = Control("online", level=0.5, state=state)
    for _ in range(2):
        detect_with(pair, "new.csv", "scores.csv", control=control, per=first)
    before = state.read_text()
    with pytest.raises(DataError, match=said) as caught:
        detect_with(pair, "new.csv", "others.csv", control=control, per=then)
    assert "\n" not in str(caught.value)
    assert state.read_text() == before
    assert not Path("others.csv").exists()


@pytest.mark.usefixtures("here")
def test_steps_are_calibrated_on_steps_and_the_calibration_is_stored(pair: Pair) -> None:
    of_points = pair.detector.point_calibration
    assert isinstance(of_points, Calibration)
    # A mean over windows varies less than the score of a window.
    assert float(of_points.threshold) <= float(pair.detector.calibration.threshold)
    low, high = of_points.p_values(torch.tensor([-1e6, 1e6])).tolist()
    assert low == 1
    assert high < 0.01


@pytest.mark.usefixtures("here")
def test_a_series_shorter_than_a_window_is_refused_in_one_line(pair: Pair) -> None:
    machine(20).to_csv("new.csv", index=False)
    with pytest.raises(DataError, match=r"20 steps, and the model takes windows of 32") as refused:
        detect_with(pair, "new.csv", "scores.csv")
    assert "\n" not in str(refused.value)
    assert not list(Path().glob("scores*"))


@pytest.mark.usefixtures("here")
def test_ctrl_c_leaves_neither_scores_nor_ranges(pair: Pair) -> None:
    def interrupt(done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    machine(500).to_csv("new.csv", index=False)
    with pytest.raises(KeyboardInterrupt):
        detect_with(pair, "new.csv", "scores.csv", interrupt)
    assert [path.name for path in Path().iterdir()] == ["new.csv"]


def test_steps_are_asked_for_of_series_only(pair: Pair, here: Path) -> None:
    plan = pair.manifest.plan.model_copy(update={"kind": "tabular"})
    other = Pair(pair.detector, pair.manifest.model_copy(update={"plan": plan}), "table/1")
    np.save("new.npy", np.zeros((5, 2)))
    with pytest.raises(UsageError, match="--per is for series, and table/1 takes tabular"):
        detect_with(other, "new.npy", "scores.csv", per="point")
