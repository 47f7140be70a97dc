"""The page of scores of single steps shows windows of the series, each by its strangest step."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

import isthmus
from isthmus.jobs.report import report
from isthmus.spec import Settings
from tests.using import detect_with

WINDOW = 16


def waves(steps: int, seed: int) -> pd.DataFrame:
    when = pd.date_range("2024-01-01", periods=steps, freq="1min").astype(str)
    noise = 0.05 * np.random.default_rng(seed).normal(size=steps)
    return pd.DataFrame({"when": when, "load": np.sin(np.arange(steps) / 4) + noise})


def test_the_strangest_windows_are_shown_and_steps_without_a_score_are_not(here: Path) -> None:
    settings = Settings.from_environment({}, here)
    waves(900, 0).to_csv("past.csv", index=False)
    data = {"path": str(here / "past.csv"), "time": "when", "window": WINDOW}
    job = {"name": "waves", "data": data, "latent_dim": 2, "training": {"epochs": 8}}
    pair = isthmus.load(str(isthmus.train(job, settings=settings).pair), settings=settings)
    new = waves(640, 1)
    new.loc[320:324, "load"] += 4
    # A step that cannot be read has no line; those behind it keep their numbers.
    new = new.astype({"load": object})
    new.loc[100, "load"] = "oops"
    # The ten steps between two gaps have no score, and are not the strangest.
    new.drop(index=[*range(500, 505), *range(515, 520)]).to_csv("new.csv", index=False)
    found = detect_with(pair, "new.csv", "scores.csv")
    assert found.points is not None
    assert (found.points.unscored, found.rejected) == (10, 1)
    result = report("scores.csv", "page.html", settings)
    assert result.anomalies == found.anomalies
    assert not any("cannot be read" in note for note in result.lacks)
    page = Path("page.html").read_text(encoding="utf-8")
    place = re.search(r"<article.*?step (\d+)", page, re.DOTALL)
    assert place is not None
    assert 320 <= int(place[1]) < 325
    assert "nan" not in page[place.start() : place.start() + 2000]
