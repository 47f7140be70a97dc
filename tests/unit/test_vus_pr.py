"""The measure of the series benchmark is the one that papers report."""

from __future__ import annotations

import numpy as np
import pytest

from tests.benchmarks.vus_pr import dominant_period, vus_pr

# By `metricor().RangeAUC_volume_opt(labels, scores, buffer, 250)` of the package vus 0.0.6.
EXPECTED = {
    ("inside", 0): 0.6390295865904226,
    ("inside", 30): 0.730082941938071,
    ("inside", 75): 0.7825874775495076,
    ("begin", 0): 0.6606594163942108,
    ("begin", 30): 0.746776793184043,
    ("begin", 75): 0.8029233500343587,
    ("end", 30): 0.745316581999369,
    ("end", 75): 0.7967145411395581,
    ("ties", 0): 0.6048881288346154,
    ("ties", 75): 0.7443531703993758,
}


@pytest.mark.parametrize(("place", "buffer"), EXPECTED, ids=str)
def test_vus_pr_is_that_of_its_authors(place: str, buffer: int) -> None:
    labels = np.zeros(600, dtype=np.int64)
    for first, end in ((100, 140), (150, 160), (400, 420)):
        labels[first:end] = 1
    if place == "begin":
        labels[:20] = 1
    if place == "end":
        labels[590:] = 1
    noise = np.random.default_rng(0).random(600)
    scores = noise + 0.5 * np.convolve(labels, np.ones(9) / 9, "same")
    if place == "ties":
        scores = np.round(scores, 1)
    assert vus_pr(labels, scores, buffer) == pytest.approx(EXPECTED[place, buffer], rel=1e-9)


def test_the_dominant_period_of_a_wave_is_its_length() -> None:
    wave = np.sin(np.arange(2000) * 2 * np.pi / 48)
    assert dominant_period(wave + 0.3 * np.random.default_rng(0).normal(size=2000)) in (47, 48, 49)
    assert dominant_period(np.arange(2000.0)) == 125
