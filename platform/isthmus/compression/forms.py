"""Describes the form of a compressed input, so that decompression can write the rows again."""

from __future__ import annotations

import zlib
from base64 import b85decode, b85encode
from collections.abc import Mapping
from dataclasses import asdict
from math import prod
from operator import not_
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
import pyarrow as pa
from pydantic import AfterValidator, Field, StringConstraints, model_validator

from isthmus.compression.names import Names, check_endings, refusing
from isthmus.compression.within_error.form import ExactForm
from isthmus.data import RowSource
from isthmus.data.array_rows import ArrayRows
from isthmus.data.many import ManyRows
from isthmus.data.media.image_files import ImageFiles
from isthmus.data.media.orientation import UPRIGHT
from isthmus.data.media.pixels import IMAGE_ENDINGS
from isthmus.data.media.samples import FORMATS
from isthmus.data.media.sound_files import SoundFiles
from isthmus.data.outputs.output import ARRAY_OUTPUT_ENDINGS, TABLE_OUTPUT_ENDINGS
from isthmus.data.rows import IndexArray
from isthmus.data.steps.series_rows import SeriesRows
from isthmus.data.table_rows import TableRows
from isthmus.errors import DataError
from isthmus.spec import SpecModel
from isthmus.types import Shape

MOST_UNCOVERED_STEPS = 2**20
"""The most steps of series that no window covers."""
MOST_NUMBERS = 2**29
"""The most numbers of an image of any size."""
# An image is resized to the size that a file declares, so memory is bounded by this.
_MOST_PIXELS = 2**26
# What Pillow calls the pixels of images that are read.
_MODES = (
    *("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB"),
    *("HSV", "I;16", "I;16L", "I;16B", "I;16N"),
)


def _bounded(size: tuple[int, int]) -> tuple[int, int]:
    if prod(size) > MOST_NUMBERS:
        raise ValueError("more pixels than an image in good faith has")
    return size


def _known(mode: str) -> str:
    if mode not in _MODES:
        raise ValueError("no mode of an image")
    return mode


Count = Annotated[int, Field(ge=0, lt=2**40)]
Side = Annotated[int, Field(ge=1, le=2**26)]


def _of_texts(encoding: str) -> str:
    try:
        "".encode(encoding)
    except (LookupError, ValueError) as error:
        raise ValueError("no encoding of texts") from error
    return encoding


Sign = Annotated[str, StringConstraints(min_length=1, max_length=1)]
Size = Annotated[tuple[Side, Side], AfterValidator(_bounded)]
DType = Annotated[str, StringConstraints(pattern=r"^[<>|]?[fiub](1|2|4|8|16)$")]


class ArrayForm(SpecModel):
    """Rows of an array."""

    form: Literal["array"] = "array"
    key: str | None
    """The name of the array in an npz."""
    dtype: DType
    """The type of its numbers, as numpy writes it."""
    row_shape: tuple[Side, ...]
    """The shape of its rows."""
    is_part: bool = False
    """Whether only some of its columns are rows of the pair: these are written."""
    channels_last: bool = False
    """Whether the channels of images are its last axis."""
    is_resized: bool = False
    """Whether its images have another size than the pair's rows."""
    factor: float = Field(default=1.0, gt=0)
    """The factor that its numbers were multiplied by."""
    centre: tuple[float, ...] | None = None
    """The value that was subtracted from each feature."""


class TableForm(SpecModel):
    """Columns of a table that are rows of the pair."""

    form: Literal["table"] = "table"
    columns: tuple[str, ...]
    """The names of the columns."""
    categories: Mapping[str, tuple[str, ...]] = {}
    """The values of each column of categories."""
    floats: Mapping[str, Literal["halffloat", "float", "double"]] = {}
    """The type of each column of floats."""
    delimiter: Sign = ","
    """The sign between the cells of a csv."""
    decimal: Sign = "."
    """The decimal sign in a csv."""
    has_header: bool = True
    """Whether a csv has a line of names."""
    encoding: Annotated[str, AfterValidator(_of_texts)] = "utf-8"
    """The encoding of a csv."""
    centre: tuple[float, ...] | None = None
    """The value that was subtracted from each feature."""


class FolderForm(SpecModel):
    """The files of a folder of arrays or tables."""

    form: Literal["folder"] = "folder"
    names: Names
    """The name of each file."""
    files: tuple[ArrayForm | TableForm, ...]
    """The form of each."""

    @model_validator(mode="after")
    def _have_endings(self) -> Self:
        check_endings(self.names, (*ARRAY_OUTPUT_ENDINGS, *TABLE_OUTPUT_ENDINGS))
        return self


class SeriesForm(SpecModel):
    """Windows of series, each beginning where the one before ends."""

    form: Literal["series"] = "series"
    steps: ArrayForm | TableForm | FolderForm
    """The form of the single steps."""
    steps_of_files: tuple[Count, ...]
    """The number of steps of each file."""
    pieces: tuple[Count, ...]
    """The number of steps of each unbroken piece, in the order of time."""
    order: str | None = None
    """The place in the files of each of these steps, int64, deflated and in base 85; `None` if it
    is the same."""


class ImagesForm(SpecModel):
    """Image files."""

    form: Literal["images"] = "images"
    is_folder: bool
    """Whether they are the files of a folder."""
    names: Names
    """The name of each file."""
    sizes: tuple[Size, ...]
    """The height and width of each."""
    modes: tuple[Annotated[str, AfterValidator(_known)], ...]
    """Pillow's mode of each."""
    deep: tuple[bool, ...]
    """Whether each has 16 bits a channel."""
    white: float | None = Field(gt=0)
    """The value of white among the pair's rows."""
    orientations: tuple[Annotated[int, Field(ge=1, le=8)], ...] = Field((), exclude_if=not_)
    """Exif's number of the orientation in which each is shown; nothing if all are upright."""

    @model_validator(mode="after")
    def _have_endings(self) -> Self:
        if self.is_folder:
            check_endings(self.names, IMAGE_ENDINGS)
        return self


class Sound(SpecModel):
    """The properties of a sound file."""

    frames: Count
    """The number of samples of each channel."""
    channels: Annotated[int, Field(ge=1, le=1024)]
    """The number of channels."""
    rate_hz: Annotated[int, Field(ge=1, le=2**24)]
    """The number of samples a second."""
    form: str
    """libsndfile's name of its format."""
    subtype: str
    """libsndfile's name of the encoding of a sample, such as `PCM_16`."""


class SoundsForm(SpecModel):
    """Sound files."""

    form: Literal["sounds"] = "sounds"
    is_folder: bool
    """Whether they are the files of a folder."""
    names: Names
    """The name of each file."""
    sounds: tuple[Sound, ...]
    """The properties of each file."""
    rate_hz: Annotated[int, Field(ge=1, le=2**24)]
    """The sample rate of the rows."""
    stride: Side
    """The samples from the start of a window to that of the next."""

    @model_validator(mode="after")
    def _have_endings(self) -> Self:
        if self.is_folder:
            check_endings(self.names, tuple(FORMATS))
        return self


Form = Annotated[
    ArrayForm | TableForm | FolderForm | SeriesForm | ImagesForm | SoundsForm | ExactForm,
    Field(discriminator="form"),
]


def form_of(source: RowSource, called: str) -> Form:
    """Returns the form of opened rows.

    Args:
        source: The rows.
        called: The name for messages.

    Raises:
        DataError: If they could not be written again.
    """
    with refusing(called):
        match source:
            case SeriesRows():
                return _of_series(source, called)
            case ImageFiles():
                return _of_images(source)
            case SoundFiles():
                return SoundsForm(
                    is_folder=source.files.is_folder,
                    names=source.files.names,
                    sounds=tuple(Sound.model_validate(asdict(each)) for each in source.headers),
                    rate_hz=source.rate_hz,
                    stride=source.stride,
                )
            case _:
                return _of_steps(source, called)


def _of_images(source: ImageFiles) -> ImagesForm:
    headers, channels = source.headers, source.schema.shape[0]
    for place, header in enumerate(headers):
        most = MOST_NUMBERS // channels if source.is_any_size else _MOST_PIXELS
        if prod(header.size) > most:
            height, width = header.size
            raise DataError(
                f"{source.files.called(place)}: has {width:,} x {height:,} pixels, and at most "
                f"{most:,} can be compressed; cut it into parts"
            )
    orientations = tuple(header.orientation for header in headers)
    return ImagesForm(
        is_folder=source.files.is_folder,
        names=source.files.names,
        sizes=tuple(header.size for header in headers),
        modes=tuple(header.mode for header in headers),
        deep=tuple(header.is_deep for header in headers),
        white=source.schema.white,
        orientations=orientations if set(orientations) != {UPRIGHT} else (),
    )


def _of_steps(source: RowSource, called: str) -> ArrayForm | TableForm | FolderForm:
    if isinstance(source, ManyRows):
        for name, part in zip(source.names, source.parts, strict=True):
            part.check_output(Path(name))
        files = tuple(_of_file(part, called) for part in source.parts)
        return FolderForm(names=source.names, files=files)
    return _of_file(source, called)


def _of_file(source: RowSource, called: str) -> ArrayForm | TableForm:
    match source:
        case ArrayRows():
            values = source.array.values
            return ArrayForm(
                key=source.array.key,
                dtype=values.dtype.str,
                row_shape=values.shape[1:] or (1,),
                is_part=source.chosen is not None,
                channels_last=source.channels_last,
                is_resized=source.resized is not None,
                factor=source.factor,
                centre=source.schema.centre,
            )
        case TableRows():
            types = source.table.types()
            spec = source.spec
            return TableForm(
                columns=source.columns,
                categories=source.expansion.values if source.expansion else {},
                floats={} if types is None else _floats(types, source.columns),
                delimiter=spec.delimiter or source.table.delimiter,
                decimal=spec.decimal,
                has_header=spec.header != "none",
                encoding=spec.encoding,
                centre=source.schema.centre,
            )
    endings = ", ".join((*ARRAY_OUTPUT_ENDINGS, *TABLE_OUTPUT_ENDINGS))
    raise DataError(f"{called}: such rows cannot be compressed; give {endings}, images or sounds")


def _floats(types: pa.Schema, columns: tuple[str, ...]) -> dict[str, str]:
    found = {name: types.field(name).type for name in columns if name in types.names}
    return {name: str(kind) for name, kind in found.items() if pa.types.is_floating(kind)}


def _of_series(source: SeriesRows, called: str) -> SeriesForm:
    pieces = np.bincount(source.pieces)
    window = source.schema.shape[1]
    uncovered = int(pieces[pieces < window].sum())
    if uncovered > MOST_UNCOVERED_STEPS:
        raise DataError(
            f"{called}: {uncovered:,} steps lie in pieces shorter than the window of {window} "
            f"steps, and at most {MOST_UNCOVERED_STEPS:,} may; leave them out"
        )
    steps, order = source.steps, source.order
    is_in_order = np.array_equal(order, np.arange(len(order)))
    return SeriesForm(
        steps=_of_steps(steps, called),
        steps_of_files=_counts(steps, len(order)),
        pieces=tuple(pieces.tolist()),
        order=None if is_in_order else _packed(order),
    )


def _counts(steps: RowSource, total: int) -> tuple[int, ...]:
    if not isinstance(steps, ManyRows):
        return (total,)
    counted = np.zeros(len(steps.parts), dtype=np.int64)
    for block in steps.blocks():
        counted[block.part] += len(block.values)
    return tuple(counted.tolist())


def _packed(order: IndexArray) -> str:
    return b85encode(zlib.compress(order.astype("<i8").tobytes())).decode()


def unpacked(order: str | None, count: int) -> IndexArray:
    """Returns the order of steps that a form holds, shape (count,).

    Raises:
        ValueError: If it is none of so many steps.
    """
    if order is None:
        return np.arange(count)
    try:
        content = zlib.decompressobj().decompress(b85decode(order), 8 * count + 1)
    except zlib.error as error:
        raise ValueError("an order that is damaged") from error
    found = np.frombuffer(content, dtype="<i8") if len(content) == 8 * count else np.empty(0)
    if not np.array_equal(np.sort(found), np.arange(count)):
        raise ValueError("an order that is none of the steps")
    return found.astype(np.int64)


def check_pixels(sides: Shape) -> None:
    """Refuses more pixels than an image may have that is resized.

    Args:
        sides: The shape, of which the last two sides are its height and width.

    Raises:
        ValueError: If it has more.
    """
    if prod(sides[-2:]) > _MOST_PIXELS:
        raise ValueError("an image with more pixels than one in good faith has")
