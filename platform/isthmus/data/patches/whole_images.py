"""Images of any sizes as they are, one after another in memory or, where they are many, in a file.

Shapes: (C, H, W) is an image; H and W differ from image to image.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from isthmus.data.media.pixels import WHITE_8_BITS, WHITE_16_BITS, Size
from isthmus.data.prepared.fingerprint import Fingerprint
from isthmus.data.prepared.stored import TemporaryFolder, said_of_disk
from isthmus.data.rows import FloatArray, IndexArray, Labels, RowSource, joined, read_ahead
from isthmus.types import Shape

# More pixels go to a file that is mapped into the memory, which then holds what it has room for.
_MOST_BYTES_IN_MEMORY = 256 << 20
_TYPES: dict[float | None, type[np.generic]] = {WHITE_8_BITS: np.uint8, WHITE_16_BITS: np.uint16}


@dataclass(frozen=True, eq=False)
class WholeImages:
    """The pixels of N images of any sizes, in the fewest bytes that hold them.

    Another process of this machine can have them too: of those in a file, its name travels.

    Attributes:
        channels: The number of channels of every image.
        sizes: Shape (N, 2). The height and the width of each image.
        pixels: The pixels of all images, one after another, shape (M,); a mapped file if they are
            many.
        folder: Keeps that file there; only in the process that made it.
    """

    channels: int
    sizes: IndexArray
    pixels: NDArray[Any]
    folder: TemporaryFolder | None = None

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, number: int) -> NDArray[Any]:
        """Returns a view of an image, shape (C, H, W)."""
        first, shape = self._layout[number]
        return self.pixels[first : first + prod(shape)].reshape(shape)

    def in_memory(self) -> WholeImages:
        """Returns the same images in memory, so that they can be sent to another machine."""
        return replace(self, pixels=np.array(self.pixels), folder=None)

    def close(self) -> None:
        """Removes the file of the pixels, if they are in one."""
        if self.folder:
            self.folder.remove()

    @cached_property
    def _layout(self) -> list[tuple[int, Shape]]:
        """The place of each image's first pixel, and its shape: plain numbers, looked up fast."""
        counts = self.channels * self.sizes.prod(axis=1)
        shapes = [(self.channels, height, width) for height, width in self.sizes.tolist()]
        return list(zip((np.cumsum(counts) - counts).tolist(), shapes, strict=True))

    def __getstate__(self) -> dict[str, Any]:
        pixels: NDArray[Any] | _MappedFile = self.pixels
        if isinstance(pixels, np.memmap):
            pixels = _MappedFile(str(pixels.filename), pixels.dtype.str, len(pixels))
        return {"channels": self.channels, "sizes": self.sizes, "pixels": pixels, "folder": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if isinstance(state["pixels"], _MappedFile):
            state["pixels"] = state["pixels"].open()
        self.__dict__.update(state)


@dataclass(frozen=True)
class _MappedFile:
    path: str
    dtype: str
    count: int

    def open(self) -> NDArray[Any]:
        return np.memmap(self.path, dtype=self.dtype, mode="r", shape=(self.count,))


@dataclass(frozen=True, eq=False)
class ReadImages:
    """Images that were read, and what else is known of each.

    Attributes:
        images: N images.
        names: The name of each image for messages.
        contents: Shape (N,). A hash of the content of each image.
        fingerprint: The fingerprint so far, to which other views of the images may be added.
        labels: Shape (N,), if the source has them.
    """

    images: WholeImages
    names: tuple[str, ...]
    contents: IndexArray
    fingerprint: Fingerprint
    labels: Labels | None


def read_images(source: RowSource, fingerprint: Fingerprint | None = None) -> ReadImages:
    """Reads the images of a source, whose blocks each hold images of one size.

    Args:
        source: The images.
        fingerprint: The fingerprint that these are added to; by default a new one.

    Raises:
        DataError: If the source cannot be read, or the disk has no room.
    """
    digest = fingerprint or Fingerprint()
    names: list[str] = []
    contents: list[int] = []
    labels: list[Labels] = []
    with _storing(_TYPES.get(source.schema.white, np.float32)) as store:
        for block in read_ahead(source.blocks()):
            digest.add(block.values)
            names += _names_of(block.index)
            if block.labels is not None:
                labels.append(block.labels)
            contents += [store.add(image) for image in block.values]
    found = joined(labels) if labels else None
    if found is not None:
        digest.add(found)
    images = store.images(source.schema.shape[0])
    return ReadImages(images, tuple(names), np.array(contents, np.int64), digest, found)


def _names_of(index: Any) -> list[str]:
    """Returns what each image of a block is called: its file, or its number in it, or both."""
    files = index.get("file")
    if "row" not in index:
        return [str(file) for file in files]
    if files is None:
        return [f"image {row}" for row in index["row"]]
    return [f"image {row} of {file}" for row, file in zip(index["row"], files, strict=True)]


@dataclass
class _Store:
    """The pixels that came so far: in a list, and in a file as soon as they are many."""

    dtype: type[np.generic]
    sizes: list[Size] = field(default_factory=list)
    folder: TemporaryFolder | None = None
    _parts: list[NDArray[Any]] = field(default_factory=list)
    _bytes: int = 0
    _file: IO[bytes] | None = None

    def add(self, image_CHW: FloatArray) -> int:
        """Adds an image, and returns a hash of its content."""
        whole = image_CHW if self.dtype is np.float32 else np.rint(image_CHW)
        pixels = whole.astype(self.dtype).reshape(-1)
        self.sizes.append((image_CHW.shape[1], image_CHW.shape[2]))
        self._bytes += pixels.nbytes
        self._parts.append(pixels)
        # Not `hash_rows`, whose numbers take many times the memory of a large photo.
        digest = hashlib.blake2b(pixels.view(np.uint8).data, digest_size=8)
        digest.update(str(image_CHW.shape).encode())
        if self._bytes > _MOST_BYTES_IN_MEMORY:
            self._write()
        return int.from_bytes(digest.digest(), "little", signed=True)

    def images(self, channels: int) -> WholeImages:
        sizes = np.array(self.sizes, dtype=np.int64).reshape(-1, 2)
        if self.folder is None:
            pixels = joined(self._parts) if self._parts else np.empty(0, self.dtype)
            return WholeImages(channels, sizes, pixels)
        path = str(self.folder.path / "pixels")
        return WholeImages(channels, sizes, np.memmap(path, self.dtype, "r"), self.folder)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _write(self) -> None:
        if self.folder is None:
            self.folder = TemporaryFolder()
        with said_of_disk(self.folder.path):
            if self._file is None:
                self._file = (self.folder.path / "pixels").open("wb")
            for part in self._parts:
                # Not `tofile`, whose error does not say that the disk is full.
                self._file.write(part.view(np.uint8).data)
        self._parts.clear()


@contextmanager
def _storing(dtype: type[np.generic]) -> Iterator[_Store]:
    store = _Store(dtype)
    try:
        yield store
    except BaseException:
        store.close()
        if store.folder is not None:
            store.folder.remove()
        raise
    store.close()
