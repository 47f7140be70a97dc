"""The calibration turns scores into the p-values that its quantiles give."""

from __future__ import annotations

import pytest
import torch

from isthmus.core.calibration import QUANTILES, Calibration


@pytest.mark.parametrize("spread", [1e-6, 1.0, 1e6])
def test_a_p_value_is_the_share_of_quantiles_that_are_at_least_the_score(spread: float) -> None:
    torch.manual_seed(0)
    calibration = Calibration()
    calibration.fit(torch.randn(5000).exp() * spread)
    scores = torch.cat([torch.randn(2000).exp() * spread, calibration.quantiles])
    at_least = (calibration.quantiles >= scores[:, None]).sum(dim=1)
    expected = at_least.clamp(min=1) / QUANTILES
    assert torch.equal(calibration.p_values(scores), expected)


def test_infinite_scores_get_the_smallest_and_the_largest_p_value() -> None:
    calibration = Calibration()
    calibration.fit(torch.rand(100))
    p_values = calibration.p_values(torch.tensor([torch.inf, -torch.inf]))
    assert torch.equal(p_values, torch.tensor([1 / QUANTILES, 1.0]))


def test_a_score_that_is_nan_gets_the_smallest_p_value() -> None:
    calibration = Calibration()
    calibration.fit(torch.rand(100))
    assert calibration.p_values(torch.full((3,), torch.nan)).max() < 0.01


def test_a_module_without_calibration_calls_no_row_an_anomaly() -> None:
    calibration = Calibration()
    scores = torch.rand(10)
    assert not calibration.is_anomaly(scores).any()
    assert calibration.p_values(scores).shape == (10,)


def test_a_module_that_is_calibrated_again_uses_its_new_quantiles() -> None:
    torch.manual_seed(0)
    scores = torch.rand(200)
    calibration = Calibration()
    calibration.fit(torch.rand(2000))
    calibration.p_values(scores)
    calibration.fit(torch.rand(2000) + 0.5)
    fresh = Calibration()
    fresh.load_state_dict(calibration.state_dict())
    assert torch.equal(calibration.p_values(scores), fresh.p_values(scores))
