"""Sounds are denoised as a whole: any length, any number of channels, with all that files say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from scipy.signal import wiener

import isthmus
from isthmus.registry import Pair
from isthmus.spec import Settings
from tests.using import denoise_with

RATE_HZ, WINDOW = 8000, 256
Sound = NDArray[np.float64]


def tones(rng: np.random.Generator, samples: int, loudness: float = 0.3) -> Sound:
    """Returns a chord that swells and fades."""
    time_s = np.arange(samples) / RATE_HZ
    waves = [np.sin(2 * np.pi * (rng.uniform(200, 3000) * time_s + rng.random())) for _ in range(3)]
    swell = 0.2 + np.sin(2 * np.pi * (rng.uniform(2, 6) * time_s + rng.random())) ** 2
    return loudness / 3 * swell * np.sum(waves, axis=0)


def with_noise(rng: np.random.Generator, clean: Sound, snr_db: float = 5.0) -> Sound:
    noise = rng.standard_normal(clean.shape)
    return clean + noise * np.sqrt((clean**2).mean() / 10 ** (snr_db / 10))


def si_sdr_db(estimate: Sound, clean: Sound) -> float:
    """Le Roux et al. 2019, arXiv:1811.02508, equation 4."""
    target = (estimate @ clean) / (clean @ clean) * clean
    return float(10 * np.log10((target**2).sum() / ((estimate - target) ** 2).sum()))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """A pair that was trained for some seconds; the job says nothing about the net."""
    home = tmp_path_factory.mktemp("sounds")
    rng = np.random.default_rng(0)
    (home / "clean").mkdir()
    for number in range(40):
        loudness = float(rng.choice([0.01, 0.4]))
        sound = tones(rng, int(rng.integers(100, 3000)), loudness)
        soundfile.write(home / "clean" / f"{number}.wav", sound, RATE_HZ)
    settings = Settings.from_environment({}, home)
    job = {
        "name": "tones",
        "data": {"path": str(home / "clean"), "window": WINDOW},
        "variant": {"name": "denoising", "level": [0, 10], "level_in": "snr_db"},
        "net": {"name": "spectral_mask", "channels": [8, 16]},
        "scoring": "reconstruction",
        "training": {"epochs": 12, "global_batch_size": 16, "learning_rate": 3e-3},
    }
    return isthmus.load(str(isthmus.train(job, settings=settings).pair), settings=settings)


def denoised(pair: Pair, sound: Sound, **how: str) -> Sound:
    """Denoises a file as `isthmus denoise` does, and returns its samples, (T,) or (T, C)."""
    soundfile.write("noisy.wav", sound, RATE_HZ, **{"subtype": "FLOAT", **how})
    denoise_with(pair, "noisy.wav", "out.wav")
    return np.asarray(soundfile.read("out.wav")[0])


@pytest.mark.usefixtures("here")
def test_a_short_training_removes_more_noise_than_a_wiener_filter(pair: Pair) -> None:
    rng = np.random.default_rng(1)
    ours, theirs = [], []
    for samples in (2999, 4001, 5000):
        clean = tones(rng, samples)
        noisy = with_noise(rng, clean)
        before = si_sdr_db(noisy, clean)
        ours.append(si_sdr_db(denoised(pair, noisy), clean) - before)
        theirs.append(si_sdr_db(wiener(noisy, 7), clean) - before)
    assert np.mean(ours) > np.mean(theirs) + 1
    assert np.mean(ours) > 2


@pytest.mark.parametrize("samples", [1, 100, WINDOW, WINDOW + 1, 2 * WINDOW - 1, 3001])
@pytest.mark.usefixtures("here")
def test_a_sound_of_any_length_comes_back_at_its_length(pair: Pair, samples: int) -> None:
    rng = np.random.default_rng(samples)
    sound = with_noise(rng, tones(rng, samples))
    found = denoised(pair, sound)
    assert found.shape == (samples,)
    assert np.isfinite(found).all()
    assert (found**2).sum() > 0


@pytest.mark.usefixtures("here")
def test_silence_stays_silent(pair: Pair) -> None:
    rng = np.random.default_rng(0)
    sound = np.concatenate([np.zeros(1000), tones(rng, 1000), np.zeros(1000)])
    found = denoised(pair, sound)
    assert np.isfinite(found).all()
    assert (found[: 1000 - WINDOW] == 0).all()
    assert (found[2000 + WINDOW :] == 0).all()
    assert (denoised(pair, np.zeros(900)) == 0).all()


@pytest.mark.usefixtures("here")
def test_a_quiet_sound_is_denoised_like_a_loud_one(pair: Pair) -> None:
    rng = np.random.default_rng(2)
    loud = with_noise(rng, tones(rng, 3000))
    quiet = denoised(pair, loud / 400)
    np.testing.assert_allclose(400 * quiet, denoised(pair, loud), atol=1e-4)


@pytest.mark.usefixtures("here")
def test_what_a_file_says_of_its_sound_is_kept(pair: Pair) -> None:
    rng = np.random.default_rng(3)
    soundfile.write("in.wav", tones(rng, 2001), RATE_HZ, "PCM_24")
    with soundfile.SoundFile("in.wav", "r+") as file:
        file.title, file.artist = "Chord", "Nobody"
    denoise_with(pair, "in.wav", "out.wav")
    info = soundfile.info("out.wav")
    assert (info.samplerate, info.subtype, info.frames) == (RATE_HZ, "PCM_24", 2001)
    with soundfile.SoundFile("out.wav") as file:
        assert (file.title, file.artist) == ("Chord", "Nobody")


def test_the_window_of_sounds_is_a_quarter_of_a_second_and_their_spectrum_is_masked(
    here: Path,
) -> None:
    from isthmus.jobs.preparation import prepare
    from isthmus.jobs.specs import check_job

    rng = np.random.default_rng(4)
    (here / "f").mkdir()
    for number, samples in enumerate((5000, 700, 9000, 3000)):
        soundfile.write(here / "f" / f"{number}.wav", tones(rng, samples), RATE_HZ)
    prepared = prepare(check_job({"name": "s", "data": {"path": "f"}, "variant": "denoising"}))
    assert prepared.plan.row_shape == (1, 2048)
    assert prepared.plan.net.name == "spectral_mask"
    assert prepared.data.short_files == "pad"
    # Hum is made of the frequencies that these sounds have.
    hum = {"name": "denoising", "corruption": "hum"}
    prepared = prepare(check_job({"name": "s", "data": {"path": "f"}, "variant": hum}))
    assert prepared.plan.variant.options["corruption"]["sample_rate_hz"] == RATE_HZ
