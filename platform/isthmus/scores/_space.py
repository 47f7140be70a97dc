"""The spaces in which rows are compared with normal rows."""

from __future__ import annotations

from math import ceil, sqrt
from typing import ClassVar, Literal

import torch
from torch import Tensor

from isthmus.scores._fitted import Fitted
from isthmus.scores._score import Views
from isthmus.types import DataKind

SpaceName = Literal["combined", "tempered"]

# A view of more values than this is sketched to as many.
_WIDEST = 256
# What a residual weighs beside the row itself: an error of the reconstruction is rarer than a
# distance between normal rows.
_RESIDUAL_WEIGHT = 2.0
# The standard deviation of a normal distribution over its interquartile range.
_DEVIATION_OF_QUARTILES = 1 / 1.349
# A feature that is mostly one value has no interquartile range; this share of its standard
# deviation then stands for it.
_LEAST_SHARE = 0.1


class Space(Fitted):
    """Maps rows to points, shape (B, P), such that distances between points mean something.

    `combined` is the row, its latent and its residual side by side: strange is what lies far from
    all normal rows, far in the latent space, or off the manifold. `tempered` is the row alone,
    with each feature scaled by its quartiles and its tails drawn in by asinh, so that no single
    feature with heavy tails decides.
    """

    FITTED: ClassVar[tuple[str, ...]] = ("centre", "scale", "latent_centre", "latent_scale")
    centre: Tensor
    scale: Tensor
    latent_centre: Tensor
    latent_scale: Tensor

    def __init__(self, name: SpaceName) -> None:
        """Creates a space that is not fitted yet."""
        super().__init__()
        self.name = name

    def fit(self, views: Views) -> None:
        """Learns the scales of the features and of the latents from normal rows."""
        rows, latents = views.rows, views.latents
        deviation = _deviation(rows, by_feature=views.module.plan.kind is DataKind.TABULAR)
        if self.name == "tempered":
            low, middle, high = _quartiles(rows)
            by_quartiles = (high - low) * _DEVIATION_OF_QUARTILES
            self.keep("centre", middle)
            self.keep("scale", torch.maximum(by_quartiles, _LEAST_SHARE * deviation))
        else:
            self.keep("centre", rows.mean(dim=0))
            self.keep("scale", deviation)
        # A latent weighs as much as a row, however many values it has.
        share = sqrt(rows.shape[1] / latents.shape[1])
        self.keep("latent_centre", latents.mean(dim=0))
        self.keep("latent_scale", _deviation(latents, by_feature=True) / share)

    def forward(self, views: Views) -> Tensor:
        """Returns the points of rows, shape (B, P)."""
        rows = (views.rows - self.centre) / self.scale
        if self.name == "tempered":
            return narrowed(torch.asinh(rows))
        latents = (views.latents - self.latent_centre) / self.latent_scale
        residuals = _RESIDUAL_WEIGHT * views.residuals / self.scale
        return torch.cat([narrowed(part) for part in (rows, latents, residuals)], dim=1)


def _deviation(values: Tensor, *, by_feature: bool) -> Tensor:
    """Returns the standard deviations, shape (F,), or one for all; 1 where nothing varies."""
    found = values.std(dim=0, correction=0)
    if not by_feature:
        found = found.square().mean().sqrt().expand_as(found)
    return torch.where(found > torch.finfo(found.dtype).eps, found, 1.0)


def _quartiles(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    ordered = values.sort(dim=0).values
    last = len(values) - 1
    return ordered[last // 4], ordered[last // 2], ordered[last - last // 4]


def narrowed(values: Tensor, widest: int = _WIDEST) -> Tensor:
    """Sketches wide points such that the distances between them stay about the same.

    Args:
        values: Points, shape (B, P).
        widest: The greatest P that is left as it is.

    Returns:
        Shape (B, P), or (B, widest) if P is greater.

    Source: Charikar, Chen & Farach-Colton 2002, "Finding Frequent Items in Data Streams", ICALP:
    each value is added, with a random sign, to one of few sums.
    """
    width = values.shape[1]
    if width <= widest:
        return values
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(width, generator=generator)
    signs = torch.randint(0, 2, (width,), generator=generator).to(values) * 2 - 1
    each = ceil(width / widest)
    missing = each * widest - width
    shuffled = (values * signs)[:, order.to(values.device)]
    padded = torch.nn.functional.pad(shuffled, (0, missing))
    return padded.reshape(-1, widest, each).sum(dim=2)
