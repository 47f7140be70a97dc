"""Scores that compare a row with a memory of normal rows, whose size is bounded."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from isthmus.core import Autoencoder
from isthmus.scores._score import Score, Views, settled
from isthmus.scores._space import Space, SpaceName
from isthmus.spec import SpecModel

# So many distances stay in a core's cache, from one operation to the next. Calls for fewer rows at
# once, or for many more, gain nothing.
_DISTANCES_AT_ONCE = 2**17
_ROWS_AT_ONCE = (128, 512)
# `memory: auto` keeps so many of many rows, and no more numbers than the score says.
_AUTO_ROWS = (256, 1024)
# So few training rows are all kept: leaving any out costs more than their distances.
_KEPT_WHOLE = 4096

# Squared distances below this share of a usual squared length are lost in float32, as they are the
# difference of large numbers; and torch and ONNX lose them differently.
_RESOLUTION = 1e-3

MemorySize = Annotated[int, Field(ge=2, le=65_536)] | Literal["auto"]


class MemoryScore(Score):
    """A score by the distances of a row to the normal rows of a memory.

    Attributes:
        memory: The points of the normal rows, shape (M, P).
        lengths: Their squared lengths, shape (M,).
        resolution: Shape (). The squared distance below which rows count as alike.
    """

    class Config(SpecModel):
        """The size of the memory, and the space of the distances."""

        memory: MemorySize = "auto"
        """The most rows that are kept; of more training rows, as many centres of k-means. What a
        score costs in time and on disk grows with it. `auto`: all of up to 4096 training rows;
        of more, from 256 to 1024, fewer for wider rows."""
        space: SpaceName = "combined"
        """The space in which distances are measured. combined: the row, its residual and, except
        of tables, its latent side by side.
        tempered: rows whose features are scaled by their quartiles, with their tails drawn
        in."""

    FITTED: ClassVar[tuple[str, ...]] = ("memory", "lengths", "resolution")
    USES_LATENTS: ClassVar[bool] = True
    AUTO_NUMBERS: ClassVar[int] = 20_480
    """The numbers that `memory: auto` keeps, which set what a row costs."""
    options: Config
    memory: Tensor
    lengths: Tensor
    resolution: Tensor

    def __init__(self, options: SpecModel) -> None:
        """Creates a score that is not fitted yet."""
        super().__init__(options)
        self.space = Space(self.options.space)
        self._taken = torch.zeros(0, dtype=torch.int64)

    @abstractmethod
    def from_distances(self, points: Tensor, squares: Tensor) -> Tensor:
        """Computes scores, shape (B,).

        Args:
            points: The points of the rows, shape (B, P).
            squares: Their squared distances to the rows of the memory, shape (B, M).
        """

    def fit(self, train: Views, held_out: Views, seed: int) -> None:
        """Keeps the training rows, or as many centres of them as the memory holds."""
        self.space.fit(train)
        points = self.space(train)
        size = self._size(*points.shape)
        is_whole = len(points) <= size
        # Which of the rows are in the memory is only asked while fitting, and not stored.
        self._taken = torch.arange(len(points) if is_whole else 0)
        if not is_whole:
            points = _centres(points, size, seed)
        self.keep("memory", points)
        lengths = points.square().sum(dim=1)
        self.keep("lengths", lengths)
        least = torch.finfo(lengths.dtype).tiny
        self.keep("resolution", (_RESOLUTION * lengths.median()).clamp(min=least))

    def forward(self, views: Views) -> Tensor:
        """Computes the scores, shape (B,), a few rows at a time."""
        points = self.space(views)
        found = [self._score(part) for part in torch.split(points, self._rows_at_once())]
        return settled(torch.cat(found))

    def exportable(self, module: Autoencoder) -> Callable[[Views], Tensor]:
        """Returns a function that computes the scores of all rows at once."""
        return lambda views: settled(self._score(self.space(views)))

    def of_normal_rows(self, train: Views, held_out: Views) -> Tensor:
        """Computes the scores of normal rows; a row of the memory is not compared with itself."""
        points, found = self.space(train), []
        place = torch.full((len(points),), -1, dtype=torch.int64)
        place[self._taken] = torch.arange(len(self._taken))
        at_once = self._rows_at_once()
        for part, places in zip(
            torch.split(points, at_once), torch.split(place, at_once), strict=True
        ):
            squares = self._squares(part)
            remembered = (places >= 0).nonzero().squeeze(1)
            squares[remembered, places[remembered]] = torch.inf
            found.append(self.from_distances(part, squares))
        return settled(torch.cat(found))

    def apart(self) -> Tensor:
        """Returns the squared distances within the memory; that of a row to itself is infinite."""
        squares = self._squares(self.memory)
        return squares.fill_diagonal_(torch.inf)

    def _size(self, count: int, width: int) -> int:
        if self.options.memory != "auto":
            return self.options.memory
        if count <= _KEPT_WHOLE:
            return _KEPT_WHOLE
        fewest, most = _AUTO_ROWS
        return min(max(self.AUTO_NUMBERS // width, fewest), most)

    def _rows_at_once(self) -> int:
        fewest, most = _ROWS_AT_ONCE
        return min(max(_DISTANCES_AT_ONCE // len(self.memory), fewest), most)

    def _score(self, points: Tensor) -> Tensor:
        return self.from_distances(points, self._squares(points))

    def _squares(self, points: Tensor) -> Tensor:
        products = torch.addmm(self.lengths, points, self.memory.T, alpha=-2)
        return products.add_(points.square().sum(dim=1, keepdim=True)).clamp_(min=0)


def _centres(points: Tensor, count: int, seed: int) -> Tensor:
    """Returns the centres of k-means, which stand for rows better than a sample does.

    Source: Sculley 2010, "Web-scale k-means clustering", WWW.
    """
    from sklearn.cluster import MiniBatchKMeans  # only fitting needs it, and no use of a pair does

    clustering = MiniBatchKMeans(
        count, init="random", n_init=1, max_iter=10, batch_size=2048, random_state=seed
    )
    found = clustering.fit(points.cpu().numpy()).cluster_centers_
    return torch.from_numpy(found).to(points)
