"""The mean distance to the nearest normal rows."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from isthmus.scores._memory import MemoryScore


class Neighbours(MemoryScore):
    """Scores a row by its mean distance to the k nearest rows of a memory of training rows.

    It finds what lies far from all normal rows, also in a gap between two clusters of them.

    Source: Ramaswamy, Rastogi & Shim 2000, "Efficient algorithms for mining outliers from large
    data sets", SIGMOD; the mean as in Livernoche et al. 2023, "On Diffusion Modeling for Anomaly
    Detection", arXiv:2305.18593, section 4.1; a memory of a bounded size as in Roth et al. 2022,
    "Towards Total Recall in Industrial Anomaly Detection", arXiv:2106.08265.
    """

    class Config(MemoryScore.Config):
        """The number of neighbours, the size of the memory, and the space of the distances."""

        k: int = Field(default=5, ge=1, le=1000)
        """The number of neighbours; less if the memory holds fewer rows."""

    SUMMARY: ClassVar[str] = "the distance to the nearest normal rows; clusters, gaps between them"
    # To find the nearest rows takes as long as to measure the distances.
    AUTO_NUMBERS: ClassVar[int] = 10_240
    options: Config

    def from_distances(self, points: Tensor, squares: Tensor) -> Tensor:
        """Computes the mean distances to the k nearest rows, shape (B,)."""
        # Of normal rows one distance is infinite, that to the row itself.
        k = max(1, min(self.options.k, len(self.memory) - 1))
        nearest = squares.topk(k, dim=1, largest=False, sorted=False).values
        return (nearest + self.resolution).sqrt().mean(dim=1)
