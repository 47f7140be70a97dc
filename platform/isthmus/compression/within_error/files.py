"""Files as tables with all that they hold, and back: arrays and sounds, and what a file is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field, StringConstraints

from isthmus.compression.within_error.exact_file import Append, ExactFile
from isthmus.compression.within_error.table_files import ExactLines, ExactTable, table_form
from isthmus.data import Provenance
from isthmus.data.media.samples import read_header, sound_library
from isthmus.data.outputs.array_output import open_arrays, open_npy
from isthmus.data.outputs.output import (
    ARRAY_OUTPUT_ENDINGS,
    check_ending,
    whole_file,
)
from isthmus.data.outputs.provenance import PROVENANCE_KEY
from isthmus.data.storage.files import ending_of
from isthmus.data.tables import endings as table_endings
from isthmus.errors import DataError
from isthmus.spec import DataSpec, RowSchema
from isthmus.types import DataKind

Side = Annotated[int, Field(ge=1, le=2**26)]
_DTYPE = re.compile(r"^([<>|]?[fiub](1|2|4|8)|[<>]U\d{1,6})$")
DType = Annotated[str, StringConstraints(pattern=_DTYPE)]
_SOUND_ENDINGS = (".wav", ".flac", ".aif", ".aiff", ".au", ".caf", ".w64", ".rf64")
# How the samples of a subtype are read, and the bits to the right of them that are always 0.
_SAMPLES: Mapping[str, tuple[str, int]] = {
    "PCM_S8": ("int16", 8), "PCM_U8": ("int16", 8), "PCM_16": ("int16", 0), "PCM_24": ("int32", 8),
    "PCM_32": ("int32", 0), "FLOAT": ("float32", 0), "DOUBLE": ("float64", 0),
}  # fmt: skip


class ExactArray(ExactFile):
    """An npy, or an npz whose arrays all have a row for each row."""

    form: Literal["exact_array"] = "exact_array"
    keys: tuple[str, ...]
    """The names of the arrays, the pair's first; one empty name for an npy."""
    dtypes: tuple[DType, ...]
    """The type of each."""
    shapes: tuple[tuple[Side, ...], ...]
    """The shape of the rows of each."""

    @cached_property
    def schema_of_parts(self) -> pa.Schema:
        """A column for each number of a row."""
        fields = []
        for key, dtype, shape in zip(self.keys, self.dtypes, self.shapes, strict=True):
            kind = pa.string() if "U" in dtype else pa.from_numpy_dtype(np.dtype(dtype))
            fields += [(f"{key}[{place}]", kind) for place in range(prod(shape))]
        return pa.schema(fields)

    def features(self, data: DataSpec, taken: RowSchema) -> tuple[str, ...]:
        """Returns the columns of the pair's array."""
        width = taken.shape[0] if taken.kind is DataKind.SERIES else prod(taken.shape)
        names = tuple(self.schema_of_parts.names[: prod(self.shapes[0])])
        return names if len(names) == width else ()

    def with_ranges(self, taken: RowSchema) -> RowSchema:
        """Returns it with the range of its channel for each number of an image."""
        if taken.kind is not DataKind.IMAGES or taken.lowest is None or taken.highest is None:
            return taken
        shape = self.shapes[0]
        channel = np.zeros(shape, np.int64)
        if len(shape) == 3:  # of two possible axes, the shorter is the channels'
            is_last = shape[2] < shape[0]
            counted = np.arange(shape[2 if is_last else 0])
            channel += counted if is_last else counted[:, None, None]
        if channel.max() >= len(taken.lowest):  # images of other pairs, which have no features
            return taken
        lowest, highest = (np.array(each)[channel] for each in (taken.lowest, taken.highest))
        return taken.model_copy(
            update={"lowest": tuple(lowest.ravel()), "highest": tuple(highest.ravel())}
        )

    def parts(self, path: Path, called: str, data: DataSpec, rows: int) -> Iterator[pa.Table]:
        """Reads rows of all arrays."""
        arrays = _load_arrays(path, called)
        for first in range(0, len(arrays[self.keys[0]]), rows):
            columns: list[Any] = []
            for key in self.keys:
                some = arrays[key][first : first + rows]
                flat = some.reshape(len(some), -1).astype(some.dtype.newbyteorder("="))
                columns += [np.ascontiguousarray(each) for each in flat.T]
            yield pa.table([_arrow(each, called) for each in columns], schema=self.schema_of_parts)

    @contextmanager
    def open_output(self, output: Path, provenance: Provenance) -> Iterator[Append]:
        """Writes an npy if it was one and is asked for, else an npz."""
        check_ending(output, ARRAY_OUTPUT_ENDINGS, "arrays")
        empty = self._arrays(self.schema_of_parts.empty_table())
        if ending_of(output.name) == ".npy" and len(empty) == 1:
            with open_npy(output, provenance) as append:
                append(*empty.values())
                yield lambda part: append(*self._arrays(part).values())
            return
        with open_arrays(empty, output, provenance) as append_all:
            yield lambda part: append_all(self._arrays(part))

    def _arrays(self, part: pa.Table) -> dict[str, NDArray[Any]]:
        """Returns rows of each array by its name in an npz."""
        arrays, place = dict[str, NDArray[Any]](), 0
        for key, dtype, shape in zip(self.keys, self.dtypes, self.shapes, strict=True):
            columns = [_whole(each) for each in part.columns[place : place + prod(shape)]]
            flat = np.stack(columns, axis=1).astype(dtype)
            arrays[key or "x"] = flat.reshape(part.num_rows, *shape)
            place += prod(shape)
        return arrays


class ExactSound(ExactFile):
    """A sound whose samples are whole numbers or floats."""

    form: Literal["exact_sound"] = "exact_sound"
    channels: Annotated[int, Field(ge=1, le=1024)]
    """The number of channels."""
    rate_hz: Annotated[int, Field(ge=1, le=2**24)]
    """The number of samples a second."""
    file_form: str
    """libsndfile's name of its format."""
    subtype: Literal["PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"]
    """libsndfile's name of the encoding of a sample."""
    tags: Mapping[str, str] = {}
    """The tags of the file, such as title and artist."""

    @cached_property
    def schema_of_parts(self) -> pa.Schema:
        """A column for each channel."""
        kind = pa.from_numpy_dtype(np.dtype(_SAMPLES[self.subtype][0]))
        return pa.schema([(f"channel {number}", kind) for number in range(self.channels)])

    @property
    def unit(self) -> float:
        """The share of the full scale that the number 1 stands for."""
        name, shift = _SAMPLES[self.subtype]
        bits = 8 * np.dtype(name).itemsize - 1 - shift
        return 1.0 if name.startswith("float") else 2.0**-bits

    def features(self, data: DataSpec, taken: RowSchema) -> tuple[str, ...]:
        """Returns the channels; none for a pair of another rate or number of channels."""
        is_like = taken.shape[0] == self.channels and taken.sample_rate_hz == self.rate_hz
        return tuple(self.schema_of_parts.names) if is_like else ()

    def parts(self, path: Path, called: str, data: DataSpec, rows: int) -> Iterator[pa.Table]:
        """Reads samples."""
        soundfile = sound_library()
        name, shift = _SAMPLES[self.subtype]
        try:
            with soundfile.SoundFile(str(path)) as file:
                while len(samples := file.read(rows, dtype=name, always_2d=True)):
                    if shift:
                        samples = samples >> shift
                    columns = [pa.array(np.ascontiguousarray(each)) for each in samples.T]
                    yield pa.table(columns, schema=self.schema_of_parts)
        except soundfile.SoundFileError as error:
            raise DataError(f"{called}: is damaged ({error}); replace it") from error

    @contextmanager
    def open_output(self, output: Path, provenance: Provenance) -> Iterator[Append]:
        """Writes a sound of the same form, rate, subtype and tags."""
        soundfile = sound_library()
        check_ending(output, _SOUND_ENDINGS, "sounds")
        name, shift = _SAMPLES[self.subtype]
        form = self.file_form if output.suffix.lower() in _usual(self.file_form) else None
        try:
            with (
                whole_file(output, provenance) as temporary,
                soundfile.SoundFile(
                    str(temporary), "w", self.rate_hz, self.channels, self.subtype, format=form
                ) as file,
            ):
                for tag, text in self.tags.items():
                    with suppress(soundfile.SoundFileError, AttributeError):
                        setattr(file, tag, text)

                def append(part: pa.Table) -> None:
                    samples = np.stack([_whole(each) for each in part.columns], axis=1)
                    file.write((samples << shift if shift else samples).astype(name))

                yield append
        except (soundfile.SoundFileError, ValueError) as error:
            raise DataError(f"{output}: cannot be written: {error}; name a .wav") from error


AnyExactFile = Annotated[
    ExactTable | ExactLines | ExactArray | ExactSound, Field(discriminator="form")
]


def exact_form(
    path: Path, called: str, data: DataSpec, *, is_exact: bool = False
) -> ExactTable | ExactLines | ExactArray | ExactSound:
    """Returns the form of a file.

    Args:
        path: The local file.
        called: The name for messages.
        data: The settled data section of the pair, which says how a csv is read.
        is_exact: Whether no column has an error, so that every byte of a csv's text is to be kept.

    Raises:
        DataError: If it cannot be written again exactly.
    """
    ending = ending_of(path.name)
    if ending in ARRAY_OUTPUT_ENDINGS:
        return _array_form(path, called, data)
    if ending in _SOUND_ENDINGS:
        return _sound_form(path, called)
    if ending not in table_endings():
        raise DataError(
            f"{called}: --max-error is for tables, {', '.join(ARRAY_OUTPUT_ENDINGS)} and sounds "
            f"({', '.join(_SOUND_ENDINGS)}); leave it out"
        )
    return table_form(path, called, data, is_exact=is_exact)


def _array_form(path: Path, called: str, data: DataSpec) -> ExactArray:
    arrays = _load_arrays(path, called)
    keys = sorted(arrays, key=lambda key: key != data.key)
    rows = len(arrays[keys[0]])
    for key, each in arrays.items():
        is_of_rows = each.ndim > 0 and len(each) == rows and 0 not in each.shape[1:]
        if not _DTYPE.fullmatch(each.dtype.str) or not is_of_rows:
            raise DataError(
                f'{called}: the array "{key}" of shape {each.shape} and type {each.dtype} has no '
                f"value for each of {rows} rows; leave it out of the file"
            )
    return ExactArray(
        keys=tuple(keys),
        dtypes=tuple(arrays[key].dtype.str for key in keys),
        shapes=tuple(arrays[key].shape[1:] for key in keys),
    )


def _arrow(column: NDArray[Any], called: str) -> pa.Array:
    """Returns a column of an array; texts with all their characters, of which NUL is one."""
    if column.dtype.kind != "U":
        return pa.array(column)
    try:
        return pa.array(column.tolist(), pa.string())
    except (UnicodeError, ValueError) as error:
        raise DataError(
            f"{called}: has a text that is no Unicode ({error}); replace its lone surrogates"
        ) from error


def _whole(column: pa.ChunkedArray) -> NDArray[Any]:
    """Returns a column as an array, where lost values, which have no NaN, are 0 or empty."""
    if column.null_count:
        column = column.fill_null("" if pa.types.is_string(column.type) else 0)
    return np.asarray(column.to_numpy())


def _load_arrays(path: Path, called: str) -> dict[str, NDArray[Any]]:
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"": loaded}
        with loaded:
            return {key: loaded[key] for key in loaded.files if key != PROVENANCE_KEY}
    except (ValueError, OSError, EOFError, KeyError) as error:
        raise DataError(f"{called}: is damaged or no array ({error}); replace it") from error


def _sound_form(path: Path, called: str) -> ExactSound:
    soundfile = sound_library()
    header = read_header(path, called)
    if header.subtype not in _SAMPLES:
        raise DataError(
            f"{called}: its samples are stored as {header.subtype}, with a loss of their own; "
            "--max-error is for PCM and floats, so leave it out"
        )
    with soundfile.SoundFile(str(path)) as file:
        tags = file.copy_metadata()
    return ExactSound.model_validate(
        {
            "channels": header.channels, "rate_hz": header.rate_hz, "file_form": header.form,
            "subtype": header.subtype, "tags": tags,
        }
    )  # fmt: skip


def _usual(form: str) -> Sequence[str]:
    return {"WAVEX": (".wav",), "RF64": (".wav", ".rf64")}.get(form, (f".{form.lower()}",))
