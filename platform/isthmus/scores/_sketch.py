"""Wide points as narrow ones: measuring between them costs the same for all data."""

from __future__ import annotations

from math import ceil
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from isthmus.scores._fitted import Fitted


class Sketch(Fitted):
    """Maps points to at most so many values, and keeps the distances between them about the same.

    Each value is added, with a random sign, to one of few sums. Points that are narrow enough are
    left as they are.

    Source: Charikar, Chen & Farach-Colton 2002, "Finding Frequent Items in Data Streams", ICALP.

    Attributes:
        order: The order in which the values are taken, shape (P,); empty if they are left.
        signs: The sign of each value in that order, shape (P,).
    """

    FITTED: ClassVar[tuple[str, ...]] = ("order", "signs")
    order: Tensor
    signs: Tensor

    def __init__(self, widest: int) -> None:
        """Creates a sketch of at most `widest` values, which is not drawn yet."""
        super().__init__()
        self.widest = widest

    def fit(self, width: int) -> None:
        """Draws the sketch of points of that many values; it is the same every time."""
        count = width if width > self.widest else 0
        generator = torch.Generator().manual_seed(width)
        self.keep("order", torch.randperm(count, generator=generator))
        self.keep("signs", torch.randint(0, 2, (count,), generator=generator).float() * 2 - 1)

    def forward(self, points: Tensor) -> Tensor:
        """Returns the sketches of points (B, P), shape (B, widest), or the points themselves."""
        width = len(self.order)
        if width == 0:
            return points
        each = ceil(width / self.widest)
        signed = points[:, self.order] * self.signs
        padded = functional.pad(signed, (0, each * self.widest - width))
        sums: Tensor = padded.reshape(-1, self.widest, each).sum(dim=2)
        return sums
