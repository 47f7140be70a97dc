"""Writes images back: as files of the same names, or as an array of the original size."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.data.array_layout import save_array
from isthmus.data.output import check_ending, check_folder, whole_file, whole_folder
from isthmus.data.pixels import Size, encode, resize
from isthmus.data.provenance import Provenance
from isthmus.data.rows import FloatArray, IndexArray, Layout
from isthmus.data.storage import ARRAY_ENDINGS, IMAGE_ENDINGS


@dataclass(frozen=True, eq=False)
class ImageFilesLayout:
    """Rows that came from image files.

    Attributes:
        folder: Where the files lie; each is read once more when results are written.
        names: N names relative to the folder.
        factor: What the files' pixels were multiplied by.
        is_single: Whether the input was one file, not a folder.
    """

    folder: Path
    names: tuple[str, ...]
    factor: float
    is_single: bool

    def take(self, kept: IndexArray) -> ImageFilesLayout:
        """The layout of only these images."""
        return replace(self, names=tuple(self.names[position] for position in kept))

    def index(self) -> Mapping[str, NDArray[Any]]:
        """`file`: the name of each image, relative to the folder."""
        return {"file": np.array(self.names)}

    def check_output(self, output: Path) -> None:
        """Refuses a folder with other things in it, or for one image an ending of no image."""
        ending = output.suffix.lower()
        if ending in ARRAY_ENDINGS:
            return
        if self.is_single:
            check_ending(output, (*IMAGE_ENDINGS, *ARRAY_ENDINGS), "an image")
        else:
            check_folder(output)

    def write(self, values: FloatArray, output: Path, provenance: Provenance) -> None:
        """Writes pixels (N, C, H, W) as files of the same names, or to npz as they are."""
        self.check_output(output)
        pixels = values if self.factor == 1.0 else values / np.float32(self.factor)
        if output.suffix.lower() in ARRAY_ENDINGS:
            save_array(values, "x", output, provenance, {"file": np.array(self.names)})
        elif self.is_single:
            with whole_file(output, provenance) as temporary:
                encode(pixels[0], self.folder / self.names[0], temporary, provenance)
        else:
            with whole_folder(output, provenance) as folder:
                self._write_all(pixels, folder, provenance)

    def _write_all(self, pixels: FloatArray, folder: Path, provenance: Provenance) -> None:
        def write(position: int) -> None:
            name = self.names[position]
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            encode(pixels[position], self.folder / name, target, provenance)

        with ThreadPoolExecutor() as pool:
            for _ in pool.map(write, range(len(self.names))):
                pass


@dataclass(frozen=True, eq=False)
class ResizedLayout:
    """Images of an array that were resized: brought back to their size before they are written.

    Attributes:
        inner: The form of the array.
        size: Height and width of its images.
    """

    inner: Layout
    size: Size

    def take(self, kept: IndexArray) -> ResizedLayout:
        """The layout of only these images."""
        return replace(self, inner=self.inner.take(kept))

    def index(self) -> Mapping[str, NDArray[Any]]:
        """As the array's own."""
        return self.inner.index()

    def check_output(self, output: Path) -> None:
        """As the array's own."""
        self.inner.check_output(output)

    def write(self, values: FloatArray, output: Path, provenance: Provenance) -> None:
        """Writes images (N, C, H, W) at the array's size."""
        resized = np.stack([resize(image, self.size) for image in values])
        self.inner.write(resized, output, provenance)
