"""Numbers in as few bits or bytes as they need: bits below a symbol, and the fields of headers."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import DataError

Whole = NDArray[np.int64]


@dataclass
class FieldWriter:
    """Collects numbers of given widths, and whole numbers of any size.

    Attributes:
        data: The bytes that were put so far.
    """

    data: bytearray = field(default_factory=bytearray)

    def number(self, value: int) -> None:
        """Appends a whole number, negative or not, in as many bytes as it needs."""
        rest = value << 1 if value >= 0 else ((-value) << 1) - 1
        while rest > 127:
            self.data.append(rest & 127 | 128)
            rest >>= 7
        self.data.append(rest)

    def numbers(self, values: Whole | list[int]) -> None:
        """Appends whole numbers, each as `number` does."""
        for value in values:
            self.number(int(value))

    def raw(self, content: bytes) -> None:
        """Appends bytes."""
        self.data += content

    def put(self, sizes: NDArray[np.uint64], widths: Whole) -> None:
        """Appends the lowest `widths` bits of each size; numbers of one width stand together."""
        bits = [
            sizes[widths == width, None] >> np.arange(width, dtype=np.uint64) & np.uint64(1)
            for width in np.unique(widths)
            if width
        ]
        flat = np.concatenate([each.astype(np.uint8).ravel() for each in bits])
        self.data += np.packbits(flat).tobytes()


@dataclass
class FieldReader:
    """Reads what a `FieldWriter` collected.

    Attributes:
        data: All of it.
        place: The byte that is read next.
    """

    data: bytes
    place: int = 0

    def number(self) -> int:
        """Returns the next whole number."""
        value = shift = 0
        while True:
            if self.place >= len(self.data) or shift > 70:
                raise DataError("a chunk ends within a number; it is damaged")
            byte = self.data[self.place]
            self.place += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value >> 1 if not value & 1 else -((value + 1) >> 1)

    def count(self, most: int) -> int:
        """Returns the next whole number, from 0 to `most`.

        Raises:
            DataError: If it is another.
        """
        value = self.number()
        if not 0 <= value <= most:
            raise DataError(f"a chunk has a count of {value}, of {most} at most; it is damaged")
        return value

    def small(self) -> int:
        """Returns the next whole number, whose size is at most 2**24."""
        value = self.number()
        if abs(value) > 2**24:
            raise DataError(f"a chunk has a field of {value}; it is damaged")
        return value

    def raw(self, size: int) -> bytes:
        """Returns the next bytes."""
        if size > len(self.data) - self.place:
            raise DataError("a chunk ends too early; it is damaged")
        self.place += size
        return bytes(self.data[self.place - size : self.place])

    def take(self, widths: Whole) -> NDArray[np.uint64]:
        """Returns the next numbers of the given widths, shape (N,)."""
        bits = np.unpackbits(np.frombuffer(self.raw((int(widths.sum()) + 7) // 8), np.uint8))
        out = np.zeros(len(widths), np.uint64)
        start = 0
        for width in np.unique(widths):
            if width == 0:
                continue
            where = np.flatnonzero(widths == width)
            stop = start + len(where) * int(width)
            part = bits[start:stop].reshape(len(where), width).astype(np.uint64)
            out[where] = (part << np.arange(width, dtype=np.uint64)).sum(axis=1, dtype=np.uint64)
            start = stop
        return out
