"""After a training that loses to PCA, the last lines say so and what to try."""

from __future__ import annotations

import pytest

from isthmus.cli.train import print_loss_to_pca

LOST = {"test/reconstruction_mse": 0.2, "test/pca_mse": 0.1, "epochs": 10.0}


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        ({**LOST, "best_epoch": 10.0}, "train longer, --set training.epochs=50"),
        ({**LOST, "best_epoch": 3.0}, "Try isthmus tune"),
    ],
    ids=["too short", "converged"],
)
def test_a_training_that_loses_to_pca_says_what_to_try(capsys, metrics, said):
    print_loss_to_pca(metrics)
    shown = capsys.readouterr().out
    assert "It loses to PCA of the same size: its error is 2 times PCA's" in shown
    assert said in shown


@pytest.mark.parametrize("pca", [{"test/pca_mse": 0.3}, {}], ids=["wins", "no PCA"])
def test_a_training_that_does_not_lose_says_nothing(capsys, pca):
    print_loss_to_pca({"test/reconstruction_mse": 0.2, "epochs": 10.0, "best_epoch": 3.0, **pca})
    assert capsys.readouterr().out == ""
