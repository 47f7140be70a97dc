"""numpy's file of one array, which stays in its file until rows are read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.data.arrays import ArrayFormat, LoadedArray, checked
from isthmus.errors import DataError


class Npy(ArrayFormat):
    """An npy file. Source: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html."""

    ENDINGS = (".npy",)

    def open(self, key: str | None, labels: str | None) -> LoadedArray:
        """Opens the array; see `ArrayFormat.open`."""
        if labels is not None:
            raise DataError(f"{self.name}: an npy holds one array, so no labels; use an npz")
        try:
            array = _mapped(self.path)
        except (ValueError, EOFError, OSError) as error:
            if "Python objects" in str(error):
                raise DataError(
                    f"{self.name}: holds Python objects, which are never loaded; save it as numbers"
                ) from error
            if "allow_pickle" in str(error):
                raise DataError(
                    f"{self.name}: is no npy file; write it with numpy.save, as numbers"
                ) from error
            said = str(error).splitlines()[0]
            raise DataError(f"{self.name}: is damaged ({said}); write it again") from error
        return LoadedArray(checked(MappedFile(self.path, array.shape, array.dtype), self.name))

    def keys(self) -> tuple[str, ...]:
        """Returns nothing: the array has no name."""
        return ()


@dataclass(frozen=True)
class MappedFile:
    """An array of a file that is open only while rows are read, so that there may be many."""

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        """Reads rows, shape (n, ...)."""
        return np.array(_mapped(self.path)[rows])


def _mapped(path: Path) -> NDArray[Any]:
    array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array
