"""A job that says only name and data trains well on few rows too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import isthmus
from isthmus.jobs.few_rows import fitted_to
from isthmus.jobs.specs import check_job
from isthmus.spec import JobSpec, Settings


def job(**training: object) -> JobSpec:
    return check_job({"name": "few", "data": {"path": "rows.npy"}, "training": training})


@pytest.mark.parametrize(("rows", "batch"), [(24, 4), (300, 16), (1500, 64), (5000, 128)])
def test_fewer_rows_have_smaller_batches(rows: int, batch: int):
    assert fitted_to(job(), rows).training.global_batch_size == batch


def test_few_rows_have_as_many_steps_and_as_much_patience_as_training_needs():
    training = fitted_to(job(), 24).training
    assert training.epochs == 250
    assert training.early_stopping is not None
    assert training.early_stopping.patience == 34
    assert fitted_to(job(), 5000).training == job().training


def test_what_the_job_says_stays():
    said = {"global_batch_size": 64, "epochs": 7, "early_stopping": {"patience": 2}}
    assert fitted_to(job(**said), 24).training == job(**said).training
    checked = check_job(job(**said))
    assert fitted_to(checked, 24).training == checked.training


def test_a_checked_job_remembers_what_it_does_not_say():
    assert fitted_to(check_job(check_job(job())), 24).training.global_batch_size == 4


@pytest.mark.parametrize("count", [30, 80])
def test_the_default_job_reconstructs_few_rows_better_than_their_mean(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(count)
    factors = generator.standard_normal((count, 2))
    np.save("rows.npy", factors @ generator.standard_normal((2, 8)))
    settings = Settings.from_environment({}, tmp_path)
    result = isthmus.train({"name": "few", "data": {"path": "rows.npy"}}, settings=settings)
    assert result.metrics["test/reconstruction_mse"] < 0.3
    assert result.metrics["best_epoch"] > 5
