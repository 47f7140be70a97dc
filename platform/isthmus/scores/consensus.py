"""The mean of several scores, each measured in what is usual for normal rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from isthmus.core import Autoencoder
from isthmus.scores._memory import MemorySize
from isthmus.scores._reference import Reference
from isthmus.scores._score import Score, Views
from isthmus.scores.kernel_denoising import KernelDenoising
from isthmus.scores.neighbours import Neighbours
from isthmus.spec import SpecModel


class Consensus(Score):
    """Scores a row by the mean of several scores, each on the scale of normal rows.

    The parts look at a row in different ways: `kernel_denoising` at row, residual and latent side
    by side, and `neighbours` at rows whose features have their tails drawn in, which no single
    feature with rare large values decides. No label is needed: all parts weigh the same.
    """

    class Config(SpecModel):
        """The size of the memories."""

        memory: MemorySize = "auto"
        """The most rows that each part keeps. What a score costs in time and on disk
        grows with it. `auto`: all of up to 4096 training rows; of more, from 256 to 1024, fewer
        for wider rows."""

    SUMMARY: ClassVar[str] = "two scores combined, without labels; the best for tables"
    USES_LATENTS: ClassVar[bool] = True
    options: Config

    def __init__(self, options: SpecModel) -> None:
        """Creates a score that is not fitted yet."""
        super().__init__(options)
        memory = self.options.memory
        self.parts = nn.ModuleList(
            [
                KernelDenoising(KernelDenoising.Config(memory=memory, space="combined")),
                Neighbours(Neighbours.Config(memory=memory, space="tempered")),
            ]
        )
        self.references = nn.ModuleList(Reference() for _ in self.parts)

    def fit(self, train: Views, held_out: Views, seed: int) -> None:
        """Fits each part, and learns how normal rows score by it."""
        for part, reference in self._pairs():
            part.fit(train, held_out, seed)
            reference.fit(part.of_normal_rows(train, held_out))

    def forward(self, views: Views) -> Tensor:
        """Computes the means, shape (B,); 0 is usual, 1 is a usual deviation from it."""
        return _mean([reference(part(views)) for part, reference in self._pairs()])

    def exportable(self, module: Autoencoder) -> Callable[[Views], Tensor]:
        """Returns a function that computes the same with operations that ONNX supports."""
        functions = [(part.exportable(module), reference) for part, reference in self._pairs()]
        return lambda views: _mean([reference(part(views)) for part, reference in functions])

    def _pairs(self) -> list[tuple[Score, Reference]]:
        return [
            (cast("Score", part), cast("Reference", reference))
            for part, reference in zip(self.parts, self.references, strict=True)
        ]


def _mean(scores: list[Tensor]) -> Tensor:
    return torch.stack(scores).mean(dim=0)
