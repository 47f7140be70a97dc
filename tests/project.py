"""A folder in which a user has trained and promoted a pair, for the tests that put it to work."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import isthmus
from isthmus.jobs.specs import load_job_file
from isthmus.jobs.train import TrainResult
from isthmus.spec import JobSpec, Settings

JOB = Path(__file__).parents[1] / "pipelines" / "jobs" / "digits.yaml"
NOISE_SIGMA = 0.3
PIXEL_RANGE = 16.0


@dataclass(frozen=True)
class Project:
    """A user's folder.

    Attributes:
        folder: The folder of its store.
        settings: The settings of that store.
        spec: The spec of the trained pair.
        result: The result of the training.
        clean: Shape (N, 8, 8): digits that training never saw.
        noisy: The same with noise.
    """

    folder: Path
    settings: Settings
    spec: JobSpec
    result: TrainResult
    clean: np.ndarray
    noisy: np.ndarray


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> Project:
    """Trained with two workers through Ray, registered and promoted; one for the session."""
    from isthmus.data import read_rows, split_rows

    folder = tmp_path_factory.mktemp("project")
    before = Path.cwd()
    os.chdir(folder)
    try:
        settings = Settings.from_environment()
        spec = load_job_file(JOB, ["training.epochs=60"])
        result = isthmus.train(spec)
        assert result.pair is not None
        isthmus.promote("digits", result.pair.version)
    finally:
        os.chdir(before)
    rows, data = read_rows(spec.data)
    clean = rows.values[split_rows(rows, data, spec.training.seed).test].reshape(-1, 8, 8)
    noise = np.random.default_rng(0).normal(0.0, NOISE_SIGMA * PIXEL_RANGE, clean.shape)
    return Project(folder, settings, spec, result, clean, (clean + noise).astype(np.float32))


@pytest.fixture
def in_project(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The project, made the current folder."""
    monkeypatch.chdir(project.folder)
    return project
