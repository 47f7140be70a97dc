"""Rows of image files, shape (C, H, W): one file is one row."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from isthmus.data.columns.labels import folder_labels
from isthmus.data.kinds import UseOptions
from isthmus.data.media.outputs import open_array, whole_targets
from isthmus.data.media.pixels import (
    IMAGE_ENDINGS,
    WHITE_8_BITS,
    WHITE_16_BITS,
    ImageHeader,
    Size,
    check_depth,
    decode,
    encode,
    read_header,
)
from isthmus.data.media.readable import ReadableFiles, SetAside, read_headers
from isthmus.data.outputs.output import (
    ARRAY_OUTPUT_ENDINGS,
    check_ending,
    check_folder,
    is_array_output,
)
from isthmus.data.outputs.provenance import Provenance
from isthmus.data.rows import Block, FloatArray, Labels, Rejected, WriteBlock, rows_in_a_block
from isthmus.data.storage.files import Files
from isthmus.errors import DataError
from isthmus.resources import cpus
from isthmus.spec import DataSpec, RowSchema
from isthmus.types import DataKind

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """The rows of image files, decoded a block at a time.

    Images of any size come in blocks of one size each, whatever the shape in the schema.

    Attributes:
        files: N files.
        schema: The schema of the rows.
        headers: The header of each file.
        labels: Shape (N,), if they are asked for.
        aside: The files that are set aside; `None` if a file that cannot be read is an error.
        is_any_size: Whether images keep the sizes that they have.
    """

    files: Files
    schema: RowSchema
    headers: tuple[ImageHeader, ...]
    labels: Labels | None = None
    aside: SetAside | None = None
    is_any_size: bool = False

    @property
    def count(self) -> int:
        """The number of files."""
        return len(self.files)

    def blocks(self, *, carry: bool = False) -> Iterator[Block]:
        """Decodes the files, several at once; images have nothing to carry.

        Raises:
            DataError: At the block with a file that is damaged, or coloured where rows are grey,
                unless such files are set aside.
        """
        for first, block in enumerate(self._decoded()):
            if first == 0 and self.aside is not None:
                yield replace(block, rejected=(*self.aside.rejected, *block.rejected))
            else:
                yield block

    def _decoded(self) -> Iterator[Block]:
        paths = self.files.paths()
        names = np.array(self.files.names)
        channels = self.schema.shape[0]
        with ThreadPoolExecutor(cpus()) as pool:  # Pillow decodes outside Python's lock
            for rows, size in self._blocks_of_one_size():
                values = np.empty((rows.stop - rows.start, channels, *size), dtype=np.float32)

                def read(
                    row: int,
                    first: int = rows.start,
                    size: Size = size,
                    values: FloatArray = values,
                ) -> None:
                    position = first + row
                    called = self.files.called(position)
                    decode(paths[position], called, size, values[row])
                    values[row] *= self._factor(position)

                errors = pool.map(_error_of(read), range(len(values)))
                faults = self._faults(rows.start, errors)
                labels = None if self.labels is None else self.labels[rows]
                block = Block(values, {"file": names[rows]}, labels)
                yield block if self.aside is None else self.aside.without(block, faults)

    def _blocks_of_one_size(self) -> Iterator[tuple[slice, Size]]:
        """Yields which files are read at once, and the size that their images get."""
        channels, height, width = self.schema.shape
        first = 0
        while first < len(self.headers):
            size = self.headers[first].size if self.is_any_size else (height, width)
            end = min(first + rows_in_a_block((channels, *size)), len(self.headers))
            if self.is_any_size:
                others = (place for place in range(first, end) if self.headers[place].size != size)
                end = next(others, end)
            yield slice(first, end), size
            first = end

    def _faults(self, first: int, errors: Iterable[DataError | None]) -> dict[int, Rejected]:
        """Returns the rows from the file `first` on that could not be decoded."""
        faults = {}
        for row, error in enumerate(errors):
            if error is not None and self.aside is None:
                raise error
            if error is not None and self.aside is not None:
                faults[row] = self.aside.rejection(first + row, self.files, error)
        return faults

    def check_output(self, output: Path) -> None:
        """Refuses a folder with other things in it, or for one image an ending of no image.

        Raises:
            DataError: Naming what is possible.
        """
        if is_array_output(output):
            if self.is_any_size:
                self._refuse_several_sizes(output)
            return
        if self.files.is_folder:
            check_folder(output, self.files.names)
        else:
            check_ending(output, (*IMAGE_ENDINGS, *ARRAY_OUTPUT_ENDINGS), "an image")
            check_depth(self.headers[0], output)

    def _refuse_several_sizes(self, output: Path) -> None:
        for name, header in zip(self.files.names, self.headers, strict=True):
            if header.size != self.headers[0].size:
                raise DataError(
                    f"{output}: one array holds images of one size, and {self.files.names[0]} is "
                    f"{_shown(self.headers[0].size)} and {name} {_shown(header.size)} (height x "
                    "width); name a folder"
                )

    @contextmanager
    def open_output(self, output: Path, provenance: Provenance) -> Iterator[WriteBlock]:
        """Gives a function that writes pixels as files of the same names, or to npz as they are.

        Each file has the size, mode and depth of the one that it takes the place of.
        """
        self.check_output(output)
        if is_array_output(output):
            shape = self.schema.shape
            if self.is_any_size:
                shape = (shape[0], *self.headers[0].size)
            with open_array(output, provenance, self.count, shape) as write:
                yield write
        else:
            with (
                whole_targets(self.files, output, provenance) as targets,
                self._writing(targets, provenance) as write,
            ):
                yield write

    @contextmanager
    def _writing(self, targets: Sequence[Path], provenance: Provenance) -> Iterator[WriteBlock]:
        paths = self.files.paths()
        position_of = {name: position for position, name in enumerate(self.files.names)}
        with ThreadPoolExecutor(cpus()) as pool:

            def write_one(name: str, values: FloatArray) -> None:
                position = position_of[name]
                factor = self._factor(position)
                pixels = values if factor == 1 else values / factor
                encode(pixels, paths[position], targets[position], provenance)

            def write(block: Block, values: FloatArray) -> None:
                for _ in pool.map(write_one, block.index["file"], values):
                    pass

            yield write

    def _factor(self, position: int) -> np.float32:
        """Returns what a file's pixels are multiplied by to be in the units of the rows."""
        header = self.headers[position]
        white = self.schema.white
        if white is None:
            # An old pair; of colours of 16 bits, 8 bits were read then.
            white = WHITE_8_BITS if header.is_beyond_pillow else header.white
        return np.float32(white / header.white)


def open_image_files(files: Files, spec: DataSpec) -> tuple[ImageFiles, DataSpec]:
    """Opens image files to train on.

    Rows are grey (C = 1) unless one of the images is coloured, and go from 0 to the white point of
    the deepest.

    Returns:
        The rows, and the spec as it was.

    Raises:
        DataError: If a file is no image, or smaller than `patch`; or if they differ in size with
            neither `patch` nor `image_size` set.
    """
    readable = _read_headers(files)
    headers = readable.headers
    channels = 3 if any(header.is_colour for header in headers) else 1
    if spec.patch is None:
        size = spec.image_size or _common_size(files, headers)
    else:
        size = (spec.patch, spec.patch)
        for place, header in enumerate(headers):
            refuse_smaller(files.called(place), header.size, spec.patch)
    white = float(max(header.white for header in headers))
    schema = RowSchema(kind=DataKind.IMAGES, shape=(channels, *size), white=white)
    labels = folder_labels(files.names, spec.labels, files.name)
    _report_scaled(files, headers, white)
    is_any_size = spec.patch is not None
    return ImageFiles(files, schema, headers, labels, is_any_size=is_any_size), spec


def open_image_files_like(
    files: Files, data: DataSpec, schema: RowSchema, options: UseOptions
) -> ImageFiles:
    """Opens image files for a trained pair.

    Images of another size are resized if `data.image_size` is set, and stay as they are if
    `data.patch` is; those of another depth are scaled to the white point that the pair knows.

    Args:
        files: One file or several.
        data: The settled data section that the pair was trained with.
        schema: The schema of its training rows.
        options: Whether files that cannot be read are set aside.

    Raises:
        DataError: If a file is no image, or of another size.
    """
    _, height, width = schema.shape

    def check(header: ImageHeader, name: str) -> None:
        if data.image_size is None and data.patch is None:
            _refuse_other_size(name, header, (height, width))

    readable = _read_headers(files, check, sets_aside=options.set_aside)
    if schema.white is not None:
        _report_scaled(files, readable.headers, schema.white)
    known = RowSchema(kind=DataKind.IMAGES, shape=schema.shape, white=schema.white)
    return ImageFiles(
        readable.files,
        known,
        readable.headers,
        aside=readable.aside,
        is_any_size=data.patch is not None,
    )


def _error_of(read: Callable[[int], None]) -> Callable[[int], DataError | None]:
    """Returns a function that returns the error of `read` instead of raising it."""

    def tried(row: int) -> DataError | None:
        try:
            read(row)
        except DataError as error:
            return error
        return None

    return tried


def _read_headers(
    files: Files,
    check: Callable[[ImageHeader, str], None] = lambda header, name: None,
    *,
    sets_aside: bool = False,
) -> ReadableFiles[ImageHeader]:
    readable = read_headers(files, read_header, check, sets_aside=sets_aside)
    files, headers = readable.files, readable.headers
    with_pages = [name for name, header in zip(files.names, headers, strict=True)
                  if header.pages > 1]  # fmt: skip
    if with_pages:
        _logger.warning(
            "%s: %d file(s) hold more than one image, of which the first is read (%s)",
            files.name, len(with_pages), with_pages[0],
        )  # fmt: skip
    return readable


def _common_size(files: Files, headers: Sequence[ImageHeader]) -> Size:
    first = headers[0].size
    for name, header in zip(files.names, headers, strict=True):
        if header.size != first:
            raise DataError(
                f"{files.name}: images differ in size: {files.names[0]} is {_shown(first)} and "
                f"{name} {_shown(header.size)} (height x width); set data.image_size to resize "
                "them, or data.patch to train a denoiser of images of any size"
            )
    return first


def _refuse_other_size(name: str, header: ImageHeader, size: Size) -> None:
    if header.size != size:
        raise DataError(
            f"{name}: is {_shown(header.size)} (height x width) and the model takes "
            f"{_shown(size)}; resize it, or train with data.image_size set"
        )


def refuse_smaller(name: str, size: Size, patch: int) -> None:
    """Refuses an image that has no room for a patch.

    Raises:
        DataError: With the largest patch that it has room for.
    """
    if min(size) < patch:
        raise DataError(
            f"{name}: is {_shown(size)} (height x width), which has no room for data.patch: "
            f"{patch}; lower it to {min(size)}, or leave the image out"
        )


def _report_scaled(files: Files, headers: Sequence[ImageHeader], white: float) -> None:
    """Logs that files of another white point are scaled to that of the rows."""
    others = Counter(header.white for header in headers if header.white != white)
    if not others:
        return
    of = "" if len(headers) == 1 else f" of {len(headers)}"
    found = " and ".join(f"{n}{of} image(s) have {_depth(w)}" for w, n in others.most_common())
    _logger.warning("%s: %s; they are scaled to %s", files.name, found, _depth(white))


_BITS = {WHITE_8_BITS: "8 bits a channel (white is 255)",
         WHITE_16_BITS: "16 bits a channel (white is 65535)"}  # fmt: skip


def _depth(white: float) -> str:
    return _BITS.get(int(white), f"the values of the rows (white is {white:g})")


def _shown(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
