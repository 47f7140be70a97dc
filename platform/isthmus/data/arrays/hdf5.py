"""HDF5: a file of named arrays; needs the extra `arrays`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.data.arrays import ArrayFormat, LoadedArray, loaded_array, refuse_unstored, with_units
from isthmus.data.columns.units import UNIT_KEY
from isthmus.errors import DataError
from isthmus.extras import importing


class Hdf5(ArrayFormat):
    """An HDF5 file. `data.key` is the path of the array within it. Source: https://docs.h5py.org."""

    ENDINGS = (".h5", ".hdf5")

    def open(self, key: str | None, labels: str | None) -> LoadedArray:
        """Opens an array; see `ArrayFormat.open`."""
        with self._file() as file:
            loaded = loaded_array(
                _names(file),
                lambda name: self._array(file[name], name),
                *(key, labels, self.name),
            )
            return with_units(loaded, file[loaded.key].attrs.get(UNIT_KEY))

    def keys(self) -> tuple[str, ...]:
        """Returns the names of the arrays, which are paths within the file."""
        with self._file() as file:
            return tuple(_names(file))

    def _array(self, dataset: Any, key: str) -> Hdf5Array:
        array = Hdf5Array(self.path, key, dataset.shape, dataset.dtype)
        if not dataset.is_virtual:  # whose values are in other files
            what = f'{self.name}: array "{key}"'
            written = 0 if dataset.chunks is None else dataset.id.get_num_chunks()
            stored = dataset.id.get_storage_size()
            refuse_unstored(array, stored, dataset.chunks, written, what)
        return array

    @contextmanager
    def _file(self) -> Iterator[Any]:
        with importing("arrays", needed_by=f"{self.name}: HDF5"):
            import h5py
        try:
            with h5py.File(self.path, "r") as file:
                yield file
        except OSError as error:
            said = str(error).splitlines()[0]
            raise DataError(f"{self.name}: is damaged or no HDF5 file ({said})") from error


@dataclass(frozen=True)
class Hdf5Array:
    """An array of a file that is open only while rows are read, so that there may be many."""

    path: Path
    key: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        """Reads rows, shape (n, ...)."""
        import h5py

        with h5py.File(self.path, "r") as file:
            return np.asarray(file[self.key][rows])


def _names(file: Any) -> list[str]:
    import h5py

    found: list[str] = []
    file.visititems(
        lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None
    )
    return found
