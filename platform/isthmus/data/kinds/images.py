"""Images: files of them, or arrays of shape (N,H,W), (N,H,W,C) or (N,C,H,W)."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from isthmus.data import arrays
from isthmus.data.array_rows import ArrayRows
from isthmus.data.arrays import LoadedArray, open_array
from isthmus.data.arrays.sklearn import DIGITS_WHITE, IMAGE_SET
from isthmus.data.kinds import Kind, UseOptions
from isthmus.data.many import ManyRows
from isthmus.data.media.image_files import (
    open_image_files,
    open_image_files_like,
    refuse_smaller,
)
from isthmus.data.media.pixels import IMAGE_ENDINGS, Size
from isthmus.data.pixel_units import factor_to, white_of
from isthmus.data.rows import RowSource
from isthmus.data.storage.files import Files
from isthmus.errors import DataError
from isthmus.kinds import KindFacts
from isthmus.spec import DataSpec, RowSchema
from isthmus.types import DataKind, ScalingMode, Shape

_logger = logging.getLogger(__name__)


class Images(Kind):
    """Rows of shape (C, H, W): channels, height, width."""

    ENDINGS = IMAGE_ENDINGS
    SUMMARY = "images, from files of them and arrays of three or four axes"
    FACTS = KindFacts(
        words="images of {shape} (channels, height, width)",
        place="pixel",
        shown_as="pictures",
        split_by="content",
        fields=("image_size", "patch", "augment", "patches_per_epoch"),
        scaling=ScalingMode.MINMAX,
        net="conv",
        any_size_net="drunet",
        coded_any_size_net="compressive",
        score="kernel_denoising",  # measured on digits; see tabular.py
        noise_filter="non-local means",
        noise_measure="psnr",
    )

    @classmethod
    def open(cls, files: Files, spec: DataSpec) -> tuple[RowSource, DataSpec]:
        """Opens the images to train on, and settles `key`."""
        if not _is_array(files):
            return open_image_files(files, spec)
        parts: list[ArrayRows] = []
        for place in range(len(files)):
            path, loaded = _opened(files, place, spec.key, spec.labels, is_needed=True)
            rows = _oriented(loaded, path, files.called(place), spec)
            if parts and rows.schema.shape != parts[0].schema.shape:
                raise DataError(
                    f"{rows.name}: has images of shape {rows.schema.shape} and {parts[0].name} of "
                    f"{parts[0].schema.shape}; set data.image_size, or data.patch"
                )
            parts.append(rows)
        parts = _of_one_white(parts, files.name)
        settled = spec.model_copy(update={"key": parts[0].array.key})
        return (ManyRows(tuple(parts), files.names) if files.is_folder else parts[0]), settled

    @classmethod
    def open_like(
        cls, files: Files, data: DataSpec, schema: RowSchema, options: UseOptions
    ) -> RowSource:
        """Opens images for a trained pair.

        Arrays may be (N, C, H, W), (N, H, W, C), (N, H, W) if C is 1, or flat. Images of another
        size are resized if `data.image_size` is set, and stay as they are if `data.patch` is.
        """
        if not _is_array(files):
            return open_image_files_like(files, data, schema, options)
        parts = []
        for place in range(len(files)):
            path, loaded = _opened(files, place, data.key, None, is_needed=False)
            rows = _like_trained(loaded, path, files.called(place), data, schema)
            parts.append(replace(rows, sets_aside=options.set_aside))
        return ManyRows(tuple(parts), files.names) if files.is_folder else parts[0]


def _is_array(files: Files) -> bool:
    if arrays.is_bundled(files.name) or files.endings <= set(arrays.endings()):
        return True
    if not files.endings <= set(IMAGE_ENDINGS):
        readable = ", ".join((*IMAGE_ENDINGS, *arrays.endings()))
        raise DataError(f"{files.name}: data.kind: images is read from a folder or from {readable}")
    return False


def _opened(
    files: Files, place: int, key: str | None, labels: str | None, *, is_needed: bool
) -> tuple[Path | None, LoadedArray]:
    path = None if arrays.is_bundled(files.name) else files.path(place)
    address, name = str(path or files.name), files.called(place)
    return path, open_array(address, name, key, labels, key_is_needed=is_needed)


def _oriented(loaded: LoadedArray, path: Path | None, name: str, spec: DataSpec) -> ArrayRows:
    """Opens an array to train on; of two possible axes, the shorter is the channels'."""
    shape = loaded.values.shape
    if len(shape) not in (3, 4):
        raise DataError(
            f"{name}: has shape {shape}; images need (N, height, width), "
            "(N, height, width, channels) or (N, channels, height, width): reshape it"
        )
    channels_last = len(shape) == 4 and shape[3] < shape[1]
    row_shape: Shape = shape[1:] if len(shape) == 4 else (1, *shape[1:])
    if channels_last:
        row_shape = (shape[3], *shape[1:3])
    size: Size = (row_shape[1], row_shape[2])
    resized = None
    if spec.image_size is not None and spec.image_size != size:
        resized = spec.image_size
        row_shape = (row_shape[0], *spec.image_size)
    if spec.patch is not None:
        refuse_smaller(name, size, spec.patch)
        row_shape = (row_shape[0], spec.patch, spec.patch)
    white = DIGITS_WHITE if name == IMAGE_SET else white_of(loaded.values)
    schema = RowSchema(kind=DataKind.IMAGES, shape=row_shape, white=white)
    return ArrayRows(loaded, path, name, spec, schema, channels_last=channels_last, resized=resized)


def _of_one_white(parts: list[ArrayRows], name: str) -> list[ArrayRows]:
    """Scales arrays of several bit depths to the white point of the deepest."""
    whites = {rows.schema.white for rows in parts}
    if len(whites) == 1:
        return parts
    if None in whites:
        raise DataError(
            f"{name}: some arrays hold whole numbers and some do not, so that their white points "
            "cannot be compared; convert them to one type"
        )
    white = max(each for each in whites if each is not None)
    _logger.warning("%s: arrays of several bit depths are scaled to white at %g", name, white)
    return [
        replace(
            rows,
            schema=rows.schema.model_copy(update={"white": white}),
            factor=white / (rows.schema.white or white),
        )
        for rows in parts
    ]


def _like_trained(
    loaded: LoadedArray, path: Path | None, name: str, data: DataSpec, schema: RowSchema
) -> ArrayRows:
    is_any_size = data.patch is not None
    is_resized, row_shape = data.image_size is not None, schema.shape
    found = loaded.values.shape[1:]
    channels, height, width = row_shape

    def fits(shape: Shape) -> bool:
        is_image = len(shape) == 3 and shape[0] == channels
        return shape == row_shape or (is_image and (is_resized or is_any_size))

    channels_last = False
    if found == (channels * height * width,) and not is_any_size:
        size: Size = (height, width)
    elif fits(found):
        size = (found[1], found[2])
    elif len(found) == 2 and fits((1, *found)):
        size = (found[0], found[1])
    elif len(found) == 3 and fits((found[2], *found[:2])):
        channels_last, size = True, (found[0], found[1])
    else:
        raise DataError(
            _shape_refused(name, loaded.values.shape, row_shape, is_any_size=is_any_size)
        )
    return ArrayRows(
        loaded,
        path,
        name,
        data,
        schema,
        channels_last=channels_last,
        resized=(height, width) if is_resized and size != (height, width) else None,
        factor=factor_to(schema, loaded.values, name),
    )


def _shape_refused(name: str, shape: Shape, row_shape: Shape, *, is_any_size: bool) -> str:
    channels, height, width = row_shape
    if is_any_size:
        last = "(N, H, W)" if channels == 1 else f"(N, H, W, {channels})"
        return (
            f"{name}: has shape {shape}; the model takes images of any size, of shape "
            f"(N, {channels}, H, W) or {last}"
        )
    shapes: list[Shape] = [row_shape, (height, width, channels), (channels * height * width,)]
    if channels == 1:
        shapes.insert(0, (height, width))
    shown = " or ".join(str(("N", *each)).replace("'", "") for each in shapes)
    return f"{name}: has shape {shape}; the model takes images of shape {shown}"
