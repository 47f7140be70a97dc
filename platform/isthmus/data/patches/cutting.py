"""Cuts patches out of images, at places on a grid or at given ones.

Shapes: P is the height and the width of a patch in pixels, n a number of patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.data.patches.whole_images import WholeImages
from isthmus.data.rows import FloatArray, IndexArray

# A held-out part, or a sample, has at most so many values: 16 MiB, 1,024 grey patches of 64 x 64.
_MOST_VALUES = 2**22
_FEWEST_PATCHES = 256


@dataclass(frozen=True, eq=False)
class PatchPlaces:
    """The places of n patches.

    Attributes:
        images: Shape (n,). The number of each patch's image.
        tops: Shape (n,). The first row of pixels.
        lefts: Shape (n,). The first column of pixels.
        ways: Shape (n,). How each is laid, a sum of: 4 if rows and columns are exchanged, then 1 if
            it is mirrored left to right, and 2 if upside down.
    """

    images: IndexArray
    tops: IndexArray
    lefts: IndexArray
    ways: IndexArray

    def __len__(self) -> int:
        return len(self.images)

    def take(self, chosen: IndexArray | slice) -> PatchPlaces:
        """Returns some of the places."""
        return PatchPlaces(
            self.images[chosen], self.tops[chosen], self.lefts[chosen], self.ways[chosen]
        )


def places_on_a_grid(
    images: WholeImages, numbers: IndexArray, patch: int, most: int | None = None
) -> PatchPlaces:
    """Returns places that are spread evenly over images, without overlap.

    Args:
        images: The images.
        numbers: The numbers of the images that patches are cut out of.
        patch: P.
        most: The most patches; more are thinned out evenly. By default what fits into 16 MiB, and
            256 at least.
    """
    if most is None:
        most = max(_FEWEST_PATCHES, _MOST_VALUES // (images.channels * patch**2))
    # Only the images whose patches are kept are looked at: there may be millions.
    counts = (images.sizes[numbers] // patch).prod(axis=1)
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    kept = np.arange(total)
    if total > most:
        kept = np.linspace(0, total - 1, most).round().astype(np.int64)
    which = np.searchsorted(ends, kept, side="right")
    chosen = numbers[which]
    within = kept - (ends - counts)[which]
    sizes = images.sizes[chosen]
    across = sizes[:, 1] // patch
    return PatchPlaces(
        images=chosen,
        tops=_spread(within // across, sizes[:, 0], patch),
        lefts=_spread(within % across, sizes[:, 1], patch),
        ways=np.zeros(len(chosen), dtype=np.int64),
    )


def _spread(place: IndexArray, side: IndexArray, patch: int) -> IndexArray:
    """Returns where patches begin that are spread over a side; a single one is in the middle."""
    steps, room = side // patch - 1, side - patch
    return np.asarray(np.where(steps > 0, place * room // np.maximum(steps, 1), room // 2))


def cut(views: Sequence[WholeImages], places: PatchPlaces, patch: int) -> NDArray[Any]:
    """Cuts the same patches out of several views of the same images.

    Returns:
        Shape (n, V, C, P, P) with V the number of views, in the type of the images' pixels.
    """
    dtype = np.result_type(*(images.pixels.dtype for images in views))
    made = np.empty((len(places), len(views), views[0].channels, patch, patch), dtype=dtype)
    columns = (places.images, places.tops, places.lefts, places.ways)
    for place, (number, top, left, way) in enumerate(
        zip(*(column.tolist() for column in columns), strict=True)
    ):
        for view, images in enumerate(views):
            cut_CPP = images[number][:, top : top + patch, left : left + patch]
            made[place, view] = _laid(cut_CPP, way) if way else cut_CPP
    return made


def _laid(patch_CPP: NDArray[Any], way: int) -> NDArray[Any]:
    if way & 4:
        patch_CPP = patch_CPP.swapaxes(1, 2)
    if way & 1:
        patch_CPP = patch_CPP[..., ::-1]
    return patch_CPP[..., ::-1, :] if way & 2 else patch_CPP


def fixed_patches(images: WholeImages, patch: int, numbers: IndexArray | None = None) -> FloatArray:
    """Returns patches on a grid over images, shape (n, C, P, P), in data units.

    Args:
        images: The images.
        patch: P.
        numbers: The numbers of the images that patches are cut out of; by default all.
    """
    numbers = np.arange(len(images)) if numbers is None else numbers
    places = places_on_a_grid(images, numbers, patch)
    return cut([images], places, patch)[:, 0].astype(np.float32)
