"""numpy's zip of several arrays, unpacked a block of rows at a time."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from isthmus.data.arrays import ArrayFormat, LoadedArray, loaded_array
from isthmus.errors import DataError

_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, OSError, KeyError, NotImplementedError)
_MOST_BYTES_OF_COLUMNS_FIRST = 1 << 30


class Npz(ArrayFormat):
    """An npz file: a zip of npy files, compressed or not."""

    ENDINGS = (".npz",)

    def open(self, key: str | None, labels: str | None) -> LoadedArray:
        """Opens an array; see `ArrayFormat.open`."""
        with said_plainly(self.name):
            return loaded_array(
                self._names(),
                lambda name: ZippedArray(self.path, name, self.name),
                *(key, labels, self.name),
            )

    def keys(self) -> tuple[str, ...]:
        """Returns the names of the arrays."""
        with said_plainly(self.name):
            return tuple(self._names())

    def _names(self) -> list[str]:
        if not zipfile.is_zipfile(self.path):
            raise DataError(f"{self.name}: is damaged or no npz file (not a zip); write it again")
        with zipfile.ZipFile(self.path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]


@dataclass(eq=False)
class ZippedArray:
    """An array in a zip, read from its first row to its last.

    Rows that come before those that were read last are found by reading from the start again.

    Attributes:
        path: The zip.
        key: The name of the array in it.
        name: The name of the zip for messages.
    """

    path: Path
    key: str
    name: str
    shape: tuple[int, ...] = field(init=False)
    dtype: np.dtype[Any] = field(init=False)
    _archive: zipfile.ZipFile = field(init=False)
    _stream: IO[bytes] | None = field(init=False, default=None)
    _next: int = field(init=False, default=0)
    _whole: NDArray[Any] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        stream, is_by_columns = self._open()
        if is_by_columns:
            # Its rows lie apart in the file, so that only the whole of it can be read.
            if prod(self.shape) * self.dtype.itemsize > _MOST_BYTES_OF_COLUMNS_FIRST:
                raise DataError(
                    f'{self.name}: array "{self.key}" is stored column by column, and is too large '
                    "to be read whole; write it with numpy.ascontiguousarray"
                )
            content = stream.read()
            self._whole = np.frombuffer(content, self.dtype).reshape(self.shape, order="F").copy()
        stream.close()
        self._archive.close()

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        """Reads rows, shape (n, ...)."""
        first, end, step = rows.indices(self.shape[0])
        if self._whole is not None:
            return self._whole[rows]
        values = np.empty((max(0, end - first), *self.shape[1:]), dtype=self.dtype)
        with said_plainly(self.name):
            if self._stream is None or first < self._next:
                self._stream, _ = self._open()
                self._next = 0
            row_bytes = prod(self.shape[1:]) * self.dtype.itemsize
            self._skip((first - self._next) * row_bytes)
            view = values.reshape(-1).view(np.uint8).data
            filled = 0
            while filled < len(view):
                count = self._stream.readinto(view[filled:])  # type: ignore[attr-defined]
                if not count:
                    raise EOFError("it ends before its last row")
                filled += count
            self._next = end
            if end == self.shape[0]:
                self._stream.close()
                self._archive.close()
                self._stream = None
        return values[::step]

    def _skip(self, count: int) -> None:
        while count > 0:
            assert self._stream is not None  # noqa: S101 (opened by the caller)
            read = len(self._stream.read(min(count, 1 << 20)))
            if not read:
                raise EOFError("it ends before its last row")
            count -= read

    def _open(self) -> tuple[IO[bytes], bool]:
        """Opens the member behind its header, which must agree with the size in the zip."""
        self._archive = zipfile.ZipFile(self.path)
        info = self._archive.getinfo(f"{self.key}.npy")
        stream = self._archive.open(info)
        version = np.lib.format.read_magic(stream)
        read = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        self.shape, is_by_columns, self.dtype = read(stream)
        if self.dtype.hasobject:
            raise DataError(
                f'{self.name}: array "{self.key}" holds Python objects, which are never loaded; '
                "save it as numbers"
            )
        said = prod(self.shape) * self.dtype.itemsize
        found = info.file_size - stream.tell()
        if said != found:
            raise DataError(
                f'{self.name}: array "{self.key}" is damaged: its header says {said:,} bytes and '
                f"the file has {found:,}; write it again"
            )
        return stream, is_by_columns and len(self.shape) > 1


@contextmanager
def said_plainly(name: str) -> Iterator[None]:
    """Turns what a damaged zip raises into one line that says what to do."""
    try:
        yield
    except (ValueError, *_DAMAGED) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{name}: is damaged ({said}); write it again") from error
