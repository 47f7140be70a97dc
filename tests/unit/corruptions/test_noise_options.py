"""The options of a noise: what they mean for some data, and what is refused in one line."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from isthmus import corruptions
from isthmus.corruptions import Noise, NoiseOptions
from isthmus.spec import DataSpec, PluginSpec
from isthmus.types import LevelUnit


@pytest.mark.parametrize(
    ("corruption", "level", "is_refused"),
    [
        ("gaussian", 1.5, False),
        ("speckle", 1.5, False),
        ("poisson", 1.0, False),
        ("poisson", 1.5, True),
        ("masking", 1.5, True),
        ("salt_and_pepper", 1.5, True),
        ("speckle", 0.0, True),
        ("jpeg", 1.0, True),
        ("gaussian", (0.0, 0.2), False),
    ],
)
def test_each_corruption_has_its_own_range_of_levels(
    corruption: str, level: object, is_refused: bool
) -> None:
    if is_refused:
        with pytest.raises(ValidationError, match="level"):
            NoiseOptions(corruption=corruption, level=level)
    else:
        assert NoiseOptions(corruption=corruption, level=level)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": (0.3, 0.1)}, "level's first number=0.3 is above 0.1; swap them"),
        ({"level": 0.1, "lowest_level": 0.3}, "lowest_level=0.3 is above 0.1; swap them"),
        ({"lowest_level": 0.3}, "lowest_level=0.3 goes with a single number as level"),
        ({"level": (-0.1, 0.3)}, "level=-0.1 is no noise; use more than 0"),
        (
            {"corruption": "masking", "level": 10, "level_in": "snr_db"},
            "level_in=snr_db does not suit masking; use scaled",
        ),
        ({"level_in": "data"}, "level_in=data has no level of its own; name one"),
        ({"level": 300, "level_in": "snr_db"}, "level=300 dB is out of range"),
        ({"corruption": "gausian"}, 'no corruption "gausian"; did you mean "gaussian"?'),
        ({"corruption": {"name": "jpeg", "quality": 3}}, "jpeg takes no options; leave out qual"),
        (
            {"corruption": {"name": "poisson_gaussian", "read_noise": 3}},
            "read_noise: 3 is not allowed; use less than or equal to 1",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_options_that_contradict_each_other_are_refused(options: object, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        NoiseOptions.model_validate(options)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("options", "data", "message"),
    [
        ({"level": 25}, {"kind": "images"}, "25 is 25 times the whole range of the rows; set lev"),
        ({"level": 25}, {"kind": "tabular"}, "25 is 25 times the spread of the rows; set level_in"),
        ({"level": 25}, {"kind": "audio"}, "25 is 25 times the full scale of sounds; set level_in"),
        ({"corruption": "jpeg"}, {"kind": "series"}, '"jpeg" is noise of images, and the data are'),
        ({"corruption": "poisson"}, {"kind": "series"}, "set it to minmax"),
        ({"level": 5, "level_in": "snr_db"}, {"kind": "tabular"}, "snr_db is for signals"),
        ({"corruption": "none"}, {"kind": "images"}, "none needs clean rows; name them in data.cl"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_noise_that_does_not_suit_the_data_is_refused(
    options: object, data: dict[str, str], message: str
) -> None:
    found = NoiseOptions.model_validate(options).refusals(DataSpec(path="x", **data))
    assert message in "; ".join(found.values())


@pytest.mark.parametrize(
    ("data", "scale", "message"),
    [
        ({"kind": "images"}, 255.0, None),
        ({"kind": "images"}, 1.0, "25 is 25 times the whole range of the rows, 1; lower it"),
        ({"kind": "series"}, 2.0, "25 is 12.5 times the spread of the rows, 2; lower it"),
        ({"kind": "series"}, 5.0, None),
    ],
)
def test_a_level_in_units_of_the_data_is_held_against_the_rows(
    data: dict[str, str], scale: float, message: str | None
) -> None:
    spec = DataSpec(path="x", **data)
    options = NoiseOptions(level=25, level_in="data").settled(spec)
    assert options.refusals_once_scaled(spec, scale).get("level") == message


@pytest.mark.parametrize(
    ("options", "data"),
    [
        ({"level": 25, "level_in": "data"}, {"kind": "images"}),
        ({"level": 25}, {"kind": "auto"}),
        ({"level": 2}, {"kind": "tabular"}),
        ({"level": (0, 20), "level_in": "snr_db"}, {"kind": "audio"}),
        ({"corruption": "poisson"}, {"kind": "series", "scaling": "minmax"}),
        ({}, {"kind": "images"}),
    ],
)
def test_noise_that_may_suit_the_data_is_not_refused(options: object, data: dict[str, str]) -> None:
    assert not NoiseOptions.model_validate(options).refusals(DataSpec(path="x", **data))


@pytest.mark.parametrize(
    ("data", "corruption", "expected", "unit"),
    [
        ({"kind": "images"}, "auto", (0.02, 0.22), "scaled"),
        ({"kind": "tabular"}, "auto", (0.05, 0.5), "scaled"),
        ({"kind": "tabular", "scaling": "minmax"}, "auto", (0.02, 0.22), "scaled"),
        ({"kind": "series"}, "auto", (0.05, 0.5), "scaled"),
        ({"kind": "audio"}, "auto", (0.0, 20.0), "snr_db"),
        ({"kind": "audio"}, "masking", (0.05, 0.5), "scaled"),
        ({"kind": "images"}, "jpeg", (0.2, 0.9), "scaled"),
    ],
)
def test_auto_is_a_blind_range_that_suits_the_data(
    data: dict[str, str], corruption: str, expected: tuple[float, float], unit: str
) -> None:
    settled = NoiseOptions(corruption=corruption).settled(DataSpec(path="x", **data))
    assert settled.range == expected
    assert settled.level_in == unit
    assert settled.corruption.name == ("gaussian" if corruption == "auto" else corruption)
    stored = NoiseOptions.model_validate(settled.model_dump(mode="json"))
    assert stored == settled.settled(DataSpec(path="x", **data))


def test_the_options_of_a_pair_of_before_the_ranges_mean_the_same() -> None:
    stored = {"corruption": "gaussian", "level": 0.3, "lowest_level": 0.1}
    found = NoiseOptions.model_validate(stored).settled(DataSpec(path="x", kind="audio"))
    assert found.range == (0.1, 0.3)
    assert found.level_in is LevelUnit.SCALED


# -- levels ---------------------------------------------------------------------------------------

GAUSSIAN = corruptions.build(PluginSpec(name="gaussian"))


def spreads(noisy: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    return (noisy - clean).flatten(1).std(dim=1)


def test_each_row_draws_its_level_evenly_from_the_range() -> None:
    torch.manual_seed(0)
    x = torch.zeros(2000, 1, 1000)
    found = spreads(Noise(GAUSSIAN, (0.1, 0.3), LevelUnit.SCALED).drawn(x, torch.ones(())), x)
    assert found.min().item() == pytest.approx(0.1, abs=0.01)
    assert found.max().item() == pytest.approx(0.3, abs=0.02)
    assert found.mean().item() == pytest.approx(0.2, abs=0.005)


def test_a_level_in_units_of_the_data_is_divided_by_the_scale_of_each_feature() -> None:
    torch.manual_seed(0)
    x = torch.zeros(50_000, 3)
    noise = Noise(GAUSSIAN, (25.0, 25.0), LevelUnit.DATA)
    found = noise.drawn(x, torch.tensor([255.0, 25.0, 1.0])).std(dim=0)
    assert found.tolist() == pytest.approx([25 / 255, 1.0, 25.0], rel=0.02)


def test_a_signal_to_noise_ratio_is_that_of_each_row_whatever_its_loudness_and_offset() -> None:
    torch.manual_seed(0)
    loudness = torch.tensor([0.01, 1.0, 40.0]).reshape(3, 1, 1)
    x = loudness * torch.randn(3, 2, 20_000) + torch.tensor([3.0, -7.0]).reshape(1, 2, 1)
    noisy = Noise(GAUSSIAN, (6.0, 6.0), LevelUnit.SNR_DB).drawn(x, torch.ones(()))
    signal = (x - x.mean(dim=2, keepdim=True)).square().flatten(1).mean(dim=1)
    ratio = signal / (noisy - x).square().flatten(1).mean(dim=1)
    assert (10 * ratio.log10()).tolist() == pytest.approx([6.0] * 3, abs=0.1)


@pytest.mark.parametrize(
    ("levels", "unit", "strongest"),
    [((0.1, 0.3), LevelUnit.SCALED, 0.3), ((0.0, 20.0), LevelUnit.SNR_DB, 1.0)],
)
def test_the_strongest_noise_is_the_highest_level_or_the_lowest_ratio(
    levels: tuple[float, float], unit: LevelUnit, strongest: float
) -> None:
    torch.manual_seed(0)
    x = torch.randn(5, 1, 20_000)
    noisy = Noise(GAUSSIAN, levels, unit).strongest(x, torch.ones(()))
    assert spreads(noisy, x).tolist() == pytest.approx([strongest] * 5, rel=0.05)
