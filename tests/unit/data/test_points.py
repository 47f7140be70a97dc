"""Scores of windows become scores of steps, and anomalous steps become ranges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.data import mean_of_covering_windows, ranges_of
from isthmus.data.steps.ranges import simes


@given(
    window=st.integers(4, 12),
    stretches=st.lists(st.tuples(st.integers(0, 9), st.integers(1, 30)), min_size=1, max_size=4),
    seed=st.integers(0, 99),
)
def test_a_step_scores_the_mean_of_the_windows_that_cover_it(
    window: int, stretches: list[tuple[int, int]], seed: int
) -> None:
    starts, end = [], 0
    for gap, count in stretches:
        starts += list(range(end + gap, end + gap + count))
        end += gap + count + window - 1
    length = end + 3
    scores = np.random.default_rng(seed).random(len(starts)).astype(np.float32)
    sums, counts = np.zeros(length), np.zeros(length)
    for start, score in zip(starts, scores, strict=True):
        sums[start : start + window] += score
        counts[start : start + window] += 1
    expected = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    means = mean_of_covering_windows(scores, np.array(starts), window, length)
    np.testing.assert_allclose(means, expected, rtol=1e-9)


def test_a_huge_score_changes_no_step_outside_its_window() -> None:
    scores = np.ones(100)
    scores[50] = 1e300
    means = mean_of_covering_windows(scores, np.arange(100), 10, 109)
    assert np.flatnonzero(means != 1).tolist() == list(range(50, 60))


def judged(*spans: tuple[int, int], steps: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    anomalies = np.zeros(steps, dtype=bool)
    for first, last in spans:
        anomalies[first : last + 1] = True
    return np.where(anomalies, 2.0, 1.0), np.where(anomalies, 0.01, 0.5), anomalies


def found(pieces: np.ndarray, *spans: tuple[int, int]) -> list[tuple[int, int]]:
    return [(each.first, each.last) for each in ranges_of(*judged(*spans), pieces, nearest=8)]


ONE_PIECE = np.zeros(60, dtype=np.int64)


def test_anomalous_steps_less_than_a_window_apart_are_one_range() -> None:
    assert found(ONE_PIECE, (10, 12), (19, 20), (28, 28)) == [(10, 20), (28, 28)]
    assert found(ONE_PIECE) == []
    assert found(ONE_PIECE, (0, 59)) == [(0, 59)]


def test_no_range_crosses_a_gap_in_time_or_two_series() -> None:
    pieces = (np.arange(60) >= 11).astype(np.int64)
    assert found(pieces, (9, 12)) == [(9, 10), (11, 12)]


@pytest.mark.parametrize(("peak", "score"), [(14, 9.0), (11, np.nan)], ids=["high", "no number"])
def test_a_range_has_the_place_of_its_highest_score(peak: int, score: float) -> None:
    scores, p_values, anomalies = judged((10, 16))
    scores[peak] = score
    (only,) = ranges_of(scores, p_values, anomalies, ONE_PIECE, nearest=8)
    assert only.peak == peak
    np.testing.assert_equal(only.peak_score, score)


def test_the_p_value_of_a_range_keeps_its_level_for_steps_that_rise_and_fall_together() -> None:
    rng = np.random.default_rng(0)
    alone = rng.random((4000, 16))
    together = np.repeat(rng.random((4000, 4)), 4, axis=1)
    for p_values in (alone, together):
        levels = np.array([simes(row) for row in p_values])
        for level in (0.05, 0.2):
            assert (levels <= level).mean() <= level + 3 * np.sqrt(level * (1 - level) / 4000)
    assert simes(np.array([0.001, 0.9, 0.9, 0.9])) == pytest.approx(0.004)
    assert simes(np.full(10, 0.002)) == pytest.approx(0.002)
