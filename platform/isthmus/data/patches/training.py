"""The patches of training: their places are drawn from a seed, so that nothing of them is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.data.patches.cutting import PatchPlaces, cut, places_on_a_grid
from isthmus.data.patches.whole_images import WholeImages
from isthmus.data.prepared.scaling import ScalingStatistics
from isthmus.data.rows import FloatArray, IndexArray
from isthmus.types import Shape

# With fewer patches an epoch would be over before it says anything of how training goes.
_FEWEST_IN_AN_EPOCH = 2048
# How patches are laid that are turned by none, one, two and three quarters, as in `PatchPlaces`.
_QUARTER_TURNS = np.array([0, 4 | 2, 1 | 2, 4 | 1])


@dataclass(frozen=True, eq=False)
class TrainingPatches:
    """The patches of an epoch, at places that a seed tells.

    Attributes:
        views: One measurement of the images, or two of the same images: noisy and clean, or both
            noisy.
        numbers: The numbers of the images that are trained on.
        patch: The height and the width of a patch in pixels.
        count: The number of patches in an epoch.
        augment: The random changes of patches: `flip`, `turn`.
        statistics: The statistics by which they are scaled; `None` if they are not.
    """

    views: tuple[WholeImages, ...]
    numbers: IndexArray
    patch: int
    count: int
    augment: Sequence[str] = ()
    statistics: ScalingStatistics | None = None

    def __len__(self) -> int:
        return self.count

    @property
    def shape(self) -> Shape:
        """(count, *row_shape), or (count, 2, *row_shape) with two views."""
        row_shape = (self.views[0].channels, self.patch, self.patch)
        return (self.count, *((len(self.views),) if len(self.views) > 1 else ()), *row_shape)

    def draw(self, seed: int) -> PatchPlaces:
        """Draws the places of an epoch in random order: each pixel is about equally likely."""
        generator = np.random.default_rng(seed)
        sizes = self.views[0].sizes[self.numbers]
        areas = np.cumsum(sizes.prod(axis=1))
        # Evenly spaced over all pixels, so that each image has its share in each epoch.
        spaced = (np.arange(self.count) + generator.random()) * (areas[-1] / self.count)
        chosen = np.searchsorted(areas, generator.permutation(spaced), side="right")
        chosen = np.minimum(chosen, len(areas) - 1)
        room = sizes[chosen] - self.patch + 1
        corners = np.floor(generator.random((self.count, 2)) * room).astype(np.int64)
        ways = np.zeros(self.count, dtype=np.int64)
        if "turn" in self.augment:
            ways ^= _QUARTER_TURNS[generator.integers(0, 4, self.count)]
        if "flip" in self.augment:
            ways ^= generator.integers(0, 4, self.count)
        return PatchPlaces(self.numbers[chosen], corners[:, 0], corners[:, 1], ways)

    def cut(self, places: PatchPlaces) -> NDArray[Any]:
        """Returns patches as they are, not scaled, shape (n, *shape[1:]), in the images' type."""
        cut_out = cut(self.views, places, self.patch)
        return cut_out if len(self.views) > 1 else cut_out[:, 0]

    def sample(self, most: int | None = None) -> FloatArray:
        """Returns patches on a grid over the images, scaled.

        Args:
            most: The most patches; by default 16 MiB of each view.
        """
        places = places_on_a_grid(self.views[0], self.numbers, self.patch, most)
        patches = self.cut(places).astype(np.float32)
        if self.statistics is not None:
            self.statistics.scale_in_place(patches)
        return patches

    def scaled_by(self, statistics: ScalingStatistics) -> TrainingPatches:
        """Returns the same patches, scaled."""
        return replace(self, statistics=statistics)

    def in_memory(self) -> TrainingPatches:
        """Returns the same patches, of images that can be sent to another machine."""
        return replace(self, views=tuple(images.in_memory() for images in self.views))

    def close(self) -> None:
        """Removes the files of images that are not in memory."""
        for images in self.views:
            images.close()


def patches_in_an_epoch(images: WholeImages, numbers: IndexArray, patch: int) -> int:
    """Returns how many patches cover the images once, or 2,048 if they are fewer."""
    pixels = int(images.sizes[numbers].prod(axis=1).sum())
    return max(_FEWEST_IN_AN_EPOCH, pixels // patch**2)
