"""An ensemble is trained from several seeds, on folds where calibration is crossed."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import isthmus
from isthmus.jobs import ensembles
from isthmus.jobs.ensembles import Folds
from isthmus.jobs.preparation import prepare
from isthmus.jobs.specs import check_job
from isthmus.progress.checkpoints import Progress
from isthmus.progress.result import FitResult
from isthmus.spec import Settings

RNG = np.random.default_rng(0)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    factors = RNG.standard_normal((60, 2))
    rows = factors @ RNG.standard_normal((2, 5)) + 0.1 * RNG.standard_normal((60, 5))
    pd.DataFrame(rows, columns=list("abcde")).to_csv("rows.csv", index=False)
    steps = np.sin(np.arange(400)[:, None] / 5 + np.arange(2))
    pd.DataFrame(steps, columns=["a", "b"]).to_csv("long.csv", index=False)
    return tmp_path


def job(**training: object) -> dict[str, object]:
    return {
        "name": "small",
        "data": {"path": "rows.csv"},
        "training": {"epochs": 3, **training},
    }


def test_every_row_is_left_out_of_one_fold_and_equal_rows_of_the_same():
    rows = RNG.standard_normal((50, 4)).astype(np.float32)
    rows = np.concatenate([rows, rows[:10]])
    folds = Folds.of(rows, 5, seed=0)
    parts = [folds.left_out_of(member) for member in range(1, 6)]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(60))
    assert min(map(len, parts)) >= 8
    np.testing.assert_array_equal(folds.fold[:10], folds.fold[50:])
    np.testing.assert_array_equal(folds.trained_on(0), np.arange(60))
    assert not set(folds.trained_on(2)) & set(folds.left_out_of(2))


def _finished(state: dict[str, torch.Tensor] | None = None) -> FitResult:
    return FitResult(state, Progress(finished=True))


def test_members_have_seeds_of_their_own(here: Path):
    prepared = prepare(check_job(job(ensemble=3, seed=7)))
    seeds = []

    def fit(number, training, rows):
        seeds.append((number, training.seed))
        assert rows is prepared.scaled
        return _finished()

    prepared = replace(prepared, is_crossed=False)
    assert len(ensembles.train_others(prepared, fit)) == 2
    assert seeds == [(1, 8), (2, 9)]


def test_members_of_a_crossed_calibration_leave_their_fold_out(here: Path):
    prepared = replace(prepare(check_job(job())), is_crossed=True)
    sizes = []

    def fit(number, training, rows):
        sizes.append(len(rows.train))
        return _finished()

    ensembles.train_others(prepared, fit)
    total = len(prepared.scaled.train)
    assert len(sizes) == 5
    assert sum(total - size for size in sizes) == total


def test_an_interrupted_member_ends_the_training(here: Path):
    prepared = replace(prepare(check_job(job(ensemble=4))), is_crossed=False)
    results = iter([_finished(), FitResult(None, Progress())])
    found = ensembles.train_others(prepared, lambda *_: next(results))
    assert [result.progress.finished for result in found] == [True, False]


@pytest.fixture
def settings(here: Path) -> Settings:
    return Settings.from_environment({}, here)


def test_an_ensemble_is_one_pair_and_its_members_differ(settings: Settings):
    result = isthmus.train(job(ensemble=3), settings=settings)
    pair = isthmus.load(str(result.pair), settings=settings)
    assert pair.manifest.detector.members == 3
    weights = [next(iter(member.encoder.parameters())) for member in pair.detector.members]
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])


def test_a_run_that_was_stopped_in_a_member_resumes_with_that_member(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    class StopsInMember:
        member = 1
        is_stopped = False

        def on_member(self, number: int, members: int) -> None:
            self.member = number

        def on_start(self, epochs: int, rows: int, first_epoch: int) -> None:
            pass

        def on_rows(self, epoch: int, done: int) -> None:
            pass

        def on_epoch(self, report: object) -> None:
            if self.member == 2 and not self.is_stopped:
                self.is_stopped = True
                signal.raise_signal(signal.SIGINT)

    long = job(ensemble=3, epochs=400, early_stopping=None)
    whole = isthmus.train(long, settings=settings)
    stopped = isthmus.train(long, settings=settings, reporter=StopsInMember())
    assert stopped.status == "interrupted"
    assert stopped.epochs == 400
    resumed = isthmus.resume(stopped.run_id, settings=settings)
    assert resumed.status == "finished"
    pairs = [isthmus.load(str(each.pair), settings=settings) for each in (whole, resumed)]
    rows = pd.read_csv("rows.csv").to_numpy(np.float32)
    np.testing.assert_allclose(pairs[0].detect(rows).scores, pairs[1].detect(rows).scores)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, "consensus"),
        ({"variant": "dagmm"}, "own"),
        ({"variant": "vae"}, "consensus"),
        ({"scoring": "neighbours"}, "neighbours"),
        ({"data": {"path": "long.csv", "window": 8}}, "kernel_denoising"),
    ],
    ids=["table", "variant with a score of its own", "variant with a bound", "as asked", "series"],
)
def test_the_score_is_chosen_by_the_data_unless_variant_or_job_say_it(
    settings: Settings, asked: dict[str, object], found: str
):
    result = isthmus.train({**job(), **asked}, settings=settings)
    loaded = isthmus.load(str(result.pair), settings=settings)
    assert loaded.manifest.detector.scoring.name == found


def test_small_data_are_calibrated_on_rows_that_members_left_out(settings: Settings):
    result = isthmus.train(job(), settings=settings)
    record = isthmus.load(str(result.pair), settings=settings).manifest.detector
    assert record.calibrated_by == "crossed"
    assert record.members == 6
    assert record.calibration_rows > 40


def test_every_row_of_a_fold_is_calibrated_on_however_large_rows_are(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("isthmus.jobs.detectors._MOST_NUMBERS", 20)  # four rows for a score
    result = isthmus.train(job(), settings=settings)
    record = isthmus.load(str(result.pair), settings=settings).manifest.detector
    assert record.calibration_rows > 40
