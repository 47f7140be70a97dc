"""The base class of all anomaly scores, and the views of rows that a score may look at."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import cached_property
from math import prod
from typing import ClassVar

import torch
from torch import Tensor

from isthmus.core import Autoencoder
from isthmus.scores._fitted import Fitted
from isthmus.spec import SpecModel
from isthmus.types import DataKind

# A detection scores no larger batches; only the rows that a score is fitted to are more.
_NUMBERS_AT_ONCE = 2**20
MOST = 1e30
"""The highest score: that of rows whose numbers overflow."""


class Views:
    """Rows as an autoencoder sees them. Each view is computed when a score first asks for it.

    All views are in scaled units, and flat: F is the number of values in a row.

    Attributes:
        module: The trained autoencoder, in evaluation mode.
        raw: The rows in data units, shape (B, *row_shape).
    """

    def __init__(self, module: Autoencoder, raw: Tensor) -> None:
        """Takes rows of shape (B, *row_shape) in data units; computes nothing yet."""
        self.module = module
        self.raw = raw

    @cached_property
    def scaled(self) -> Tensor:
        """The rows in scaled units, shape (B, *row_shape)."""
        scaled: Tensor = self.module.scaling(self.raw)
        return scaled

    @property
    def rows(self) -> Tensor:
        """The rows in scaled units, shape (B, F)."""
        return self.scaled.flatten(1)

    @cached_property
    def latents(self) -> Tensor:
        """The latents of the rows, shape (B, D)."""
        return _in_parts(self._encoded, self.scaled, prod(self.module.plan.row_shape))

    @cached_property
    def reconstructions(self) -> Tensor:
        """The reconstructions of the rows in scaled units, shape (B, F)."""
        row_size = prod(self.module.plan.row_shape)
        # Latents that are larger than the rows are kept for no more than a part of them, unless
        # somebody has asked for them already.
        if self.module.plan.latent_dim > row_size and "latents" not in self.__dict__:
            return _in_parts(self.reconstructed, self.scaled, row_size)
        return _in_parts(self._decoded, self.latents, row_size)

    def _encoded(self, scaled: Tensor) -> Tensor:
        return self.module.latent(self.module.encoder(scaled))

    def _decoded(self, latents: Tensor) -> Tensor:
        return self.module.reconstruction.activate(self.module.decoder(latents)).flatten(1)

    def reconstructed(self, scaled: Tensor) -> Tensor:
        """Reconstructs other rows of shape (B, *row_shape) in scaled units; returns (B, F)."""
        return self._decoded(self._encoded(scaled))

    @property
    def residuals(self) -> Tensor:
        """The rows less their reconstructions, shape (B, F)."""
        return self.rows - self.reconstructions


def _in_parts(function: Callable[[Tensor], Tensor], x: Tensor, row_size: int) -> Tensor:
    """Applies a net to rows; to many of them in parts, as its feature maps may fill the memory."""
    at_once = max(1, _NUMBERS_AT_ONCE // row_size)
    if len(x) <= at_once:
        return function(x)
    return torch.cat([function(part) for part in torch.split(x, at_once)])


class Score(Fitted):
    """An anomaly score: a number for each row, which is higher for stranger rows.

    A score is fitted after training, on rows that are taken for normal; it never sees an anomaly.
    What it finds it keeps in the buffers that `FITTED` names, and these are stored with the pair.
    """

    class Config(SpecModel):
        """The score's own options, which the job file gives beside the score's name."""

    SUMMARY: ClassVar[str] = ""
    """A line that says what the score measures and when to choose it."""
    KINDS: ClassVar[tuple[DataKind, ...]] = tuple(DataKind)
    """The kinds of data that the score accepts."""
    USES_LATENTS: ClassVar[bool] = False
    """Whether the score is fitted to latents, so that fewer rows fit into memory where latents are
    larger than rows."""

    def __init__(self, options: SpecModel) -> None:
        """Creates a score that is not fitted yet.

        Args:
            options: The score's `Config`.
        """
        super().__init__()
        self.options = options

    @abstractmethod
    def fit(self, train: Views, held_out: Views, seed: int) -> None:
        """Learns what normal rows are like.

        Args:
            train: Normal rows to learn from: those that the autoencoder was trained on, or a
                sample of them, and the held-out rows too, unless calibration rests on these.
            held_out: Normal rows that it was not trained on. They may be as few as one.
            seed: The seed of whatever is drawn.
        """

    @abstractmethod
    def forward(self, views: Views) -> Tensor:
        """Computes the scores of rows, shape (B,), finite for finite rows."""

    def exportable(self, module: Autoencoder) -> Callable[[Views], Tensor]:
        """Returns a function that computes `forward` with operations that ONNX supports.

        Args:
            module: The autoencoder whose views the function will be given.
        """
        return self.forward

    def of_normal_rows(self, train: Views, held_out: Views) -> Tensor:
        """Computes how normal rows score that the score has not learned by heart.

        A score that combines others puts them on one scale by these. By default they are the
        scores of all the rows, shape (n,).
        """
        return torch.cat([self(train), self(held_out)])


def rows_at_most(count: int, most: int, seed: int) -> Tensor:
    """Returns the numbers of at most `most` of `count` rows, drawn by the seed and sorted."""
    if count <= most:
        return torch.arange(count)
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(count, generator=generator)[:most].sort().values


def settled(scores: Tensor) -> Tensor:
    """Makes scores finite, shape (B,): a score that overflowed, or is no number, is the highest."""
    return scores.nan_to_num(nan=MOST, posinf=MOST, neginf=-MOST).clamp(-MOST, MOST)
