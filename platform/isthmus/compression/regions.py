"""Images of any size in a compressed file: each region is a chunk of its own."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import cast

import numpy as np

from isthmus.compression.any_size import ImagesOfAnySize
from isthmus.compression.container import Chunk, ChunkKind
from isthmus.compression.forms import MOST_NUMBERS, Form, ImagesForm
from isthmus.compression.opened import OpenedFile
from isthmus.compression.rebuilt import Rebuilt
from isthmus.core import CodedAutoencoder
from isthmus.data import Block, Provenance
from isthmus.errors import DataError
from isthmus.execution.blocks import OnRows
from isthmus.registry import Pair
from isthmus.types import Shape

_START = struct.Struct("<QI")
# A damaged header may claim images of which nothing is there: so many times the numbers of whole
# regions, and so many more, are filled in, over all images.
_MOST_TIMES_FILLED = 16
_MOST_NUMBERS_FILLED = 2**26


def images_of(pair: Pair) -> ImagesOfAnySize:
    """Returns what codes images with a pair that takes images of any size."""
    module = cast("CodedAutoencoder", pair.module)
    return ImagesOfAnySize(module, pair.code_tables, pair.device)


def refuse_other_forms(form: Form, called: str) -> None:
    """Refuses what is no image file, for a pair that takes images of any size.

    Raises:
        DataError: Naming what to give.
    """
    if not isinstance(form, ImagesForm):
        raise DataError(
            f"{called}: a pair for images of any size compresses image files; give an image, or a "
            "folder of them"
        )


def region_chunk(image: int, region: int, coded: bytes) -> bytes:
    """Returns the content of a chunk: which region of which image it is, and its symbols.

    Args:
        image: The position of the image among those of the file.
        region: The number of the region in it, row by row.
        coded: The bytes that the region was coded as.
    """
    return _START.pack(image, region) + coded


def opened_region(content: bytes) -> tuple[int, int, bytes]:
    """Returns the image, the region, and what it was coded as.

    Raises:
        DataError: If it is too short to say so.
    """
    if len(content) < _START.size:
        raise DataError("a chunk is too short to be of a region")
    return (*_START.unpack_from(content), content[_START.size :])


class ImagesDecoding:
    """Decodes the regions of a file, image by image, and leaves grey what is lost.

    Attributes:
        rows: The number of images so far.
        lost: The number of those of which a region is lost.
        damages: The parts that could not be decoded, in words.
    """

    def __init__(
        self, opened: OpenedFile, pair: Pair, target: Rebuilt, on_rows: OnRows | None
    ) -> None:
        """Takes an opened file, its pair and what writes its images.

        Args:
            opened: The file.
            pair: The pair that compressed it.
            target: The target that writes its images.
            on_rows: Called with the number of images done and of all images.

        Raises:
            DataError: If the header is not of images.
        """
        header, called = opened.header, opened.source
        refuse_other_forms(header.form, called)
        self.rows, self.lost = 0, 0
        self.damages: list[str] = []
        self._whole, self._filled = 0.0, 0.0
        self._reader, self._called, self._quality = opened.reader, called, header.quality
        self._summary, self._target, self._salvage = opened.summary, target, opened.salvage
        self._on_rows = on_rows
        self._images = images_of(pair)
        self._channels = pair.manifest.plan.row_shape[0]
        self._sizes = cast("ImagesForm", header.form).sizes

    def _blocks(self) -> Iterator[Block]:
        """Yields the images, one in each block.

        Raises:
            DataError: If regions are damaged, or lost, and are not to be filled in.
        """
        summary = self._summary
        absent = () if summary is None else summary.absent
        positions = np.setdiff1d(np.arange(len(self._sizes)), absent)
        if summary is not None and summary.rows != (len(positions),):
            raise DataError(f"{self._called}: its summary is not of its header; restore the file")
        chunks = self._regions()
        following = next(chunks, None)
        for number, position in enumerate(positions):
            shape = self._shape(int(position))
            coded: list[bytes | None] = [None] * self._images.regions_of(shape)
            while following is not None and following[0] <= number:
                self._put(coded, number, following)
                following = next(chunks, None)
            yield Block(self._image(coded, shape, number)[None], {"row": np.array([position])})
            self.rows += 1
            if self._on_rows:
                self._on_rows(self.rows, len(positions))
        if following is not None and not self._salvage:
            raise DataError(f"{self._called}: has a region of an image that is not in its header")
        if not self.rows:
            raise DataError(f"{self._called}: holds no image; there is nothing to write")

    def write_to(self, output: Path, provenance: Provenance) -> None:
        """Writes all images to a path, whole or not at all.

        Raises:
            DataError: If regions are damaged or lost and are not to be filled in, or if the output
                cannot be written.
        """
        self._target.write(self._blocks(), output, provenance)

    def _regions(self) -> Iterator[tuple[int, int, bytes]]:
        for chunk in self._reader.chunks(salvage=self._salvage):
            if chunk.kind == ChunkKind.REGION:
                yield self._opened(chunk)

    def _opened(self, chunk: Chunk) -> tuple[int, int, bytes]:
        try:
            return opened_region(chunk.content)
        except DataError as error:
            where = f"{self._called}: chunk {chunk.number} at byte {chunk.at:,}"
            raise DataError(f"{where}: {error}; restore the file") from error

    def _put(self, coded: list[bytes | None], image: int, found: tuple[int, int, bytes]) -> None:
        of_image, region, symbols = found
        if of_image != image or region >= len(coded) or coded[region] is not None:
            self._damaged(f"region {region} of image {of_image} is in the wrong place")
        else:
            coded[region] = symbols

    def _image(
        self, coded: list[bytes | None], shape: Shape, number: int
    ) -> np.ndarray[tuple[int, int, int], np.dtype[np.float32]]:
        before = len(self.damages)
        missing = [region for region, symbols in enumerate(coded) if symbols is None]
        for region in missing:
            self._damaged(f"region {region} of image {number} is missing")
        self._check_filled(len(missing) / len(coded), prod(shape))

        def tell(region: int, error: DataError) -> None:
            self._damaged(f"region {region} of image {number}: {error}")

        made = self._images.decode(coded, shape, self._quality, tell)
        self.lost += len(self.damages) > before
        return cast("np.ndarray[tuple[int, int, int], np.dtype[np.float32]]", made)

    def _check_filled(self, share: float, numbers: int) -> None:
        """Counts what is missing of an image, before memory is taken for it."""
        self._whole += (1 - share) * numbers
        self._filled += share * numbers
        if self._filled > _MOST_TIMES_FILLED * self._whole + _MOST_NUMBERS_FILLED:
            raise DataError(f"{self._called}: hardly anything of it is left; restore the file")

    def _damaged(self, said: str) -> None:
        if not self._salvage:
            raise DataError(f"{self._called}: {said}; restore it, or decompress it with --salvage")
        self.damages.append(said)

    def _shape(self, position: int) -> Shape:
        height, width = self._sizes[position]
        shape = (self._channels, height, width)
        if self._channels * height * width > MOST_NUMBERS:
            raise DataError(
                f"{self._called}: an image of {width:,} x {height:,} pixels is too large; cut it"
            )
        return shape
