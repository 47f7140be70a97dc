"""Pairs of every kind, trained for a second, and inputs in which the strange rows are known."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from filelock import FileLock

from isthmus.registry import Pair, fetch_held_out, load
from isthmus.spec import Settings
from tests.challengers import register

NO_LABELS = {"labels": None, "keep_labels": None, "exclude": []}
COLUMNS = ("pressure", "flow", "product", "squared", "sine", "noise")
RATE_HZ = 8000
ODD_HZ = 1900
ODD_ROWS = (40, 170)
ODD_TABLE_ROWS = range(100, 130)


@dataclass(frozen=True)
class Strange:
    """A registered pair, and an input with strange rows.

    Attributes:
        model: The pair's name and version.
        source: The input.
        settings: The settings of the registry.
    """

    model: str
    source: str
    settings: Settings

    @property
    def pair(self) -> Pair:
        """The loaded pair."""
        return load(self.model, self.settings)

    @property
    def held_out(self):
        """The pair's held-out rows."""
        return fetch_held_out(self.pair.manifest, self.settings)


def table_rows(count: int, seed: int) -> pd.DataFrame:
    """A surface of two dimensions among five features, one of noise, and a category."""
    generator = np.random.default_rng(seed)
    a, b = generator.uniform(-2, 2, (2, count))
    noise = generator.normal(0, 1, count)
    features = np.stack([a, b, a * b, a**2, np.sin(2 * a), noise], axis=1)
    rows = pd.DataFrame(features, columns=list(COLUMNS))
    rows["mode"] = np.where(a > 1, "hot", np.where(a < -1, "cold", "mild"))
    rows["label"] = 0
    return rows


def table(folder: Path, settings: Settings) -> Strange:
    """Some rows of a table are strange in "product" alone, which the pair reconstructs well."""
    table_rows(2400, 0).to_csv(folder / "train.csv", index=False)
    new = table_rows(300, 1)
    new.loc[list(ODD_TABLE_ROWS), "product"] += 5.0
    new.loc[list(ODD_TABLE_ROWS), "label"] = 1
    new.to_csv(folder / "new.csv", index=False)
    data = {"categories": ["mode"]}
    pair = register("machine", folder / "train.csv", settings, 800, data=data)
    return Strange(f"{pair.name}/{pair.version}", str(folder / "new.csv"), settings)


def images(folder: Path, settings: Settings) -> Strange:
    """Two images have a bright pixel in row 2, column 9."""
    generator = np.random.default_rng(0)

    def drawn(count: int) -> np.ndarray:
        middle = generator.uniform(4, 8, (count, 2, 1, 1))
        y, x = np.mgrid[:12, :12]
        return np.exp(-((y - middle[:, 0]) ** 2 + (x - middle[:, 1]) ** 2) / 6).astype("float32")

    np.save(folder / "train.npy", drawn(1200))
    new = drawn(250)
    new[list(ODD_ROWS), 2, 9] += 2
    np.save(folder / "new.npy", new)
    data = {**NO_LABELS, "kind": "images"}
    pair = register("blobs", folder / "train.npy", settings, 300, data=data, latent_dim=4)
    return Strange(f"{pair.name}/{pair.version}", str(folder / "new.npy"), settings)


def series(folder: Path, settings: Settings) -> Strange:
    """The load is too high at the steps from 1000 to 1011."""
    generator = np.random.default_rng(0)

    def drawn(count: int) -> pd.DataFrame:
        t = np.arange(count)
        waves = np.stack([np.sin(t / 9), 2 * np.cos(t / 9)], axis=1)
        noisy = waves + generator.normal(0, 0.05, waves.shape)
        return pd.DataFrame(noisy, columns=["temperature", "load"])

    drawn(6000).to_csv(folder / "train.csv", index=False)
    new = drawn(2000)
    new.loc[1000:1011, "load"] += 3
    new.to_csv(folder / "new.csv", index=False)
    data = {**NO_LABELS, "window": 32}
    pair = register("sensor", folder / "train.csv", settings, 300, data=data, latent_dim=6)
    return Strange(f"{pair.name}/{pair.version}", str(folder / "new.csv"), settings)


def sounds(folder: Path, settings: Settings) -> Strange:
    """A tone of 1900 Hz is in the second file, from 1.5 s on."""
    generator = np.random.default_rng(0)

    def hum(path: Path, odd_s: float | None = None) -> None:
        t = np.arange(2 * RATE_HZ) / RATE_HZ
        samples = 0.3 * np.sin(2 * np.pi * 120 * t) + generator.normal(0, 0.02, len(t))
        if odd_s is not None:
            first = int(odd_s * RATE_HZ)
            samples[first : first + 300] += 0.3 * np.sin(2 * np.pi * ODD_HZ * t[:300])
        soundfile.write(path, samples, RATE_HZ)

    for name in ("train", "new"):
        (folder / name).mkdir()
        for number in range(4):
            is_odd = name == "new" and number == 1
            hum(folder / name / f"{number}.wav", 1.5 if is_odd else None)
    data = {**NO_LABELS, "kind": "audio", "window": 512}
    pair = register("hum", folder / "train", settings, 200, data=data, latent_dim=8)
    return Strange(f"{pair.name}/{pair.version}", str(folder / "new"), settings)


KINDS = {"tabular": table, "images": images, "series": series, "audio": sounds}
_TIMEOUT_S = 240.0


@pytest.fixture(scope="session")
def strange(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Strange]:
    """Returns the pair and the input of a kind, made once for all processes of the tests.

    They are in one registry, which is for reading: register nothing in it, and promote nothing.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "strange"
    settings = Settings.from_environment({}, folder)

    def made(kind: str) -> Strange:
        place = folder / kind
        place.mkdir(parents=True, exist_ok=True)
        note = place / "made.json"
        with FileLock(folder / "lock", timeout=_TIMEOUT_S):
            if not note.exists():
                new = KINDS[kind](place, settings)
                note.write_text(json.dumps({"model": new.model, "source": new.source}))
        return Strange(**json.loads(note.read_text()), settings=settings)

    return made
