"""The share of false ones among the rows that are found stays below its level."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from online_fdr.p_values import LordPlusPlus
from scipy.stats import false_discovery_control

from isthmus.core import Calibration
from isthmus.core.discoveries import OnlineDiscoveries, PValueTally

Numbers = NDArray[np.float64]
Mask = NDArray[np.bool_]


def mixture(seed: int, rows: int, share: float, calibrated: int = 2000) -> tuple[Numbers, Mask]:
    """Draws conformal p-values of one calibration; returns them, and which rows are anomalies."""
    rng = np.random.default_rng(seed)
    calibration = Calibration()
    calibration.fit(torch.from_numpy(rng.normal(size=calibrated)))
    is_anomaly = rng.random(rows) < share
    scores = rng.normal(size=rows) + 5 * is_anomaly
    return calibration.p_values(torch.from_numpy(scores).float()).numpy(), is_anomaly


def false_share(found: Mask, is_anomaly: Mask) -> float:
    return float((found & ~is_anomaly).sum() / max(1, found.sum()))


@pytest.mark.parametrize("level", [0.01, 0.1, 0.5])
@pytest.mark.parametrize("seed", range(20))
def test_the_rows_of_a_file_are_those_that_scipy_finds(seed: int, level: float) -> None:
    p_values, _ = mixture(seed, rows=3000, share=0.1 * (seed % 3), calibrated=500 + seed)
    tally = PValueTally()
    for part in np.array_split(p_values, 7):
        tally.add(part)
    expected = false_discovery_control(p_values.astype(np.float64)) <= level * (1 + 1e-6)
    np.testing.assert_array_equal(p_values <= tally.cut(level), expected)


def test_without_rows_nothing_is_found() -> None:
    assert PValueTally().cut(0.1) == 0.0


def test_few_of_the_rows_that_are_found_in_a_file_are_false() -> None:
    shares, powers = [], []
    for seed in range(200):
        p_values, is_anomaly = mixture(seed, rows=1000, share=0.1)
        tally = PValueTally()
        tally.add(p_values)
        found = p_values <= tally.cut(0.1)
        shares.append(false_share(found, is_anomaly))
        powers.append(found[is_anomaly].mean())
    assert np.mean(shares) < 0.1
    assert np.mean(powers) > 0.9


def stream_of(calibrated: int) -> OnlineDiscoveries:
    return OnlineDiscoveries(0.1, smallest=1 / (calibrated + 1))


@pytest.mark.parametrize("cuts", [[1], [7, 8, 4000], list(range(0, 9000, 500))])
def test_a_stream_in_batches_decides_as_it_does_at_once(cuts: list[int]) -> None:
    p_values, _ = mixture(1, rows=9000, share=0.1)
    at_once = stream_of(2000)
    expected = at_once.test(p_values)
    found, stream = [], stream_of(2000)
    for part in np.split(p_values, cuts):
        found.append(stream.test(part))
        stream = OnlineDiscoveries(
            *(0.1, stream.smallest, stream.wealth, stream.tested, stream.discoveries)
        )
    np.testing.assert_array_equal(np.concatenate(found), expected)
    assert (stream.tested, stream.discoveries) == (9000, expected.sum())


def test_a_stream_never_spends_more_than_its_level_for_each_discovery() -> None:
    p_values, _ = mixture(2, rows=5000, share=0.1)
    stream, spent = stream_of(2000), 0.0
    for p_value in p_values:
        before = stream.wealth
        earned = 0.1 if stream.test(np.array([p_value]))[0] and stream.discoveries > 1 else 0.0
        spent += before + earned - stream.wealth
        assert stream.wealth >= 0
        assert spent <= 0.1 * max(1, stream.discoveries) + 1e-9


@pytest.mark.parametrize("share", [0.1, 0.02])
def test_few_of_the_rows_that_are_found_in_a_stream_are_false(share: float) -> None:
    shares, powers, powers_of_lord = [], [], []
    for seed in range(100):
        p_values, is_anomaly = mixture(seed, rows=2000, share=share)
        found = stream_of(2000).test(p_values)
        shares.append(false_share(found, is_anomaly))
        powers.append(found[is_anomaly].mean())
        lord = LordPlusPlus(alpha=0.1, wealth=0.05)
        found_by_lord = [lord.test_one(float(p_value)) for p_value in p_values[:200]]
        powers_of_lord.append(np.mean(np.array(found_by_lord)[is_anomaly[:200]]))
    assert np.mean(shares) < 0.1
    assert np.mean(powers) > 0.6
    assert np.nanmean(powers_of_lord) < 0.2


def test_a_stream_without_discoveries_is_spent_in_the_end_and_says_so() -> None:
    stream = stream_of(99)
    assert not stream.test(np.full(9, 0.5)).any()
    assert not stream.is_spent
    stream.test(np.full(2, 0.5))
    assert stream.is_spent
    assert not stream.test(np.array([0.01])).any()
