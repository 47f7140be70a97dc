"""Drafts the data section for files of images and of sounds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from statistics import median

from isthmus.data.columns.labels import FOLDER_LABELS
from isthmus.data.media import pixels, samples
from isthmus.data.media.sound_files import DEFAULT_WINDOW
from isthmus.data.storage.files import Files
from isthmus.drafts.fields import Field
from isthmus.drafts.tables import labels_fields
from isthmus.types import DataKind

_MOST_FILES = 2000
_LARGEST_SIDE, _SMALLEST_SIDE, _SIDE_STEP = 128, 16, 8
_LARGEST_PATCH, _SMALLEST_PATCH = 64, 32
_SHORTEST_WINDOW = 16
_MOST_LABELS = 100


def draft_images(files: Files) -> Iterator[list[Field]]:
    """Yields the data section's fields: the labels of folders, and a size for all images.

    Photos of several sizes without labels are drafted for a denoiser of images of any size, if they
    have room for patches.

    Raises:
        DataError: If a file is no image.
    """
    sizes = [
        pixels.read_header(files.path(place), files.called(place)).size
        for place in range(min(len(files), _MOST_FILES))
    ]
    kind = Field("kind", DataKind.IMAGES.value)
    labels = _labels(files.names)
    if len(set(sizes)) == 1 and max(sizes[0]) <= 2 * _LARGEST_SIDE:
        yield [kind, *labels]
        return
    resized = _resized(sizes)
    patch = min(_LARGEST_PATCH, min(map(min, sizes)) // _SIDE_STEP * _SIDE_STEP)
    if len(set(sizes)) > 1 and patch >= _SMALLEST_PATCH and not labels:
        yield [kind, *_cut(sizes, patch), replace(resized, is_proposal=True)]
    yield [kind, resized, *labels]


def _resized(sizes: Sequence[pixels.Size]) -> Field:
    height, width = (median(size[axis] for size in sizes) for axis in (0, 1))
    shrunk = min(1.0, _LARGEST_SIDE / max(height, width))
    size = [_side(each * shrunk) for each in (height, width)]
    why = f"All are resized to this height and width in pixels; they {_found(sizes)}."
    return Field("image_size", size, why)


def _cut(sizes: Sequence[pixels.Size], patch: int) -> Iterator[Field]:
    why = (
        f"They {_found(sizes)}: a denoiser learns from patches of this side in pixels, and then "
        "takes images of any size. For other variants, leave this and augment out and take "
        "image_size."
    )
    yield Field("patch", patch, why)
    why = "Patches are mirrored and turned by chance, as photos look like photos from all sides."
    yield Field("augment", ["flip", "turn"], why)
    why = "If these hold noise and there are clean versions: a folder of these, by the same names."
    yield Field("clean_path", "clean", why, is_proposal=True)


def _found(sizes: Sequence[pixels.Size]) -> str:
    least, most = ("x".join(map(str, each)) for each in (min(sizes), max(sizes)))
    return f"are {least} to {most}" if least != most else f"are all {least}"


def _side(pixels_: float) -> int:
    return max(_SMALLEST_SIDE, round(pixels_ / _SIDE_STEP) * _SIDE_STEP)


def draft_sounds(files: Files) -> Iterator[list[Field]]:
    """Yields the data section's fields: a window that the shortest file holds.

    Raises:
        DataError: If a file is no sound.
    """
    headers = [
        samples.read_header(files.path(place), files.called(place)) for place in range(len(files))
    ]
    window, shortest = DEFAULT_WINDOW, min(header.frames for header in headers)
    while window > shortest and window > _SHORTEST_WINDOW:
        window //= 2
    lasts_ms = 1000 * window / headers[0].rate_hz
    why = f"Samples in a window: {lasts_ms:.0f} ms at {headers[0].rate_hz:,} Hz."
    yield [
        Field("kind", DataKind.AUDIO.value),
        Field("window", window, why),
        Field("stride", window // 2),
        *_labels(files.names),
    ]


def _labels(names: Sequence[str]) -> list[Field]:
    """Returns the fields about labels if every file lies in one of several subfolders."""
    folders = [name.split("/", 1)[0] for name in names if "/" in name]
    if len(folders) < len(names) or not 2 <= len(set(folders)) <= min(
        _MOST_LABELS, len(names) // 2
    ):
        return []
    return labels_fields(FOLDER_LABELS, folders)
