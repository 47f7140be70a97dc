"""Writes decoded rows in the form of the input that they were compressed from, without that input.

The writers of the rows are those that every job uses; they are given sources that have the form of
the input, and none of its values.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from isthmus.compression.blank import source_of
from isthmus.compression.forms import (
    MOST_UNCOVERED_STEPS,
    ArrayForm,
    FolderForm,
    Form,
    ImagesForm,
    SeriesForm,
    SoundsForm,
    TableForm,
    check_pixels,
    unpacked,
)
from isthmus.compression.windows import starts_in_pieces
from isthmus.data import Block, Files, Provenance
from isthmus.data.media.image_files import ImageFiles
from isthmus.data.media.orientation import UPRIGHT
from isthmus.data.media.outputs import whole_targets
from isthmus.data.media.pixels import ImageHeader, encode_new
from isthmus.data.media.samples import SampleWriter, SoundHeader
from isthmus.data.media.sound_files import SoundFiles
from isthmus.data.media.windows_in_parts import Merger, count_windows
from isthmus.data.outputs.output import (
    is_array_output,
)
from isthmus.data.rows import FloatArray, WriteBlock
from isthmus.data.steps.series_rows import SeriesRows
from isthmus.spec import DataSpec, RowSchema
from isthmus.types import DataKind


class Rebuilt(ABC):
    """Rows that are written in a form."""

    FILL: ClassVar[float] = np.nan
    """The value that is written in the place of one that is lost."""

    @property
    @abstractmethod
    def counts(self) -> tuple[int | None, ...]:
        """The number of rows of each file; `None` where only the summary tells."""

    @abstractmethod
    def check_output(self, output: Path) -> None:
        """Refuses an output that cannot be written, before the work.

        Raises:
            DataError: Naming what is possible.
        """

    @abstractmethod
    def open_output(
        self, output: Path, provenance: Provenance
    ) -> AbstractContextManager[WriteBlock]:
        """Gives a function that writes blocks; the output appears whole or not at all."""

    def write(self, blocks: Iterable[Block], output: Path, provenance: Provenance) -> None:
        """Writes blocks; the output appears whole or not at all.

        Raises:
            DataError: If it cannot be written, or a block cannot be made.
        """
        self.check_output(output)
        with self.open_output(output, provenance) as write:
            for block in blocks:
                write(block, block.values)

    def block(self, part: int, first: int, values: FloatArray) -> Block:
        """Returns a block of rows.

        Args:
            part: The position of their file.
            first: The number of the first row in it.
            values: The rows.
        """
        return Block(values, {"row": np.arange(first, first + len(values))}, part=part)

    def fill(self) -> float:
        """Returns what stands for a value that is lost."""
        return self.FILL


def rebuilt(form: Form, data: DataSpec, schema: RowSchema, called: str) -> Rebuilt:
    """Returns what writes rows in a form.

    Args:
        form: The form.
        data: The settled data section of the pair.
        schema: The schema of the pair's rows.
        called: The name of the compressed file for messages.

    Raises:
        ValueError: If the form does not fit the pair's rows.
    """
    match form:
        case SeriesForm():
            return _Series(form, data, schema, called)
        case ImagesForm():
            return _Images(form, data, schema, called)
        case SoundsForm():
            return _Sounds(form, data, schema, called)
        case ArrayForm() | TableForm() | FolderForm():
            return _Rows(form, data, schema, called)
        case _:
            raise ValueError(f"a form of {form.form}")


class _Rows(Rebuilt):
    """Rows of arrays and tables."""

    def __init__(
        self,
        form: ArrayForm | TableForm | FolderForm,
        data: DataSpec,
        schema: RowSchema,
        called: str,
    ) -> None:
        self._source = source_of(form, (), data, schema, called)
        self._files = len(form.names) if isinstance(form, FolderForm) else 1
        # Missing values have no place among pixels: grey has.
        self._fill = (schema.white or 0) / 2 if schema.kind is DataKind.IMAGES else np.nan

    @property
    def counts(self) -> tuple[int | None, ...]:
        return (None,) * self._files

    def check_output(self, output: Path) -> None:
        self._source.check_output(output)

    def open_output(
        self, output: Path, provenance: Provenance
    ) -> AbstractContextManager[WriteBlock]:
        return self._source.open_output(output, provenance)

    def fill(self) -> float:
        return self._fill


class _Series(Rebuilt):
    """Windows of series."""

    def __init__(self, form: SeriesForm, data: DataSpec, schema: RowSchema, called: str) -> None:
        channels, window = schema.shape
        pieces = np.array(form.pieces, dtype=np.int64)
        self._shape = sum(form.pieces), channels
        if sum(form.steps_of_files) != self._shape[0]:
            raise ValueError("steps that are not those of the pieces")
        if int(pieces[pieces < window].sum()) > MOST_UNCOVERED_STEPS:
            raise ValueError("more steps in no window than there may be")
        self._pieces, self._order, self._schema = pieces, form.order, schema
        steps = schema.model_copy(update={"kind": DataKind.TABULAR, "shape": (channels,)})
        self._steps = source_of(form.steps, form.steps_of_files, data, steps, called)

    @property
    def counts(self) -> tuple[int | None, ...]:
        window = self._schema.shape[1]
        return (int((-(-self._pieces[self._pieces >= window] // window)).sum()),)

    def check_output(self, output: Path) -> None:
        self._steps.check_output(output)

    @contextmanager
    def open_output(self, output: Path, provenance: Provenance) -> Iterator[WriteBlock]:
        order = unpacked(self._order, self._shape[0])
        starts = starts_in_pieces(self._pieces, self._schema.shape[1])
        none = np.empty(0, dtype=np.int64)
        source = SeriesRows(
            steps=self._steps,
            schema=self._schema,
            signal_TC=np.full(self._shape, np.nan, dtype=np.float32),
            order=order,
            starts=starts,
            begins=none,
            lengths=none,
            pieces=none,
            names={},
            time_format=None,
            labels=None,
        )
        with source.open_output(output, provenance) as write:

            def write_windows(block: Block, values: FloatArray) -> None:
                numbers = block.index["row"]
                first_step = order[starts[numbers]]
                write(Block(values, {"first_step": first_step}), values)

            yield write_windows


class _Images(Rebuilt):
    """Image files; a row is a file."""

    def __init__(self, form: ImagesForm, data: DataSpec, schema: RowSchema, called: str) -> None:
        turns = form.orientations or (UPRIGHT,) * len(form.names)
        each_of = (form.names, form.sizes, form.modes, form.deep, turns)
        if len({len(each) for each in each_of}) != 1:
            raise ValueError("images that do not each have a name, a size and a mode")
        if form.white != schema.white:
            raise ValueError("a white point that is not the pair's")
        if data.patch is None:
            for size in form.sizes:
                check_pixels(size)
        self._headers = tuple(
            ImageHeader(size, mode, is_deep, orientation=turn)
            for _, size, mode, is_deep, turn in zip(*each_of, strict=True)
        )
        self._white = form.white
        files = Files(called, form.names, form.names, is_folder=form.is_folder)
        self._source = ImageFiles(files, schema, self._headers)

    @property
    def counts(self) -> tuple[int | None, ...]:
        return (len(self._headers),)

    def check_output(self, output: Path) -> None:
        self._source.check_output(output)

    @contextmanager
    def open_output(self, output: Path, provenance: Provenance) -> Iterator[WriteBlock]:
        files = self._source.files
        if is_array_output(output):
            with self._source.open_output(output, provenance) as write:

                def write_named(block: Block, values: FloatArray) -> None:
                    names = np.array([files.names[row] for row in block.index["row"]])
                    write(Block(values, {"file": names}), values)

                yield write_named
            return
        with whole_targets(files, output, provenance) as targets:

            def write_files(block: Block, values: FloatArray) -> None:
                for row, pixels in zip(block.index["row"], values, strict=True):
                    header = self._headers[row]
                    factor = np.float32((self._white or header.white) / header.white)
                    encode_new(pixels / factor, header, targets[row], provenance)

            yield write_files

    def fill(self) -> float:
        return (self._white or 0) / 2


class _Sounds(Rebuilt):
    """Windows of sound files, which fade into one another."""

    FILL = 0.0

    def __init__(self, form: SoundsForm, data: DataSpec, schema: RowSchema, called: str) -> None:
        if len(form.names) != len(form.sounds):
            raise ValueError("sounds that do not each have a name")
        channels, self._window = schema.shape
        if any(sound.channels != channels for sound in form.sounds) or form.stride > self._window:
            raise ValueError("sounds that are not of the pair")
        self._headers = tuple(SoundHeader(**sound.model_dump()) for sound in form.sounds)
        self._rate_hz, self._stride = form.rate_hz, form.stride
        files = Files(called, form.names, form.names, is_folder=form.is_folder)
        self._source = SoundFiles(files, schema, self._headers, form.rate_hz, form.stride)

    @property
    def counts(self) -> tuple[int | None, ...]:
        return tuple(
            count_windows(self._length(part), self._window, self._stride)
            for part in range(len(self._headers))
        )

    def block(self, part: int, first: int, values: FloatArray) -> Block:
        last = self._length(part) - self._window
        numbers = np.arange(first, first + len(values))
        starts = np.minimum(numbers * self._stride, last)
        name = self._source.files.names[part]
        index = {"file": np.full(len(values), name), "start_s": starts / self._rate_hz}
        return Block(values, index, starts=starts, part=part)

    def check_output(self, output: Path) -> None:
        self._source.check_output(output)

    @contextmanager
    def open_output(self, output: Path, provenance: Provenance) -> Iterator[WriteBlock]:
        if is_array_output(output):
            with self._source.open_output(output, provenance) as write:
                yield write
            return
        with whole_targets(self._source.files, output, provenance) as targets:
            underway: _Underway | None = None

            def write_windows(block: Block, values: FloatArray) -> None:
                nonlocal underway
                if underway is None or underway.part != block.part:
                    if underway is not None:
                        underway.finish()
                    header, target = self._headers[block.part], targets[block.part]
                    writer = SampleWriter(target, header, self._rate_hz, {})
                    underway = _Underway(block.part, Merger(self._length(block.part)), writer)
                assert block.starts is not None  # noqa: S101 (every block of sounds has them)
                underway.write(underway.merger.add(values, block.starts), last=False)

            try:
                yield write_windows
                if underway is not None:
                    underway.finish()
            finally:
                if underway is not None:
                    underway.writer.close()

    def _length(self, part: int) -> int:
        return max(self._window, self._headers[part].frames_at(self._rate_hz))


@dataclass
class _Underway:
    """A sound file of which windows are being written."""

    part: int
    merger: Merger
    writer: SampleWriter

    def write(self, samples_TC: FloatArray, *, last: bool) -> None:
        self.writer.write(np.nan_to_num(samples_TC), last=last)

    def finish(self) -> None:
        self.write(self.merger.finish(), last=True)
        self.writer.close()
