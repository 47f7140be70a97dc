"""How much noise is taken from speech: the gain in SI-SDR, ours beside filters of the field.

The spoken digits of fsdd, 8 kHz, six speakers. Ours is `isthmus.train` on the clean files of four
of them, a pair for each noise, at SNRs that are drawn anew for each row, and whole files as
`isthmus denoise` writes them. All denoise the files of the two speakers that training never had,
with white noise or the babble of five other files of theirs, at 0, 5 and 10 dB of SNR:

- `scipy.signal.wiener` with 7 taps, which estimates the noise from the sound.
- A spectral Wiener filter that is told the level of the noise in the file, with the a-priori SNR
  directed by decisions (Ephraim & Malah 1984, equation 51, with 0.9 as its constant). Told the
  spectrum of that very noise, it is the mark beside the target.
- Spectral gating (`noisereduce`) that is told the very noise, and that is told nothing.

Filters that are told the noise know what nobody knows; ours is told nothing.

    python tests/benchmarks/denoise_audio.py [white | babble] ... [--epochs N] [--data FOLDER]
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import soundfile
import torch
from measuring import machine, tell
from numpy.typing import NDArray
from scipy.signal import istft, stft, wiener

import isthmus
from isthmus.quiet import quieten
from isthmus.registry import Pair
from isthmus.spec import Settings

FOLDER = Path(__file__).parents[3] / "shared" / "data" / "fsdd"
RATE_HZ = 8000
HELD_OUT = ("george", "theo")
SNRS_DB = (0.0, 5.0, 10.0)
VOICES = 5
FRAME = 256
# The corruption of the job file, and its levels: a margin around those that are measured.
CORRUPTIONS = {"white": "gaussian", "babble": "babble"}
LEVELS = [-5, 15]
Sound = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Case:
    """A file with noise.

    Attributes:
        snr_db: The signal-to-noise ratio.
        clean: Shape (T,). Without the noise.
        noise: Shape (T,).
    """

    snr_db: float
    clean: Sound
    noise: Sound

    @property
    def noisy(self) -> Sound:
        return self.clean + self.noise


def speaker_of(path: Path) -> str:
    return path.stem.split("_")[1]


def si_sdr_db(estimate: Sound, clean: Sound) -> float:
    """Le Roux et al. 2019, "SDR - Half-Baked or Well Done?", arXiv:1811.02508, equation 4."""
    estimate, clean = estimate - estimate.mean(), clean - clean.mean()
    target = (estimate @ clean) / (clean @ clean) * clean
    return float(10 * np.log10((target**2).sum() / ((estimate - target) ** 2).sum()))


def cases_of(kind: str, files: list[Path]) -> Iterator[Case]:
    """Yields every file of the held-out speakers at every SNR."""
    rng = np.random.default_rng(0)
    sounds = [np.asarray(soundfile.read(path)[0]) for path in files]
    for snr_db in SNRS_DB:
        for number, clean in enumerate(sounds):
            if kind == "white":
                noise = rng.standard_normal(len(clean))
            else:
                others = [each for place, each in enumerate(sounds) if place != number]
                noise = babble(others, len(clean), rng)
            power = (clean**2).mean() / (noise**2).mean()
            yield Case(snr_db, clean, noise * np.sqrt(power / 10 ** (snr_db / 10)))


def babble(others: list[Sound], length: int, rng: np.random.Generator) -> Sound:
    total = np.zeros(length)
    for number in rng.choice(len(others), VOICES, replace=False):
        voice = others[number] / np.sqrt((others[number] ** 2).mean())
        total += np.resize(np.roll(voice, rng.integers(len(voice))), length)
    return total


# -- the filters --------------------------------------------------------------------------------


def told_wiener(case: Case, *, of_spectrum: bool) -> Sound:
    how = {"fs": RATE_HZ, "nperseg": FRAME, "noverlap": FRAME * 3 // 4}
    spectrum = stft(case.noisy, **how)[2]
    noise_power = (np.abs(stft(case.noise, **how)[2]) ** 2).mean(axis=1)
    if not of_spectrum:
        noise_power = np.full_like(noise_power, noise_power.mean())
    gains = np.empty(spectrum.shape)
    before = np.zeros(len(noise_power))
    for frame, magnitudes in enumerate(np.abs(spectrum).T):
        posterior = magnitudes**2 / noise_power
        prior = np.maximum(0.9 * before + 0.1 * np.maximum(posterior - 1, 0), 10**-2.5)
        gains[:, frame] = prior / (1 + prior)
        before = gains[:, frame] ** 2 * posterior
    return np.asarray(istft(gains * spectrum, **how)[1][: len(case.noisy)])


def gating(case: Case, *, is_told: bool) -> Sound:
    from noisereduce import reduce_noise

    told = {"stationary": True, "y_noise": case.noise} if is_told else {}
    return np.asarray(reduce_noise(y=case.noisy, sr=RATE_HZ, n_fft=FRAME, **told))


FILTERS: dict[str, Callable[[Case], Sound]] = {
    "wiener_7_taps": lambda case: np.asarray(wiener(case.noisy, 7)),
    "spectral_wiener_told_level": lambda case: told_wiener(case, of_spectrum=False),
    "spectral_gating_told": lambda case: gating(case, is_told=True),
    "spectral_gating": lambda case: gating(case, is_told=False),
}


# -- ours ---------------------------------------------------------------------------------------


def trained_pair(kind: str, files: list[Path], epochs: int, settings: Settings) -> Pair:
    """Trains a pair; the job names the data, the noise and how long to train."""
    job = {
        "name": f"speech-{kind}",
        "data": {"path": [str(path) for path in files]},
        "variant": {
            "name": "denoising",
            "corruption": CORRUPTIONS[kind],
            "level": LEVELS,
            "level_in": "snr_db",
        },
        "scoring": "reconstruction",
        "training": {
            "epochs": epochs,
            "global_batch_size": 16,
            "schedule": "cosine",
            "warm_up_epochs": 1,
            "early_stopping": None,
            "precision": "bfloat16",
        },
    }
    result = isthmus.train(job, settings=settings)
    return isthmus.load(str(result.pair), settings=settings)


def ours(pair: Pair, cases: list[Case], folder: Path) -> list[Sound]:
    """Returns what the pair makes of whole files, as `isthmus denoise` writes them."""
    noisy, clean = folder / "noisy", folder / "clean"
    noisy.mkdir()
    for number, case in enumerate(cases):
        soundfile.write(noisy / f"{number:04}.wav", case.noisy, RATE_HZ, "FLOAT")
    pair.denoise(str(noisy), str(clean))
    return [
        np.asarray(soundfile.read(clean / f"{number:04}.wav")[0]) for number in range(len(cases))
    ]


def gains(cases: list[Case], made: list[Sound]) -> dict[str, float]:
    """Returns the mean gain at each SNR."""
    each: dict[str, list[float]] = {}
    for case, sound in zip(cases, made, strict=True):
        gained = si_sdr_db(sound, case.clean) - si_sdr_db(case.noisy, case.clean)
        each.setdefault(f"{case.snr_db:g}_db", []).append(gained)
    return {name: float(np.mean(values)) for name, values in each.items()}


def measure(kind: str, epochs: int, data: Path, folder: Path) -> bool:
    files = sorted(data.glob("*.wav"))
    held_out = [path for path in files if speaker_of(path) in HELD_OUT]
    cases = list(cases_of(kind, held_out))
    settings = Settings.from_environment({}, folder)
    began_s = time.process_time()
    pair = trained_pair(kind, [path for path in files if path not in held_out], epochs, settings)
    trained_s = time.process_time() - began_s
    found = gains(cases, ours(pair, cases, folder))
    beside = {name: gains(cases, [each(case) for case in cases]) for name, each in FILTERS.items()}
    target = {snr: max(each[snr] for each in beside.values()) for snr in found}
    mark = gains(cases, [told_wiener(case, of_spectrum=True) for case in cases])
    return tell(
        f"denoise-audio-{kind}",
        unit="dB of SI-SDR gained",
        ours=found,
        target=target,
        met=all(found[snr] > target[snr] for snr in found),
        better="higher",
        mark=mark,
        mark_of="a spectral Wiener filter told the spectrum of the very noise",
        **beside,
        files=len(held_out),
        epochs=epochs,
        training_cpu_s=trained_s,
        **machine(),
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("noises", nargs="*", default=[])
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--data", type=Path, default=FOLDER)
    asked = parser.parse_args()
    quieten()
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    for kind in asked.noises or CORRUPTIONS:
        with tempfile.TemporaryDirectory() as temporary:
            measure(kind, asked.epochs, asked.data, Path(temporary))


if __name__ == "__main__":
    main()
