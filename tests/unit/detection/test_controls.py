"""A detection keeps the rate of false alarms, or of false discoveries, that is asked for."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from filelock import FileLock
from scipy.stats import false_discovery_control

from isthmus import variants
from isthmus.data import UseOptions, moments_of, open_rows, read_opened, read_provenance, remembered
from isthmus.detection.controls import Control, control_of
from isthmus.detection.streams import open_stream
from isthmus.errors import DataError, UsageError
from isthmus.jobs.specs import check_job, plan_for
from isthmus.registry import Pair, PairManifest
from isthmus.scores import detector_of
from tests.using import detect_with

RNG = np.random.default_rng(0)
CALIBRATED = 999


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    normal = RNG.standard_normal((CALIBRATED, 4))
    pd.DataFrame(normal, columns=list("abcd")).to_csv("train.csv", index=False)
    mixed = RNG.standard_normal((2000, 4))
    mixed[::10] += 40
    pd.DataFrame(mixed, columns=list("abcd")).to_csv("mixed.csv", index=False)
    return tmp_path


def pair_of(
    pair_id: str = "0123456789abcdef", calibrated: int = CALIBRATED, **data: object
) -> Pair:
    """A pair of drawn weights that is calibrated on the rows of train.csv."""
    spec = check_job({"name": "plant", "data": {"path": "train.csv", **data}, "latent_dim": 2})
    source, settled = open_rows(spec.data)
    rows = read_opened(source, settled).values
    torch.manual_seed(0)
    detector = detector_of(variants.build(plan_for(spec, settled, rows.shape[1:])).eval())
    with torch.inference_mode():
        detector.calibration.fit(detector.score(torch.from_numpy(rows[:calibrated])))
    halves = {"encoder": "m-0", "decoder": "m-1"}
    manifest = PairManifest.model_validate(
        {
            **{"pair_id": pair_id, "name": "plant", "plan": detector.module.plan},
            **{"data": settled, "spec": {}, "fingerprint": "", "sha256": halves, "models": halves},
            **{"run_id": "", "metrics": {}, "isthmus_version": "", "libraries": {}, "created": ""},
            "row_schema": remembered(source.schema, moments_of(rows)),
        }
    )
    return Pair(detector, manifest, "plant/3")


@pytest.fixture
def pair(here: Path) -> Pair:
    return pair_of()


def detected(pair: Pair, control: Control, source: str = "mixed.csv") -> pd.DataFrame:
    result = detect_with(pair, source, "scores.csv", control=control)
    found = pd.read_csv("scores.csv")
    assert result.anomalies == found["anomaly"].sum()
    return found


def online(level: float = 0.1, file: str = "stream.json") -> Control:
    return Control("online", level=level, state=Path(file))


def test_a_false_alarm_rate_flags_the_rows_whose_p_value_is_at_most_that(pair):
    for rate in (0.5, 0.1, 0.001):
        found = detected(pair, Control(rate=rate))
        assert (found["anomaly"] == (found["p_value"] <= rate + 1e-7)).all()
        said = read_provenance(Path("scores.csv"))
        assert said is not None
        assert said.extra["false_alarm_rate"] == rate
        assert said.extra["threshold"] == pair.detector.calibration.threshold_at(rate)


def test_by_default_the_rate_is_the_pairs_own(pair):
    found = detected(pair, Control())
    assert (found["anomaly"] == (found["p_value"] <= 0.01 + 1e-7)).all()


def test_a_pair_with_few_calibration_rows_says_that_it_flags_more_than_one_in_a_hundred(here):
    result = detect_with(pair_of(calibrated=24), "mixed.csv", "scores.csv")
    said = ", a false-alarm rate of 0.04, as 24 calibration rows tell no smaller one"
    assert result.rule.endswith(said)
    assert "rate" not in detect_with(pair_of(), "mixed.csv", "scores.csv").rule


def test_a_rate_that_the_pair_cannot_resolve_is_refused_and_nothing_is_written(pair, here):
    said = "0.0001 needs at least 9999 calibration rows, and plant/3 has 999"
    with pytest.raises(UsageError, match=said):
        detected(pair, Control(rate=0.0001))
    with pytest.raises(UsageError, match=said):
        pair.detect(np.zeros((3, 4)), false_alarm_rate=0.0001)
    assert not list(here.glob("scores*"))


@pytest.mark.parametrize("ending", ["csv", "parquet", "npz"])
def test_false_discoveries_are_those_of_benjamini_and_hochberg_over_the_file(pair, ending):
    result = detect_with(pair, "mixed.csv", f"scores.{ending}", control=Control("fdr", level=0.05))
    read: dict[str, Callable[[str], pd.DataFrame]] = {
        "csv": pd.read_csv,
        "parquet": pd.read_parquet,
        "npz": lambda name: pd.DataFrame({k: v for k, v in np.load(name).items() if v.ndim}),
    }
    found = read[ending](f"scores.{ending}")
    assert list(found.columns) == ["row", "score", "p_value", "anomaly"]
    assert found["row"].tolist() == list(range(2000))
    expected = false_discovery_control(found["p_value"].astype(float)) <= 0.05
    np.testing.assert_array_equal(found["anomaly"], expected)
    assert result.anomalies == expected.sum()
    assert 150 < result.anomalies < 230
    assert result.rule == "false discovery rate 0.05 in the file"


def test_python_finds_the_same_as_a_file(pair):
    rows = pd.read_csv("mixed.csv").to_numpy(np.float32)
    for control, options in (
        (Control("fdr", level=0.05), {"control": "fdr", "level": 0.05}),
        (Control(rate=0.2), {"false_alarm_rate": 0.2}),
    ):
        found = pair.detect(rows, **options)
        np.testing.assert_array_equal(found.anomalies, detected(pair, control)["anomaly"])
        np.testing.assert_array_equal(found.anomalies, found.scores > found.threshold)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"control": "FDR"}, 'no control "FDR"; Valid: fdr, rate'),
        ({"control": "online"}, "keeps a stream in a state file, and arrays have none"),
        ({"control": "typo"}, 'no control "typo"; Valid: fdr, rate'),
        ({"control": "fdr", "level": 2}, "a level of 2 is no share of rows; use 0.1"),
        ({"control": "fdr", "level": 0}, "a level of 0 is no share of rows"),
        ({"control": "fdr", "level": -1.0}, "a level of -1 is no share of rows"),
        ({"control": "fdr", "level": np.nan}, "a level of nan is no share of rows"),
        ({"control": "fdr", "false_alarm_rate": 0.1}, "does not go with the control fdr"),
        ({"level": 0.1}, "a level needs the control fdr; for rates of false alarms"),
        ({"false_alarm_rate": 1.0}, "a false-alarm rate of 1 is no share of rows"),
    ],
)
def test_python_refuses_what_the_command_refuses(pair, options, said):
    with pytest.raises(UsageError) as caught:
        pair.detect(np.zeros((3, 4)), **options)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_row_with_a_new_category_is_an_anomaly_in_a_file_of_false_discoveries_too(here):
    frame = pd.read_csv("train.csv").assign(e=np.where(np.arange(CALIBRATED) % 2, "x", "y"))
    frame.to_csv("train.csv", index=False)
    frame.iloc[:20].assign(e=["new", *["x"] * 19]).to_csv("mixed.csv", index=False)
    pair = pair_of(categories=["e"])
    found = detected(pair, Control("fdr"))
    expected = false_discovery_control(found["p_value"].astype(float)) <= 0.1
    np.testing.assert_array_equal(found["anomaly"][1:], expected[1:])
    assert not expected[0]
    assert found["anomaly"][0]
    assert "new" in found["reason"][0]


def test_so_few_calibration_rows_that_nothing_can_be_found_is_said(here, caplog):
    found = detected(pair_of(calibrated=60), Control("fdr"))
    assert found["anomaly"].sum() == 0 or "at least" not in caplog.text
    few = pd.read_csv("mixed.csv").iloc[1:10]
    pd.concat([few, *[pd.read_csv("train.csv")] * 3]).to_csv("mixed.csv", index=False)
    assert detected(pair_of(calibrated=60), Control("fdr", level=0.01))["anomaly"].sum() == 0
    assert "with 60 calibration rows at least" in caplog.text
    caplog.clear()
    rows = pd.read_csv("mixed.csv").select_dtypes("number")
    in_python = pair_of(calibrated=60).detect(rows.to_numpy(), control="fdr", level=0.01)
    assert not in_python.anomalies.any()
    assert "with 60 calibration rows at least" in caplog.text
    caplog.clear()
    assert detected(pair_of(calibrated=60), Control("fdr", level=5e-324))["anomaly"].sum() == 0
    assert "at least 1.8e+308 rows would need the smallest p-value" in caplog.text


# -- streams ---------------------------------------------------------------------------------------


def batches(count: int) -> list[str]:
    rows = pd.read_csv("mixed.csv")
    names = []
    for number, part in enumerate(np.array_split(np.arange(len(rows)), count)):
        names.append(f"batch-{number}.csv")
        rows.iloc[part].to_csv(names[-1], index=False)
    return names


def test_tomorrows_batch_goes_on_where_todays_ended(pair, here):
    at_once = detected(pair, online(file="once.json"))["anomaly"].to_numpy()
    found = [detected(pair, online(), name)["anomaly"].to_numpy() for name in batches(7)]
    np.testing.assert_array_equal(np.concatenate(found), at_once)
    assert json.loads(Path("stream.json").read_text()) == json.loads(Path("once.json").read_text())
    assert at_once.sum() > 100
    assert not list(here.glob(".stream*"))


def test_a_batch_that_fails_does_not_count(pair):
    detected(pair, online(), batches(2)[0])
    before = Path("stream.json").read_text()
    with Path("batch-1.csv").open("a") as file:
        file.write("a,word,among,numbers\n")
    with pytest.raises(DataError):
        detect_with(pair, "batch-1.csv", "out.csv", control=online(), options=UseOptions())
    assert Path("stream.json").read_text() == before


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "[]",
        "{",
        '{"wealth": 1}',
        lambda state: {**state, "wealth": 1e6},
        lambda state: {**state, "discoveries": -1},
        lambda state: {**state, "tested": 0, "discoveries": 5},
        lambda state: {**state, "format_version": 2},
        lambda state: {**state, "wealth": float("nan")},
    ],
)
def test_a_damaged_state_is_refused_in_one_line_and_left_alone(pair, damage):
    detected(pair, online(), batches(4)[0])
    state = json.loads(Path("stream.json").read_text())
    Path("stream.json").write_text(damage if isinstance(damage, str) else json.dumps(damage(state)))
    before = Path("stream.json").read_text()
    with pytest.raises(DataError, match=r"stream.json: is damaged, or no state") as caught:
        detected(pair, online(), "batch-1.csv")
    assert "\n" not in str(caught.value)
    assert Path("stream.json").read_text() == before


def test_the_state_of_another_pair_or_level_is_refused(pair):
    detected(pair, online(), batches(4)[0])
    said = r"belongs to plant/3 \(pair 0123456789abcdef\), and plant/3 is pair fedcba9876543210"
    with pytest.raises(DataError, match=said):
        detected(pair_of("fedcba9876543210"), online(), "batch-1.csv")
    with pytest.raises(DataError, match=r"keeps a false discovery rate of 0.1, not 0.2"):
        detected(pair, online(0.2), "batch-1.csv")


def test_the_state_of_another_calibration_is_refused(pair):
    detected(pair, online(), batches(4)[0])
    before = Path("stream.json").read_text()
    said = (
        "stream.json: compares rows with 999 calibration rows, and this detection rows with 500; "
        "use the calibration it began with, or name a new file to begin a new stream"
    )
    with pytest.raises(DataError, match=f"^{said}$"):
        detected(pair_of(calibrated=500), online(), "batch-1.csv")
    assert Path("stream.json").read_text() == before


@pytest.mark.parametrize(("umask", "mode"), [(0o002, 0o664), (0o077, 0o600)])
def test_colleagues_may_use_a_stream_as_far_as_the_umask_lets_them(pair, umask, mode):
    usual = os.umask(umask)
    try:
        for name in batches(2):
            detected(pair, online(), name)
            for file in (Path("stream.json"), Path("scores.csv")):
                assert stat.S_IMODE(file.stat().st_mode) == mode
    finally:
        os.umask(usual)


def test_a_state_that_cannot_be_written_says_that_the_batch_does_not_count(pair):
    said = "the stream does not know of this batch: free the disk and detect the batch again"
    with (
        pytest.raises(DataError, match=f"stream.json: cannot be written: Is a directory; {said}"),
        open_stream(Path("stream.json"), pair, pair.detector.calibration, 0.1),
    ):
        Path("stream.json").mkdir()


def test_a_stream_that_another_detection_uses_is_refused(pair):
    with (
        FileLock("stream.json.lock"),
        pytest.raises(UsageError, match="another detection is using it"),
    ):
        detected(pair, online())


def test_a_stream_that_can_find_nothing_is_refused_or_told(here, caplog):
    with pytest.raises(UsageError, match="needs at least 9 calibration rows, and plant/3 has 8"):
        detected(pair_of(calibrated=8), online())
    pd.read_csv("train.csv").to_csv("mixed.csv", index=False)
    with pytest.raises(UsageError, match=r"at least 1e\+300 calibration rows"):
        detected(pair_of(), online(1e-300, "tiny.json"))
    detected(pair_of(calibrated=20), online(0.06))
    assert "the stream has spent its level" in caplog.text


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"name": "bh"}, 'no control "bh"; Valid: fdr, online, rate'),
        ({"name": "fdr", "rate": 0.1}, "does not go with the control fdr"),
        ({"name": "rate", "level": 0.1}, "a level needs the control fdr or online"),
        ({"name": "fdr", "level": 2.0}, "a level of 2 is no share of rows"),
        ({"name": "online"}, "--control online --state FILE"),
        ({"name": "fdr", "state": Path("s.json")}, "--control online --state FILE"),
    ],
)
def test_what_does_not_go_together_is_refused(asked, said):
    with pytest.raises(UsageError) as caught:
        control_of(**asked)
    assert said in str(caught.value)
