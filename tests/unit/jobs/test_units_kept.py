"""The units of a training file are kept with a version, shown, and held against other versions."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import isthmus
from isthmus.promotion.heldout import find_held_out
from isthmus.registry.reference import half_name
from isthmus.spec import Settings
from isthmus.tracking import open_store

SAID = 'states another unit than the rows of training have ("flow" in "m3/h", and not in "l/s")'


def train(settings: Settings, unit: str, **training: object) -> isthmus.Pair:
    rows = np.random.default_rng(0).normal(5, 1, size=(300, 3))
    frame = pd.DataFrame(rows, columns=["flow", "heat", "speed"])
    frame.attrs["units"] = {"flow": unit}
    options = {"epochs": 1, "device": "cpu", **training}
    job = {"name": "plant", "latent_dim": 2, "scoring": "own", "training": options}
    job["data"] = {"units": {"heat": "kW"}}
    found = isthmus.train(job, data=frame, settings=settings)
    return isthmus.load(str(found.pair), settings=settings)


def test_a_version_in_other_units_is_told_where_it_starts_from_or_meets_the_one_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings.from_environment({}, tmp_path)
    with caplog.at_level(logging.WARNING):
        old = train(settings, "l/s")
        train(settings, "l/s", start_from="plant/1")
        assert "unit" not in caplog.text
        new = train(settings, "m3/h", start_from="plant/1")
        assert SAID in caplog.text
        caplog.clear()
        find_held_out(new, old, settings, lambda step: None)
        assert f"plant/3, beside plant/1: {SAID}" in caplog.text
    assert old.manifest.rows_taken.units == ("l/s", "kW", None)
    card = open_store(settings).get_model_version(half_name("plant", "encoder"), "1").description
    assert "`flow` (l/s), `heat` (kW), `speed` to latents" in card
