"""The score that the variant's paper defines; the reconstruction error where it defines none."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from torch import Tensor

from isthmus.core import Autoencoder
from isthmus.scores._score import Score, Views, settled


class Own(Score):
    """Scores a row as the variant itself does, by `Autoencoder.score`.

    For usad, dagmm and deep_svdd that is the score of their paper; for all others it is the mean
    squared error of the reconstruction in scaled units.
    """

    SUMMARY: ClassVar[str] = "what the variant's paper says; else the squared error"

    def fit(self, train: Views, held_out: Views, seed: int) -> None:
        """Learns nothing, because the variant has learned in training."""

    def forward(self, views: Views) -> Tensor:
        """Computes the variant's own score, shape (B,)."""
        return settled(views.module.score(views.raw))

    def exportable(self, module: Autoencoder) -> Callable[[Views], Tensor]:
        """Returns a function that computes the same with operations that ONNX supports."""
        score = module.exportable_score()
        return lambda views: settled(score(views.raw))
