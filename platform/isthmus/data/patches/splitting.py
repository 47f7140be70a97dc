"""The split of images into those that are trained on and those that are held out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from isthmus.data.columns.quality import refuse_constant
from isthmus.data.partners import same_views
from isthmus.data.patches.cutting import cut, places_on_a_grid
from isthmus.data.patches.training import TrainingPatches, patches_in_an_epoch
from isthmus.data.patches.whole_images import ReadImages, WholeImages, read_images
from isthmus.data.prepared.scaling import Moments, merge_all
from isthmus.data.prepared.splits import joined_by_either, settled, split_images
from isthmus.data.rows import FloatArray, IndexArray, Labels, RowSource
from isthmus.errors import DataError
from isthmus.spec import DataSpec

_NUMBERS_IN_A_STRIP = 2**20


@dataclass(frozen=True, eq=False)
class HeldOutPatches:
    """Patches of held-out images, on a grid over these, in data units.

    Attributes:
        values: Shape (n, C, P, P).
        partners: The same patches of the second view, shape (n, C, P, P), if there is one.
        contents: Shape (n,). The hash of the content of each patch's image, of its clean version
            where there is one.
        labels: Shape (n,). The label of each patch's image, if images have labels.
    """

    values: FloatArray
    partners: FloatArray | None
    contents: IndexArray
    labels: Labels | None


@dataclass(frozen=True, eq=False)
class PatchSplit:
    """The patches of images by the parts of the split; all patches of an image are in one part.

    Attributes:
        train: Patches to train on, not scaled.
        validation: Patches for early stopping.
        calibration: Patches for calibrating scores; none if the share of such images is 0.
        test: Patches that training never sees.
        trained_contents: The hash of the content of each image that is trained on, in all views.
        fingerprint: The sha256 of the images.
        moments: The moments of the images that are trained on.
        calibration_fraction: `data.calibration_fraction`, settled.
    """

    train: TrainingPatches
    validation: HeldOutPatches
    calibration: HeldOutPatches
    test: HeldOutPatches
    trained_contents: IndexArray
    fingerprint: str
    moments: Moments
    calibration_fraction: float


def split_patches(
    source: RowSource, partner: RowSource | None, spec: DataSpec, seed: int
) -> PatchSplit:
    """Reads images of any size, and splits them by their content.

    With clean versions, all noisy ones of one clean image are in one part; of two noisy views, all
    pairs that share an image.

    Args:
        source: The images.
        partner: Their second view, in the same order.
        spec: The settled data section, with `patch`.
        seed: The seed of the split.

    Raises:
        DataError: If the images cannot be read, are too few, or do not fit their second view.
    """
    assert spec.patch is not None  # noqa: S101 (the caller asks)
    fraction = 0.0 if spec.calibration_fraction == "auto" else spec.calibration_fraction
    read = read_images(source)
    views, contents = [read.images], [read.contents]
    try:
        if partner is not None:
            seconds = read_images(partner, read.fingerprint)
            views.append(seconds.images)
            contents.append(seconds.contents)
            _refuse_unlike(read, seconds, spec)
        is_clean = partner is not None and spec.clean_path is not None
        by = contents[1] if is_clean else joined_by_either(*contents)
        split = split_images(by, settled(spec, fraction), seed)
        moments = _moments(read.images, split.train)
        extremes = np.array([moments.lowest, moments.highest], dtype=np.float32)
        refuse_constant(extremes, spec.shown_path)
    except BaseException:
        for images in views:
            images.close()
        raise
    count = spec.patches_per_epoch
    if count == "auto":
        count = patches_in_an_epoch(read.images, split.train, spec.patch)

    def held_out(numbers: IndexArray) -> HeldOutPatches:
        of_images = contents[1 if is_clean else 0]
        return _held_out(read, views, of_images, numbers, spec.patch or 0)

    return PatchSplit(
        train=TrainingPatches(tuple(views), split.train, spec.patch, count, spec.augment),
        validation=held_out(split.validation),
        calibration=held_out(split.calibration),
        test=held_out(split.test),
        trained_contents=np.unique([each[split.train] for each in contents]),
        fingerprint=read.fingerprint.hexdigest(),
        moments=moments,
        calibration_fraction=fraction,
    )


def _held_out(
    read: ReadImages,
    views: list[WholeImages],
    contents: IndexArray,
    numbers: IndexArray,
    patch: int,
) -> HeldOutPatches:
    places = places_on_a_grid(read.images, numbers, patch)
    cut_out = cut(views, places, patch).astype(np.float32)
    return HeldOutPatches(
        values=np.ascontiguousarray(cut_out[:, 0]),
        partners=np.ascontiguousarray(cut_out[:, 1]) if len(views) > 1 else None,
        contents=contents[places.images],
        labels=None if read.labels is None else read.labels[places.images],
    )


def _moments(images: WholeImages, numbers: IndexArray) -> Moments:
    return merge_all(images.channels, map(Moments.of, _strips(images, numbers)))


def _strips(images: WholeImages, numbers: IndexArray) -> Iterator[FloatArray]:
    """Yields images in strips, shape (1, C, h, W): sums of squares take much memory at once."""
    for number in numbers:
        image = images[number]
        rows = max(1, _NUMBERS_IN_A_STRIP // (image.shape[0] * image.shape[2]))
        for top in range(0, image.shape[1], rows):
            yield image[None, :, top : top + rows].astype(np.float32)


def _refuse_unlike(first: ReadImages, second: ReadImages, spec: DataSpec) -> None:
    if len(first.images) != len(second.images):
        raise DataError(
            f"{spec.partner_path}: {len(second.images)} images, and {spec.shown_path} has "
            f"{len(first.images)}; both must show the same things in the same order"
        )
    differ = (first.images.sizes != second.images.sizes).any(axis=1)
    if not differ.any():
        if np.array_equal(first.contents, second.contents):
            raise same_views(spec)
        return
    place = int(differ.argmax())
    others = int(differ.sum()) - 1
    also = f" (and {others} more)" if others else ""
    raise DataError(
        f"{spec.partner_path}: {second.names[place]} is {_shown(second.images, place)} (height x "
        f"width), and {first.names[place]} of {spec.shown_path} {_shown(first.images, place)}{also}"
        "; give both in one size"
    )


def _shown(images: WholeImages, number: int) -> str:
    height, width = images.sizes[number]
    return f"{height}x{width}"
