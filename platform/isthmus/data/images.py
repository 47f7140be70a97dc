"""Images: folders of png and jpg, or arrays of shape (N,H,W), (N,H,W,C) or (N,C,H,W)."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.data.array_layout import ArrayLayout, layout_of
from isthmus.data.arrays import LoadedArray, key_if_present, load_array
from isthmus.data.bundled import DIGITS_WHITE, IMAGE_SET
from isthmus.data.image_layout import ImageFilesLayout, ResizedLayout
from isthmus.data.labels import folder_labels
from isthmus.data.pixels import ImageHeader, Size, decode, read_header, resize
from isthmus.data.quality import rows_without_missing
from isthmus.data.rows import FloatArray, Labels, Layout, Rows
from isthmus.data.storage import ARRAY_ENDINGS, IMAGE_ENDINGS, Source, folder_of, list_files
from isthmus.errors import DataError
from isthmus.spec import DataSpec
from isthmus.types import DataKind, Shape


def read_images(source: Source, spec: DataSpec) -> tuple[Rows, DataSpec]:
    """Reads rows of shape (C, H, W) to train on, and fills in `key`.

    Images are grey (C = 1) unless one of them is coloured.

    Raises:
        DataError: If the images cannot be read, or differ in size with no `image_size` set.
    """
    if not source.is_array:
        return _read_files(source, spec, None), spec
    loaded = load_array(source, spec.key, spec.labels)
    values, layout = _oriented(loaded, source)
    rows = _array_rows(values, layout, loaded.labels, source, spec)
    return rows, spec.model_copy(update={"key": loaded.key})


def read_images_like(source: Source, data: DataSpec, row_shape: Shape) -> Rows:
    """Reads rows of the shape (C, H, W) that a trained pair needs.

    Arrays may be (N, C, H, W), (N, H, W, C), (N, H, W) if C is 1, or flat; files may be a folder
    or a single image. Images of another size are resized if `data.image_size` is set.

    Raises:
        DataError: If the images are not of that shape.
    """
    if not source.is_array:
        return _read_files(source, data, row_shape)
    loaded = load_array(source, key_if_present(source, data.key), None)
    values, layout = oriented_like(loaded, source, data.image_size is not None, row_shape)
    return _array_rows(values, layout, None, source, data)


# -- arrays -------------------------------------------------------------------------------------


def _oriented(loaded: LoadedArray, source: Source) -> tuple[NDArray[Any], Layout]:
    """The array as (N, C, H, W), not copied; of two possible axes, the shorter is the channels'."""
    array = loaded.values
    if array.ndim not in (3, 4):
        raise DataError(
            f"{source.name}: has shape {array.shape}; images need (N, height, width), "
            "(N, height, width, channels) or (N, channels, height, width): reshape it"
        )
    channels_last = array.ndim == 4 and array.shape[3] < array.shape[1]
    layout = layout_of(array, source, loaded.key, channels_last=channels_last)
    if array.ndim == 3:
        return array[:, None], layout
    return (np.moveaxis(array, -1, 1) if channels_last else array), layout


def oriented_like(
    loaded: LoadedArray, source: Source, is_resized: bool, row_shape: Shape
) -> tuple[NDArray[Any], ArrayLayout]:
    """The array as (N, C, H, W), not copied, for a pair that takes rows of (C, H, W).

    Raises:
        DataError: If its shape is none that such rows have.
    """
    array = loaded.values
    found = array.shape[1:]
    channels, height, width = row_shape
    flat = (channels * height * width,)
    if found == flat:
        return array.reshape(len(array), *row_shape), layout_of(array, source, loaded.key)

    def fits(shape: Shape) -> bool:
        return shape == row_shape or (is_resized and len(shape) == 3 and shape[0] == channels)

    if fits(found):
        return array, layout_of(array, source, loaded.key)
    if len(found) == 2 and fits((1, *found)):
        return array[:, None], layout_of(array, source, loaded.key)
    if len(found) == 3 and fits((found[2], *found[:2])):
        layout = layout_of(array, source, loaded.key, channels_last=True)
        return np.moveaxis(array, -1, 1), layout
    shapes: list[Shape] = [row_shape, (height, width, channels), flat]
    if channels == 1:
        shapes.insert(0, (height, width))
    shown = " or ".join(str(("N", *shape)).replace("'", "") for shape in shapes)
    raise DataError(
        f"{source.name}: has shape {array.shape}; the model takes images of shape {shown}"
    )


def _array_rows(
    array_NCHW: NDArray[Any],
    layout: Layout,
    labels: Labels | None,
    source: Source,
    spec: DataSpec,
) -> Rows:
    with np.errstate(over="ignore"):  # beyond float32: infinite, and refused as that
        values = np.ascontiguousarray(array_NCHW, dtype=np.float32)
    size = values.shape[2:]
    if spec.image_size is not None and spec.image_size != size:
        values = np.stack([resize(image, spec.image_size) for image in values])
        layout = ResizedLayout(layout, (size[0], size[1]))
    rows = Rows(values, DataKind.IMAGES, layout, labels)
    kept = rows_without_missing(values, spec.missing, None, source.name)
    return rows if kept is None else rows.take(kept)


# -- files --------------------------------------------------------------------------------------


def _read_files(source: Source, spec: DataSpec, row_shape: Shape | None) -> Rows:
    if source.path.is_file() and source.ending not in IMAGE_ENDINGS:
        readable = ", ".join((*IMAGE_ENDINGS, *ARRAY_ENDINGS))
        raise DataError(
            f"{source.name}: data.kind: images is read from a folder or from {readable}"
        )
    names = list_files(source, IMAGE_ENDINGS, "images")
    folder = folder_of(source)
    # Headers first: files that do not fit are found in moments, before any is decoded.
    headers = [read_header(folder / name, source.called(name)) for name in names]
    _refuse_mixed_depths(names, headers, source)
    if row_shape is None:
        channels = 3 if any(header.is_colour for header in headers) else 1
        size = spec.image_size or _common_size(names, headers, source)
    else:
        channels, size = row_shape[0], (row_shape[1], row_shape[2])
        if spec.image_size is None:
            _refuse_other_sizes(names, headers, size, source)
    factor = _brightness(spec, headers[0])
    values = _decode_all(folder, names, channels, size, factor, source)
    labels = folder_labels(names, spec.labels, source.name) if row_shape is None else None
    layout = ImageFilesLayout(folder, tuple(names), factor, is_single=source.path.is_file())
    return Rows(values, DataKind.IMAGES, layout, labels)


def _decode_all(
    folder: Path,
    names: Sequence[str],
    channels: int,
    size: Size,
    factor: float,
    source: Source,
) -> FloatArray:
    values = np.empty((len(names), channels, *size), dtype=np.float32)

    def read(position: int) -> None:
        name = names[position]
        pixels = decode(folder / name, source.called(name), channels)
        np.multiply(resize(pixels, size), factor, out=values[position], dtype=np.float32)

    with ThreadPoolExecutor() as pool:  # Pillow decodes outside Python's lock
        for _ in pool.map(read, range(len(names))):
            pass
    return values


def _brightness(spec: DataSpec, header: ImageHeader) -> float:
    """What pixels are multiplied by to be in the units of the data that were trained on."""
    # Only of this set is it known what white is: other arrays must be in the units of the files.
    return DIGITS_WHITE / header.white if spec.path == IMAGE_SET else 1.0


def _common_size(names: Sequence[str], headers: Sequence[ImageHeader], source: Source) -> Size:
    first = headers[0].size
    for name, header in zip(names, headers, strict=True):
        if header.size != first:
            raise DataError(
                f"{source.name}: images differ in size: {names[0]} is {_shown(first)} and {name} "
                f"{_shown(header.size)} (height x width); set data.image_size"
            )
    return first


def _refuse_other_sizes(
    names: Sequence[str], headers: Sequence[ImageHeader], size: Size, source: Source
) -> None:
    for name, header in zip(names, headers, strict=True):
        if header.size != size:
            raise DataError(
                f"{source.called(name)}: is {_shown(header.size)} (height x width) and the "
                f"model takes {_shown(size)}; resize it, or train with data.image_size set"
            )


def _refuse_mixed_depths(
    names: Sequence[str], headers: Sequence[ImageHeader], source: Source
) -> None:
    deep = {header.white: name for name, header in zip(names, headers, strict=True)}
    if len(deep) > 1:
        raise DataError(
            f"{source.name}: {deep[65535]} has 16 bits a pixel and {deep[255]} has 8; "
            "convert them to one depth"
        )


def _shown(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
