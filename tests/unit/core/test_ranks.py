"""A table of ranks says what a binary search says."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from isthmus.core.calibration import Calibration
from isthmus.core.ranks import Ranks

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.lists(FLOATS, min_size=1, max_size=50), st.lists(FLOATS, min_size=1, max_size=50))
def test_it_finds_what_a_search_finds(ordered: list[float], values: list[float]) -> None:
    known = torch.tensor(ordered).sort().values
    # Ties and neighbours of what is known are where a table could go wrong.
    near = torch.cat([known, known.nextafter(torch.tensor(torch.inf)), torch.tensor(values)])
    assert torch.equal(Ranks(known).below(near), torch.searchsorted(known, near))


@pytest.mark.parametrize("spread", [1e-6, 1.0, 1e6])
def test_p_values_of_many_scores_are_those_of_few(spread: float) -> None:
    torch.manual_seed(0)
    calibration = Calibration()
    calibration.fit(torch.randn(5000).exp() * spread)
    scores = torch.randn(40_000).exp() * spread
    scores[:3] = torch.tensor([torch.inf, -torch.inf, 0.0])
    few = torch.cat([calibration.p_values(part) for part in scores.split(1000)])
    assert torch.equal(calibration.p_values(scores), few)


def test_a_score_that_is_no_number_or_a_module_without_calibration_is_no_crash() -> None:
    calibration = Calibration()
    scores = torch.full((20_000,), torch.nan)
    calibration.p_values(scores)
    calibration.fit(torch.rand(100))
    assert calibration.p_values(scores).max() < 0.01


def test_a_module_that_is_calibrated_anew_ranks_by_its_new_scores() -> None:
    many = torch.rand(20_000)
    calibration = Calibration()
    calibration.fit(torch.rand(2000))
    calibration.p_values(many)
    calibration.fit(torch.rand(2000) + 0.5)
    fresh = Calibration()
    fresh.load_state_dict(calibration.state_dict())
    assert torch.equal(calibration.p_values(many), fresh.p_values(many))
