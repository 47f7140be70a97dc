"""Which rows a pair is calibrated on, and what is said of them."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import isthmus
from isthmus.bundle.manifest import PairManifest
from isthmus.jobs.preparation import Prepared, prepare
from isthmus.jobs.specs import check_job
from isthmus.spec import Settings
from isthmus.tracking import open_store

RNG = np.random.default_rng(0)


def prepared(rows: int, training: dict[str, object] | None = None, **data: object) -> Prepared:
    factors = RNG.standard_normal((rows, 2))
    values = factors @ RNG.standard_normal((2, 5)) + 0.1 * RNG.standard_normal((rows, 5))
    pd.DataFrame(values, columns=list("abcde")).to_csv("rows.csv", index=False)
    job = {"name": "small", "data": {"path": "rows.csv", **data}, "training": training or {}}
    return prepare(check_job(job))


def test_many_rows_are_calibrated_on_rows_that_are_in_no_other_part(here):
    found = prepared(2500)
    assert not found.is_crossed
    assert found.data.calibration_fraction == 0.1
    assert found.split_sizes["calibration"] == len(found.calibration) > 150
    assert sum(found.split_sizes.values()) == 2500
    held_out = [found.validation, found.calibration, found.test]
    assert len(np.unique(np.concatenate(held_out), axis=0)) == sum(map(len, held_out))


@pytest.mark.parametrize("rows", [33, 500])
def test_few_rows_are_all_trained_on_and_calibration_is_crossed(here, rows, caplog):
    found = prepared(rows)
    assert found.is_crossed
    assert found.data.calibration_fraction == 0.0
    assert "calibration" not in found.split_sizes
    assert "no rows of their own" not in caplog.text


def test_an_ensemble_too_small_to_leave_rows_out_in_turn_has_calibration_rows(here):
    found = prepared(500, {"ensemble": 1})
    assert not found.is_crossed
    assert 20 < len(found.calibration) < 90


def test_a_number_is_obeyed_and_without_rows_of_their_own_it_is_said(here, caplog):
    assert 120 < len(prepared(500, calibration_fraction=0.4).calibration) < 280
    with caplog.at_level(logging.WARNING):
        found = prepared(500, calibration_fraction=0)
    assert caplog.text.count("no rows of their own calibrate the scores") == 1
    assert not found.is_crossed
    np.testing.assert_array_equal(found.calibration, found.validation)


def manifest_of(name: str) -> PairManifest:
    return isthmus.load(name).manifest


@pytest.mark.parametrize(
    ("calibration", "way"), [(0.2, "split"), (0, "shared")], ids=["of their own", "shared"]
)
def test_the_card_says_what_the_false_alarm_rate_rests_on(here: Path, calibration, way):
    prepared(400)
    data = {"path": "rows.csv", "calibration_fraction": calibration}
    result = isthmus.train({"name": "said", "data": data, "training": {"epochs": 2}})
    assert result.pair is not None
    record = manifest_of("said/1").detector
    assert record.calibrated_by == way
    pair = isthmus.load("said/1")
    assert pair.detector.calibration.rows == record.calibration_rows
    words = {"split": "which nothing was trained or chosen on", "shared": "also chose the epoch"}
    client = open_store(Settings.from_environment())
    card = client.get_model_version("said-decoder", "1").description
    assert f"calibrated on {record.calibration_rows} rows" in card
    assert words[way] in card
