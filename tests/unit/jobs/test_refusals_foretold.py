"""What the gate will refuse is said right after training, and nobody is sent to promote it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import isthmus
from isthmus.cli.train import print_next
from isthmus.jobs.specs import check_job, plan_for
from isthmus.spec import Settings
from isthmus.tracking.refusal_in_words import refusal_in_words
from isthmus.types import DataKind

LOST = {"test/reconstruction_mse": 0.2, "test/pca_mse": 0.1, "epochs": 10.0, "best_epoch": 3.0}
NOISE = {"test/noise_mse_ratio": 0.5, "test/noise_mse_ratio_pca": 0.4}


def said_of(metrics: dict[str, float], **promotion: object) -> str:
    job = check_job({"name": "x", "data": {"path": "x.npy"}, "promotion": promotion})
    data = job.data.model_copy(update={"kind": DataKind.TABULAR})
    return refusal_in_words(metrics, plan_for(job, data, (8,)), job.promotion)


@pytest.mark.parametrize(
    ("best_epoch", "advice"),
    [(10.0, "train longer, with training.epochs=50"), (3.0, "Try isthmus tune")],
    ids=["too short", "converged"],
)
def test_a_pair_that_loses_to_pca_is_told_with_what_to_try(best_epoch: float, advice: str):
    said = said_of({**LOST, "best_epoch": best_epoch})
    assert "It loses to PCA of the same size: its error is 2 times PCA's" in said
    assert advice in said


def test_a_denoiser_is_held_against_pca_on_rows_with_noise():
    assert "on held-out rows with noise" in said_of({**LOST, **NOISE})
    assert said_of({**LOST, **NOISE, "test/noise_mse_ratio": 0.3}) == ""
    assert "makes held-out rows with noise worse" in said_of({**LOST, "test/noise_mse_ratio": 1.1})


@pytest.mark.parametrize(
    ("metrics", "promotion"),
    [
        ({**LOST, "test/pca_mse": 0.3}, {}),
        ({name: each for name, each in LOST.items() if name != "test/pca_mse"}, {}),
        (LOST, {"beat_pca": False}),
        (LOST, {"policy": "warn"}),
    ],
    ids=["wins", "no PCA", "not asked for", "only warned of"],
)
def test_nothing_is_foretold_of_a_pair_that_the_gate_lets_pass(
    metrics: dict[str, float], promotion: dict[str, Any]
):
    assert said_of(metrics, **promotion) == ""


def test_neither_the_terminal_nor_a_notebook_sends_one_to_promote_what_loses_to_pca(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(1)
    np.save("rows.npy", generator.standard_normal((60, 2)) @ generator.standard_normal((2, 8)))
    job = {
        "name": "loser",
        "data": {"path": "rows.npy"},
        "latent_dim": 2,
        "training": {"epochs": 1, "learning_rate": 1e-7},
    }
    result = isthmus.train(job, settings=Settings.from_environment({}, tmp_path))
    assert result.pair is not None
    print_next(result.pair, result.refusal)
    for shown in (capsys.readouterr().out, result._repr_html_()):
        words = re.sub(r"\s+", " ", shown)
        assert "loses to PCA of the same size" in words
        assert "training.epochs=5" in words or "isthmus tune" in words
        assert "Next:" not in words
