"""Zarr: a folder of an array's chunks; needs the extra `arrays`."""

from __future__ import annotations

from typing import Any

from isthmus.data.arrays import (
    SMALL_BYTES,
    ArrayFormat,
    LoadedArray,
    checked,
    loaded_array,
    refuse_unstored,
    with_units,
)
from isthmus.data.columns.units import UNIT_KEY
from isthmus.data.storage.files import MARKS_OF_ONE
from isthmus.errors import DataError
from isthmus.extras import importing


class Zarr(ArrayFormat):
    """A Zarr array or group of arrays. Source: https://zarr.readthedocs.io."""

    ENDINGS = (".zarr",)

    def open(self, key: str | None, labels: str | None) -> LoadedArray:
        """Opens an array; see `ArrayFormat.open`."""
        opened = self._opened()
        if hasattr(opened, "shape"):  # an array, and no group of them
            if labels is not None:
                raise DataError(f"{self.name}: is one array, so has no labels; use a group")
            return with_units(
                LoadedArray(checked(self._stored(opened, self.name), self.name)),
                opened.attrs.get(UNIT_KEY),
            )
        loaded = loaded_array(
            _names(opened),
            lambda name: self._stored(opened[name], f'{self.name}: array "{name}"'),
            *(key, labels, self.name),
        )
        return with_units(loaded, opened[loaded.key].attrs.get(UNIT_KEY))

    def keys(self) -> tuple[str, ...]:
        """Returns the names of the arrays; none if it is one array, and no group of them."""
        opened = self._opened()
        return () if hasattr(opened, "shape") else tuple(_names(opened))

    def _opened(self) -> Any:
        with importing("arrays", needed_by=f"{self.name}: Zarr"):
            import zarr
        try:
            return zarr.open(str(self.path), mode="r")
        # Its notes are JSON, which may be nested more deeply than Python's stack.
        except (OSError, ValueError, KeyError, RecursionError) as error:
            said = str(error).splitlines()[0]
            raise DataError(f"{self.name}: is damaged or no Zarr array ({said})") from error

    def _stored(self, array: Any, what: str) -> Any:
        """Returns an array after refusing one whose chunks are not there."""
        if array.nbytes > SMALL_BYTES:  # the sizes of all chunks are looked up
            # Not `nchunks_initialized`, which takes the square of the number of chunks.
            files = (self.path / array.path).rglob("*")
            written = sum(file.is_file() and file.name not in MARKS_OF_ONE for file in files)
            chunks = array.shards or array.chunks
            refuse_unstored(array, array.nbytes_stored(), chunks, written, what)
        return array


def _names(group: Any) -> list[str]:
    return [name for name, _ in group.arrays()]
