"""The noises of sounds: what they are made of, and how loud they are."""

from __future__ import annotations

from math import pi

import pytest
import torch

from isthmus import corruptions
from isthmus.corruptions import Corruption, Noise
from isthmus.spec import DataSpec, PluginSpec
from isthmus.types import DataKind, LevelUnit
from isthmus.variants.denoising import Denoising

RATE_HZ, STEPS = 8000, 8000


def build(name: str, **options: object) -> Corruption:
    torch.manual_seed(0)
    return corruptions.build(PluginSpec(name=name, options=options))


def sines(*frequencies_hz: float) -> torch.Tensor:
    """Returns rows of one tone each, some a hundred times louder than others; shape (B, 1, T)."""
    time_s = torch.arange(STEPS) / RATE_HZ
    loudness = torch.tensor([0.5, 0.005])[torch.arange(len(frequencies_hz)) % 2]
    return (loudness[:, None] * torch.sin(2 * pi * torch.tensor(frequencies_hz)[:, None] * time_s))[
        :, None
    ]


def peaks_hz(x: torch.Tensor, share: float = 0.01) -> list[list[int]]:
    """Returns the frequencies of each row that have at least a share of its power."""
    power = torch.fft.rfft(x[:, 0]).abs().square()
    # A step of the spectrum is 1 Hz.
    return [(each > share * each.sum()).nonzero().flatten().tolist() for each in power]


@pytest.mark.parametrize("name", ["gaussian", "babble", "hum"])
@pytest.mark.parametrize("snr_db", [0.0, 10.0])
def test_a_level_in_db_is_the_signal_to_noise_ratio_of_each_row_however_loud_it_is(
    name: str, snr_db: float
) -> None:
    x = sines(100, 440, 1000, 2500, 3000)
    noise = Noise(build(name), (snr_db, snr_db), LevelUnit.SNR_DB).drawn(x, torch.ones(1))
    ratio = x.square().mean(dim=(1, 2)) / (noise - x).square().mean(dim=(1, 2))
    assert (10 * ratio.log10() - snr_db).abs().max() < 0.2


def test_babble_is_made_of_the_other_rows_each_as_loud_as_the_others() -> None:
    x = sines(100, 440, 1000)
    noise = build("babble", voices=12)(x, 1.0) - x
    for own, found in zip((100, 440, 1000), peaks_hz(noise, 1e-5), strict=True):
        assert set(found) == {100, 440, 1000} - {own}
    (single,) = peaks_hz(build("babble", voices=1)(x[:1].repeat(2, 1, 1), 1.0)[:1] - x[:1])
    assert single == [100]


def test_a_row_alone_is_its_own_babble_at_another_time() -> None:
    x = torch.rand(1, 2, 500) - 0.5
    noise = build("babble", voices=2)(x, 1.0) - x
    assert torch.isfinite(noise).all()
    assert noise.square().mean().item() == pytest.approx(1.0, rel=1e-3)


def test_hum_is_50_or_60_hz_and_its_harmonics_in_all_channels_alike() -> None:
    x = torch.zeros(40, 2, STEPS)
    noise = build("hum", sample_rate_hz=RATE_HZ, harmonics=8)(x, 0.1)
    assert torch.equal(noise[:, 0], noise[:, 1])
    lowest = []
    for found in peaks_hz(noise):
        mains = min((50, 60), key=lambda hz: abs(found[0] / hz - round(found[0] / hz)))
        lowest.append(mains)
        assert all(abs(each - mains * round(each / mains)) <= 4 for each in found), found
    assert set(lowest) == {50, 60}


def test_no_harmonic_of_hum_is_above_half_the_sample_rate() -> None:
    x = torch.zeros(20, 1, 4000)
    noise = build("hum", sample_rate_hz=400, mains_hz=[60], harmonics=50)(x, 1.0)
    power = torch.fft.rfft(noise[:, 0]).abs().square()
    heard_hz = (power > power.sum(dim=1, keepdim=True) / 1000).nonzero()[:, 1] * 400 / 4000
    assert heard_hz.max() < 183  # the third harmonic; the fourth, 240 Hz, would be 160 Hz
    assert not ((heard_hz > 150) & (heard_hz < 170)).any()


def test_hum_has_the_sample_rate_of_the_sounds_and_that_of_the_job_file_before_it() -> None:
    data = DataSpec(path="f", kind=DataKind.AUDIO, sample_rate_hz=RATE_HZ)
    hum = Denoising.Config(corruption="hum").settled(data)
    assert hum.corruption.options["sample_rate_hz"] == RATE_HZ
    assert hum.level_in is LevelUnit.SNR_DB
    told = Denoising.Config(corruption={"name": "hum", "sample_rate_hz": 16000}).settled(data)
    assert told.corruption.options["sample_rate_hz"] == 16000


@pytest.mark.parametrize("name", ["babble", "hum"])
def test_silence_stays_silent_where_the_level_is_a_ratio(name: str) -> None:
    x = torch.zeros(4, 1, 100)
    noisy = Noise(build(name), (0.0, 10.0), LevelUnit.SNR_DB).drawn(x, torch.ones(1))
    assert (noisy == 0).all()
