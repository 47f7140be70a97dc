"""What new rows mean is held against what a pair was trained on, whenever it is used."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from isthmus import scores
from isthmus.errors import DataError
from isthmus.registry import Pair
from isthmus.registry.card_detector import calibration_in_words
from isthmus.spec import PluginSpec
from isthmus.uses.detect import Detect
from tests.untrained import pair_of, plant_frame
from tests.using import denoise_with, detect_with

RNG = np.random.default_rng(0)


def frame(rows: int = 300) -> pd.DataFrame:
    return plant_frame(RNG, rows)


@pytest.fixture
def numbers(here: Path) -> Pair:
    frame()[["flow", "heat"]].to_csv("train.csv", index=False)
    return pair_of("train.csv", missing="mean")


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


@pytest.mark.parametrize("job", [detect_with, denoise_with], ids=["detect", "denoise"])
def test_values_in_other_units_are_told_with_both_ranges(job, numbers, caplog):
    other = frame()[["flow", "heat"]]
    other["flow"] /= 1000
    other.to_csv("new.csv", index=False)
    job(numbers, "new.csv", "out.csv")
    other["flow"] *= 1e6
    other.to_csv("new.csv", index=False)
    job(numbers, "new.csv", "out.csv")
    assert any('far outside the trained range ("flow" ' in line for line in warnings_of(caplog))
    assert all("trained on" in line for line in warnings_of(caplog))


@pytest.mark.parametrize("job", [detect_with, denoise_with], ids=["detect", "denoise"])
def test_one_column_of_two_in_another_unit_is_told_by_its_name(job, here, caplog):
    usual = frame()[["flow", "heat"]].assign(flow=RNG.uniform(1, 100, size=300))
    usual.to_csv("train.csv", index=False)
    pair = pair_of("train.csv")
    job(pair, "train.csv", "out.csv")
    assert warnings_of(caplog) == []
    usual.assign(flow=usual["flow"] / 1000).to_csv("new.csv", index=False)
    job(pair, "new.csv", "out.csv")
    (line,) = [each for each in warnings_of(caplog) if "has drifted" not in each]
    assert 'the middle 90 % of the values lie beside the trained ones ("flow" 0.00' in line
    assert "heat" not in line


def test_values_that_fill_little_of_the_trained_range_are_told(here, caplog):
    np.save("train.npy", RNG.uniform(0, 255, size=(200, 1, 8, 8)).astype(np.float32))
    np.save("new.npy", RNG.uniform(0, 1, size=(50, 1, 8, 8)).astype(np.float32))
    detect_with(pair_of("train.npy"), "new.npy", "out.csv")
    (line,) = warnings_of(caplog)
    assert "fill little of the trained range" in line
    assert "trained on 0" in line or "trained on" in line


def test_rows_like_the_trained_ones_are_no_cause_for_a_word(numbers, caplog):
    frame()[["flow", "heat"]].to_csv("new.csv", index=False)
    detect_with(numbers, "new.csv", "out.csv")
    assert warnings_of(caplog) == []


def test_noise_that_is_to_be_taken_away_is_no_cause_for_a_word(numbers, caplog):
    noisy = frame()[["flow", "heat"]] + RNG.normal(scale=(30, 6), size=(300, 2))
    noisy.to_csv("new.csv", index=False)
    denoise_with(numbers, "new.csv", "out.csv")
    assert warnings_of(caplog) == []


def test_a_column_without_a_value_is_told_with_its_share_in_training(numbers, caplog):
    other = frame()[["flow", "heat"]]
    other["heat"] = np.nan
    other.to_csv("new.csv", index=False)
    detect_with(numbers, "new.csv", "out.csv")
    (line,) = warnings_of(caplog)
    assert '"heat" has no value at all, and 0 % were missing in training' in line


def test_a_category_that_training_did_not_have_is_an_anomaly_with_a_reason(here, caplog):
    frame().to_csv("train.csv", index=False)
    pair = pair_of("train.csv", categories=["colour"])
    other = frame(40)
    other.loc[7, "colour"] = "blue"
    other.to_csv("new.csv", index=False)
    strict = detect_with(pair, "new.csv", "out.csv")
    found = pd.read_csv("out.csv", keep_default_na=False)
    assert found["reason"][7] == 'colour="blue" was not in training'
    assert (found["reason"] != "").sum() == 1
    assert found["anomaly"][7]
    lenient = detect_with(pair, "new.csv", "out.csv", allow_unseen=True)
    scored = pd.read_csv("out.csv")
    assert scored["reason"][7] == 'colour="blue" was not in training'
    is_above = scored["score"][7] > pair.threshold
    assert scored["anomaly"][7] == is_above
    assert strict.anomalies - lenient.anomalies == int(not is_above)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39])
def test_rows_from_python_with_no_numbers_are_refused_by_row_and_column(here, value):
    frame()[["flow", "heat"]].to_csv("train.csv", index=False)
    pair = pair_of("train.csv")
    rows = frame(5)[["flow", "heat"]].to_numpy(copy=True)
    rows[3, 1] = value
    for use in (pair.detect, pair.denoise, pair.encode):
        with pytest.raises(
            DataError, match=r'rows for plant/1: column "heat" .* in row 3'
        ) as caught:
            use(rows)
        assert "\n" not in str(caught.value)


def scored_by(score: str, pair: Pair) -> Pair:
    """The same autoencoder with another score, fitted and calibrated on rows like its own."""
    fitted = scores.build(PluginSpec(name=score))
    rows = torch.tensor(frame(200)[["flow", "heat"]].to_numpy(np.float32))
    module = pair.module
    detector = scores.Detector(module, [fitted])
    with torch.inference_mode():
        fitted.fit(scores.Views(module, rows[:150]), scores.Views(module, rows[150:]), seed=0)
        detector.calibration.fit(detector.score(rows[150:]))
    return Pair(detector, pair.manifest, pair.reference)


@pytest.mark.parametrize("score", ["own", "consensus", "neighbours", "kernel_denoising"])
@pytest.mark.parametrize("value", [1e25, -1e30, 3e38])
def test_a_number_too_large_for_a_score_is_refused_from_python_with_its_place(
    numbers, score, value
):
    rows = frame(5)[["flow", "heat"]].to_numpy(np.float32, copy=True)
    rows[[2, 4], 1] = value
    said = rf'rows for plant/1: column "heat" has {value:g} in row 2, counted from 0, .* its unit'
    with pytest.raises(DataError, match=said.replace("+", r"\+")):
        scored_by(score, numbers).detect(rows)


def test_a_large_number_that_can_be_scored_is_an_anomaly_from_python(numbers):
    rows = frame(5)[["flow", "heat"]].to_numpy(np.float32, copy=True)
    rows[2, 1] = 1e15
    found = numbers.detect(rows)
    assert found.anomalies[2]
    assert found.p_values[2] == pytest.approx(numbers.detector.calibration.least_rate)


def test_a_score_that_is_no_number_is_an_anomaly_in_a_file(numbers, here):
    rows = frame(5)[["flow", "heat"]]
    rows.loc[2, "heat"] = 3e38
    rows.to_csv("large.csv", index=False)
    detect_with(numbers, "large.csv", "scores.csv")
    found = pd.read_csv("scores.csv")
    assert found["anomaly"].tolist()[2]
    assert found["p_value"][2] == pytest.approx(numbers.detector.calibration.least_rate)


@pytest.mark.parametrize("rows", [100_000, 150_000])
def test_the_error_of_p_values_is_told_where_not_all_calibration_scores_are_kept(numbers, rows):
    numbers.detector.calibration.fit(torch.rand(rows, generator=torch.Generator().manual_seed(0)))
    found = detect_with(numbers, "train.csv", "out.csv")
    manifest = numbers.manifest.model_copy(
        update={
            "metrics": {"threshold": 1.0},
            "detector": numbers.manifest.detector.model_copy(update={"calibration_rows": rows}),
        }
    )
    card = str(calibration_in_words(manifest))
    if rows == 100_000:
        assert found.p_value_error is None
        assert Detect().details(found) == []
        assert "too large" not in card
        return
    assert found.p_value_error == pytest.approx(1 / 150_001)
    said = "alues may be too large by up to 6.7e-06 and are never too small, as only 100,000 of the"
    (line,) = Detect().details(found)
    assert said in line
    assert said in card


def test_large_values_from_python_are_centred_as_those_of_a_file(here):
    values = 1e8 + RNG.normal(scale=1.4, size=(300, 2))
    np.save("train.npy", values)
    pair = pair_of("train.npy")
    pd.DataFrame(values).to_csv("new.csv", index=False)
    detect_with(pair, "train.npy", "out.csv")
    expected = pair.detect(values).scores
    np.testing.assert_allclose(pd.read_csv("out.csv")["score"], expected, rtol=1e-4)
    assert pair.denoise(values).dtype == np.float64
    assert np.abs(pair.denoise(values) - 1e8).max() < 100
