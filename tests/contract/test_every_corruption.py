"""What every corruption promises, on every kind of data that it takes: a new one is covered."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from isthmus import corruptions
from isthmus.corruptions import Corruption
from isthmus.spec import PluginSpec
from isthmus.types import DataKind, LevelUnit
from tests.contract.test_every_variant import SHAPES

CASES = [
    pytest.param(name, kind, id=f"{name}-{kind}")
    for name, kind in product(corruptions.names(), DataKind)
    if kind in corruptions.get(name).KINDS
]
every_case = pytest.mark.parametrize(("name", "kind"), CASES)
every_corruption = pytest.mark.parametrize("name", corruptions.names())
ROWS = 40


def build(name: str) -> Corruption:
    return corruptions.build(PluginSpec(name=name))


def rows_of(kind: DataKind) -> torch.Tensor:
    x = torch.rand(ROWS, *SHAPES[kind], generator=torch.Generator().manual_seed(1))
    # Sounds are waves around 0; the others are in the range of `data.scaling: minmax`.
    return 2 * x - 1 if kind is DataKind.AUDIO else x


def corrupted(
    name: str, x: torch.Tensor, level: float | torch.Tensor, seed: int = 0
) -> torch.Tensor:
    torch.manual_seed(seed)
    return build(name)(x, level)


@every_case
def test_rows_keep_their_shape_and_change_in_a_copy(name: str, kind: DataKind) -> None:
    x = rows_of(kind)
    before = x.clone()
    noisy = corrupted(name, x, max(corruptions.get(name).AUTO_LEVELS))
    assert noisy.shape == x.shape
    assert noisy.dtype == x.dtype
    assert torch.isfinite(noisy).all()
    assert torch.equal(x, before)
    assert not torch.equal(noisy, x)


@every_case
def test_the_seed_of_torch_decides_the_noise(name: str, kind: DataKind) -> None:
    x, level = rows_of(kind), max(corruptions.get(name).AUTO_LEVELS)
    assert torch.equal(corrupted(name, x, level), corrupted(name, x, level))


@every_case
def test_a_higher_level_is_more_noise(name: str, kind: DataKind) -> None:
    x, levels = rows_of(kind), corruptions.get(name).AUTO_LEVELS
    weak, strong = ((corrupted(name, x, level) - x).square().mean() for level in levels)
    assert 0 < 1.2 * weak < strong


@every_case
def test_each_row_may_have_a_level_of_its_own(name: str, kind: DataKind) -> None:
    x, (low, high) = rows_of(kind), corruptions.get(name).AUTO_LEVELS
    levels = torch.full((ROWS, *([1] * (x.ndim - 1))), low)
    levels[ROWS // 2 :] = high
    noise = (corrupted(name, x, levels) - x).square().flatten(1).mean(dim=1)
    assert 1.2 * noise[: ROWS // 2].mean() < noise[ROWS // 2 :].mean()


@every_case
def test_mixed_precision_draws_the_same_noise(name: str, kind: DataKind) -> None:
    x, level = rows_of(kind), max(corruptions.get(name).AUTO_LEVELS)
    with torch.autocast("cpu", torch.bfloat16):
        found = corrupted(name, x, level)
    torch.testing.assert_close(found, corrupted(name, x, level))


@every_corruption
def test_a_corruption_says_in_one_line_what_its_level_means_and_cites_its_source(name: str) -> None:
    found = corruptions.get(name)
    assert "level" in found.SUMMARY
    assert "\n" not in found.SUMMARY
    assert found.__doc__ is not None
    assert "Source:" in found.__doc__


@every_corruption
def test_its_levels_fit_together(name: str) -> None:
    found = corruptions.get(name)
    lowest, highest = found.AUTO_LEVELS
    assert 0 < lowest < highest <= found.HIGHEST_LEVEL
    assert LevelUnit.SCALED in found.LEVELS_IN
    assert not found.TAKES_A_SHARE or found.HIGHEST_LEVEL == 1
