"""The spaces in which rows are compared with normal rows."""

from __future__ import annotations

from math import sqrt
from typing import ClassVar, Literal

import torch
from torch import Tensor

from isthmus.scores._fitted import Fitted
from isthmus.scores._score import Views
from isthmus.scores._sketch import Sketch

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

    `combined` is the row, its residual and, except of tables, its latent side by side: strange is
    what lies far from all normal rows, off the manifold, or far in the latent space. `tempered` is
    the row alone, with each feature scaled by its quartiles and its tails drawn in by asinh, so
    that no single feature with heavy tails decides.
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
        self.of_rows = Sketch(_WIDEST)
        self.of_latents = Sketch(_WIDEST)

    def fit(self, views: Views) -> None:
        """Learns the scales of the features and of the latents from normal rows."""
        rows, latents = views.rows, views.latents
        self.of_rows.fit(rows.shape[1])
        self.of_latents.fit(latents.shape[1])
        deviation = _deviation(rows, by_feature=_is_of_table(views))
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
            tempered: Tensor = self.of_rows(_tempered(rows))
            return tempered
        # The latents come first, because the reconstructions are then made of them.
        of_latents = []
        if _has_latent(views):
            latents = (views.latents - self.latent_centre) / self.latent_scale
            of_latents = [self.of_latents(latents)]
        residuals = _RESIDUAL_WEIGHT * views.residuals / self.scale
        return torch.cat([self.of_rows(rows), self.of_rows(residuals), *of_latents], dim=1)


def _has_latent(views: Views) -> bool:
    # The row of a table and its residual already say what its latent says, and each value costs
    # time. Of pixels and samples the latent says more than single values do.
    return not _is_of_table(views)


def _is_of_table(views: Views) -> bool:
    return len(views.module.plan.row_shape) == 1


def _tempered(values: Tensor) -> Tensor:
    """Returns the inverse hyperbolic sines, with operations that ONNX's tracer supports."""
    size = values.abs()
    return values.sign() * torch.log(size + (size.square() + 1).sqrt())


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
