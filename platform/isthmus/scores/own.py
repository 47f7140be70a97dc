"""The score that the variant's paper defines; the reconstruction error where it defines none."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from torch import Tensor

from isthmus.core import Autoencoder, VariationalAutoencoder
from isthmus.scores._score import Score, Views, settled
from isthmus.spec import SpecModel


class Own(Score):
    """Scores a row as the variant itself does, by `Autoencoder.score`.

    For usad, dagmm and deep_svdd that is the score of their paper; for vae and its kin the negative
    evidence lower bound; and for all others the mean squared error of the reconstruction in scaled
    units.
    """

    class Config(SpecModel):
        """The score of vae and its kin."""

        bound: bool = True
        """Whether variational variants score by their bound. False is the mean squared error, by
        which pairs of up to format 4 score; of other variants it changes nothing."""

    SUMMARY: ClassVar[str] = "what the variant's paper says, vae by its bound; else squared error"
    options: Config

    def fit(self, train: Views, held_out: Views, seed: int) -> None:
        """Learns nothing, because the variant has learned in training."""

    def forward(self, views: Views) -> Tensor:
        """Computes the variant's own score, shape (B,)."""
        if self.is_error_of(views.module):
            return settled(views.module.reconstruction_error(views.raw))
        return settled(views.module.score(views.raw))

    def exportable(self, module: Autoencoder) -> Callable[[Views], Tensor]:
        """Returns a function that computes the same with operations that ONNX supports."""
        if self.is_error_of(module):
            return self.forward
        score = module.exportable_score()
        return lambda views: settled(score(views.raw))

    def is_error_of(self, module: Autoencoder) -> bool:
        """Returns whether the score of a module's rows is their reconstruction error."""
        if isinstance(module, VariationalAutoencoder):
            return not (self.options.bound and module.has_bound)
        return type(module).score is Autoencoder.score
