"""A new kind of data is one new file: it trains, registers, detects, and has a card with it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from isthmus.spec import Settings
from tests import untrained

settings = untrained.settings
PACKAGE = Path(__file__).parents[2] / "platform" / "isthmus"
WAVELENGTHS = 24

# The whole kind: its facts, and a reader of files that no other kind has.
KIND = '''
"""Spectra: files of text, a line for each spectrum, shape (1, wavelengths)."""

from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from isthmus.data.kinds import Kind
from isthmus.data.outputs.output import check_ending, whole_file
from isthmus.data.rows import Block
from isthmus.errors import DataError
from isthmus.kinds import KindFacts
from isthmus.spec import RowSchema
from isthmus.types import DataKind


@dataclass(frozen=True, eq=False)
class SpectrumRows:
    """The spectra of a file."""

    name: str
    values: np.ndarray

    @property
    def schema(self):
        return RowSchema(kind=DataKind("spectra"), shape=self.values.shape[1:])

    @property
    def count(self):
        return len(self.values)

    def blocks(self, *, carry=False):
        yield Block(self.values, {"row": np.arange(len(self.values))})

    def check_output(self, output):
        check_ending(output, (".spectra",), "spectra")

    @contextmanager
    def open_output(self, output, provenance):
        with whole_file(output, provenance) as temporary, temporary.open("w") as file:
            yield lambda block, values: np.savetxt(file, values[:, 0], delimiter=",")


class Spectra(Kind):
    """Spectra of one instrument."""

    SUMMARY = "spectra, from files of text with a line for each"
    ENDINGS = (".spectra",)
    FACTS = KindFacts(
        like="series",
        words="spectra of {shape} (channels, wavelengths)",
        place="wavelength",
        shown_as="curves",
        noise_filter="a Wiener filter",
        noise_measure="si_sdr",
    )

    @classmethod
    def open(cls, files, spec):
        return cls._rows(files), spec

    @classmethod
    def open_like(cls, files, data, schema, options):
        rows = cls._rows(files)
        if rows.schema.shape != schema.shape:
            raise DataError(f"{files.name}: has other wavelengths than the pair's; give those")
        return rows

    @classmethod
    def _rows(cls, files):
        values = np.loadtxt(files.path(0), dtype=np.float32, delimiter=",", ndmin=2)
        return SpectrumRows(files.name, np.ascontiguousarray(values[:, None]))
'''
JOB = """
name: lamps
data: {path: lamps.spectra, calibration_fraction: 0.2}
variant: plain
latent_dim: 3
training: {epochs: 2, global_batch_size: 64}
"""


@pytest.fixture
def installed(tmp_path: Path, settings: Settings) -> Callable[..., str]:
    """Copies the package, adds the file of the kind, and runs Python with that copy."""
    copy = tmp_path / "platform" / "isthmus"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "data" / "kinds" / "spectra.py").write_text(KIND)
    environment = {
        **os.environ,
        "PYTHONPATH": str(copy.parent),
        "MLFLOW_TRACKING_URI": settings.tracking_uri,
        "ISTHMUS_HOME": str(settings.home),
        "COLUMNS": "120",
    }

    def python(*arguments: object, fails: bool = False) -> str:
        done = subprocess.run(
            [sys.executable, *map(str, arguments)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert bool(done.returncode) is fails, done.stderr[-3000:]
        return done.stderr if fails else done.stdout

    return python


def spectra(count: int, seed: int) -> np.ndarray:
    """Spectra of shape (count, wavelengths): two lines whose strengths differ."""
    random = np.random.default_rng(seed)
    places = np.arange(WAVELENGTHS)
    lines = np.exp(-((places - np.array([[6], [16]])) ** 2) / 8)
    return random.uniform(0.5, 1.5, (count, 2)) @ lines + random.normal(0, 0.02, (count, 24))


@pytest.mark.slow
def test_a_kind_of_one_file_trains_registers_detects_and_has_a_card(installed, settings, here):
    np.savetxt("lamps.spectra", spectra(600, 0), delimiter=",")
    np.savetxt("new.spectra", spectra(40, 1), delimiter=",")
    installed("-m", "isthmus", "init", "lamps.spectra", "--output", "drafted.yaml")
    assert "kind: spectra" in Path("drafted.yaml").read_text()

    Path("job.yaml").write_text(JOB)
    installed("-m", "isthmus", "train", "job.yaml")
    card = MlflowClient(settings.tracking_uri).get_model_version("lamps-encoder", "1").description
    assert "spectra of 1 x 24 (channels, wavelengths)" in card
    (listed,) = json.loads(installed("-m", "isthmus", "models", "--json"))
    assert listed["name"] == "lamps"

    model = ("--model", "lamps/1")
    installed("-m", "isthmus", "detect", *model, "new.spectra", "scores.csv", "--explain")
    assert len(pd.read_csv("scores.csv")) == 40
    installed("-m", "isthmus", "denoise", *model, "new.spectra", "made.spectra")
    assert np.loadtxt("made.spectra", delimiter=",").shape == (40, WAVELENGTHS)


@pytest.mark.slow
def test_a_kind_of_one_file_is_known_to_the_job_file_and_the_plugins(installed, here):
    Path("job.yaml").write_text(JOB.replace("lamps.spectra", "a, kind: spectra"))
    installed("-m", "isthmus", "validate", "job.yaml", "--no-data")
    wrong = Path("wrong.yaml")
    wrong.write_text(JOB.replace("lamps.spectra", "a, kind: spectrum"))
    said = installed("-m", "isthmus", "validate", wrong, "--no-data", fails=True)
    assert "'spectra'" in said
    wrong.write_text(Path("job.yaml").read_text() + "net: conv\n")
    said = installed("-m", "isthmus", "validate", wrong, "--no-data", fails=True)
    assert '"conv" does not take spectra; use auto or dense' in said
    wrong.write_text(Path("job.yaml").read_text() + "net: recurrent\n")
    installed("-m", "isthmus", "validate", wrong, "--no-data")  # spectra are like series
