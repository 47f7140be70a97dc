"""The noise that the autoencoder itself finds in a row, at several levels of noise."""

from __future__ import annotations

from typing import Annotated, ClassVar, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from isthmus.scores._reference import Reference
from isthmus.scores._score import Score, Views, settled
from isthmus.spec import SpecModel


class Denoising(Score):
    """Scores a row by how far the autoencoder moves it when noise of several levels is added.

    Of each level the displacements of a few draws are averaged, which cancels the noise itself;
    what is left points to where the rows are more usual. The levels are put on the scale of normal
    rows and averaged. It is meant for `variant: denoising`, and costs a pass through both halves
    for each draw of each level.

    Source: Livernoche et al. 2026, "Kurtosis-Guided Denoising Score Matching for Tabular Anomaly
    Detection", arXiv:2605.06955; several levels as in Mahmood et al. 2020, "Multiscale Score
    Matching for Out-of-Distribution Detection", arXiv:2010.13132.
    """

    class Config(SpecModel):
        """The noise."""

        levels: tuple[Annotated[float, Field(gt=0.0, le=100.0)], ...] = Field(
            default=(0.1, 0.3), min_length=1, max_length=16
        )
        """The standard deviations of the noise, in scaled units; each above 0."""
        draws: int = Field(default=2, ge=1, le=64)
        """The number of draws of each level. Each is added to a row and also taken from it."""

    SUMMARY: ClassVar[str] = "the noise that the autoencoder finds in a row; variant denoising"
    FITTED: ClassVar[tuple[str, ...]] = ("noise",)
    options: Config
    noise: Tensor

    def __init__(self, options: SpecModel) -> None:
        """Creates a score that is not fitted yet."""
        super().__init__(options)
        self.references = nn.ModuleList(Reference() for _ in self.options.levels)

    def fit(self, train: Views, held_out: Views, seed: int) -> None:
        """Draws the noise, which is the same for every row, and learns how normal rows score."""
        generator = torch.Generator().manual_seed(seed)
        shape = (self.options.draws, *train.scaled.shape[1:])
        self.keep("noise", torch.randn(shape, generator=generator))
        for level, reference in self._levels():
            both = [self._displacement(views, level) for views in (train, held_out)]
            reference.fit(torch.cat(both))

    def forward(self, views: Views) -> Tensor:
        """Computes the mean over the levels, shape (B,); 0 is usual."""
        found = [
            reference(settled(self._displacement(views, level)))
            for level, reference in self._levels()
        ]
        return torch.stack(found).mean(dim=0)

    def _displacement(self, views: Views, level: float) -> Tensor:
        """Returns the length of the mean displacement, shape (B,)."""
        moved = [
            views.reconstructed(views.scaled + sign * level * draw)
            for draw in self.noise
            for sign in (1, -1)
        ]
        displacement = torch.stack(moved).mean(dim=0) - views.rows
        return displacement.square().mean(dim=1).sqrt()

    def _levels(self) -> list[tuple[float, Reference]]:
        references = [cast("Reference", reference) for reference in self.references]
        return list(zip(self.options.levels, references, strict=True))
