"""The file of compressed rows, `.isth`: a header, chunks that are checked one by one, an end.

All numbers are little-endian; docs/compression.md shows the format byte by byte.

    magic (9), version (u16), length of the header (u32), header, CRC-32 of all before
    chunks: mark (4), kind (u8), number (u32), length (u64), CRC-32 of these, content, its CRC-32
    the last chunk, of kind END: the number of chunks before it (u32), SHA-256 of all before it

To change the format: raise `FORMAT` by one; let `ContainerReader` and whoever reads a content go on
reading every earlier version as it was, by the version that it is given; write files of the new
version with `python -m tests.fixtures.compressed.make` and commit them beside those of the earlier
versions, which stay as they are; describe the change in docs/compression.md. A version that was
released is never changed: its stored files must be decoded forever, symbol for symbol. This holds
also for what a content means: the entropy coder, the integer tables, the fields of the header.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from isthmus.errors import DataError

FORMAT = 1
"""The version that is written now; see above for how to change it."""
MAGIC = b"\x89ISTH\r\n\x1a\n"
"""The first bytes of every file. A transfer that takes it for text damages them."""
MOST_HEADER_BYTES = 2**26
MOST_CHUNK_BYTES = 2**28
_MARK = b"ISCH"
_START = struct.Struct("<HI")
_FRAME = struct.Struct("<4sBIQ")
_CRC = struct.Struct("<I")
_END = struct.Struct("<I32s")
_FRAME_BYTES = _FRAME.size + _CRC.size
_SEARCHED_AT_ONCE = 2**20
_ADVICE = "; restore it, or decompress it with --salvage"


class ChunkKind(IntEnum):
    """The kind of a chunk's content; its number stands in files."""

    ROWS = 1
    """Coded rows."""
    REGION = 3
    """A coded region of an image of any size."""
    SUMMARY = 2
    """The number of rows, as JSON."""
    EXACT = 4
    """A part of a file with all of its columns."""
    END = 255
    """The end of the file."""


@dataclass(frozen=True)
class Chunk:
    """A chunk whose checksums were right.

    Attributes:
        kind: The kind of its content, as the file says: `ChunkKind` or one of a later Isthmus.
        number: The number, from 0.
        content: The content.
        at: The position of its first byte in the file.
    """

    kind: int
    number: int
    content: bytes
    at: int


class ContainerWriter:
    """Writes a file chunk by chunk; nothing is held in memory."""

    def __init__(self, file: BinaryIO, header: bytes) -> None:
        """Writes the header.

        Args:
            file: An empty file.
            header: The header, of any bytes.

        Raises:
            DataError: If the header is too long.
        """
        if len(header) > MOST_HEADER_BYTES:
            raise DataError(
                f"the names and sizes of the files take {len(header):,} bytes, more than "
                f"{MOST_HEADER_BYTES:,}; compress them in several folders"
            )
        self._file, self._digest, self._chunks = file, hashlib.sha256(), 0
        start = MAGIC + _START.pack(FORMAT, len(header)) + header
        self._write(start + _CRC.pack(zlib.crc32(start)))

    def add(self, kind: ChunkKind, content: bytes) -> None:
        """Writes a chunk.

        Raises:
            ValueError: If it is too long.
        """
        if len(content) > MOST_CHUNK_BYTES:
            raise ValueError(f"a chunk of {len(content)} bytes")
        frame = _FRAME.pack(_MARK, kind, self._chunks, len(content))
        self._write(frame + _CRC.pack(zlib.crc32(frame)))
        self._write(content + _CRC.pack(zlib.crc32(content)))
        self._chunks += 1

    def finish(self) -> None:
        """Writes the end, without which the file counts as cut off."""
        self.add(ChunkKind.END, _END.pack(self._chunks, self._digest.digest()))

    def _write(self, content: bytes) -> None:
        self._digest.update(content)
        self._file.write(content)


class ContainerReader:
    """Reads a file, of which nothing is believed before it was checked.

    No more memory is taken than the file is long, whatever sizes it declares.

    Attributes:
        version: The version of the format.
        header: The header, of any bytes.
        size_bytes: The length of the file.
        damages: The parts of a damaged file that `chunks` left out, each in words with its place.
    """

    def __init__(self, path: Path, called: str) -> None:
        """Opens a file and reads its header.

        Args:
            path: The local path.
            called: The name of the file for messages.

        Raises:
            DataError: If it is not there, is no such file, or its header is damaged.
        """
        self._called = called
        self.damages: list[str] = []
        try:
            self._file = path.open("rb")
            self.size_bytes = path.stat().st_size
        except OSError as error:
            raise DataError(f"{called}: cannot be read: {error.strerror}") from error
        try:
            self.version, self.header = self._read_header()
        except BaseException:
            self._file.close()
            raise
        self._first = self._file.tell()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Closes the file."""
        self._file.close()

    def chunks(self, *, salvage: bool = False) -> Iterator[Chunk]:
        """Yields the chunks before the end, in order.

        Args:
            salvage: Whether to leave out what is damaged, and to say it in `damages`.

        Raises:
            DataError: At the place of the damage, unless it is to be left out.
        """
        self.damages.clear()
        at, expected, has_end = self._first, 0, False
        while at < self.size_bytes and not has_end:
            try:
                chunk = self._chunk_at(at)
                if not salvage and chunk.number != expected:
                    raise self._damaged(at, f"chunk {chunk.number} where {expected} should be")
                if chunk.kind == ChunkKind.END:
                    self._check_end(chunk, expected)
                    has_end = True
            except DataError as error:
                self._tell(error, salvage=salvage)
                at = self._next_chunk(at + 1)
                continue
            if not has_end:
                yield chunk
            at = chunk.at + _FRAME_BYTES + len(chunk.content) + _CRC.size
            expected = chunk.number + 1
        if not has_end or at != self.size_bytes:
            what = "it goes on after its end" if has_end else "it is cut off"
            self._tell(self._damaged(at, what), salvage=salvage)

    def _tell(self, damage: DataError, *, salvage: bool) -> None:
        if not salvage:
            raise damage
        said = str(damage).removeprefix(f"{self._called}: ")
        self.damages.append(said.removesuffix(_ADVICE))

    def _read_header(self) -> tuple[int, bytes]:
        start = self._file.read(len(MAGIC) + _START.size)
        if not start.startswith(MAGIC) or len(start) < len(MAGIC) + _START.size:
            raise DataError(
                f"{self._called}: is no compressed file of isthmus; name one that isthmus compress "
                "wrote"
            )
        version, length = _START.unpack_from(start, len(MAGIC))
        if not 1 <= version <= FORMAT:
            raise DataError(
                f"{self._called}: is of format {version}, and this Isthmus reads up to {FORMAT}; "
                "upgrade isthmus"
            )
        if length > min(MOST_HEADER_BYTES, self.size_bytes - len(start) - _CRC.size):
            raise self._damaged(len(MAGIC), f"its header is to have {length:,} bytes")
        header = self._file.read(length)
        if self._file.read(_CRC.size) != _CRC.pack(zlib.crc32(start + header)):
            raise self._damaged(0, "the checksum of its header is wrong")
        return version, header

    def _chunk_at(self, at: int) -> Chunk:
        self._file.seek(at)
        frame = self._file.read(_FRAME_BYTES)
        if len(frame) < _FRAME_BYTES:
            raise self._damaged(at, "it is cut off")
        mark, kind, number, length = _FRAME.unpack_from(frame)
        if mark != _MARK or frame[_FRAME.size :] != _CRC.pack(zlib.crc32(frame[: _FRAME.size])):
            raise self._damaged(at, "the start of a chunk is wrong")
        if length > min(MOST_CHUNK_BYTES, self.size_bytes - at - _FRAME_BYTES - _CRC.size):
            raise self._damaged(at, f"chunk {number} is cut off, or too long ({length:,} bytes)")
        content = self._file.read(length)
        if self._file.read(_CRC.size) != _CRC.pack(zlib.crc32(content)):
            raise self._damaged(at, f"the checksum of chunk {number} is wrong")
        return Chunk(kind, number, content, at)

    def _check_end(self, end: Chunk, expected: int) -> None:
        if len(end.content) != _END.size:
            raise self._damaged(end.at, "its end is wrong")
        count, sha256 = _END.unpack(end.content)
        if count != end.number or count != expected:
            raise self._damaged(end.at, f"it has {expected} chunks where {count} should be")
        if sha256 != self._digest_to(end.at):
            raise self._damaged(end.at, "the checksum of the whole file is wrong")

    def _digest_to(self, end: int) -> bytes:
        digest = hashlib.sha256()
        self._file.seek(0)
        left = end
        while left and (part := self._file.read(min(left, _SEARCHED_AT_ONCE))):
            digest.update(part)
            left -= len(part)
        return digest.digest()

    def _next_chunk(self, start: int) -> int:
        """Returns where the next mark of a chunk is from a place on, or the end of the file."""
        at = start
        while at < self.size_bytes:
            self._file.seek(at)
            part = self._file.read(_SEARCHED_AT_ONCE)
            found = part.find(_MARK)
            if found >= 0:
                return at + found
            at += max(1, len(part) - len(_MARK) + 1)
        return self.size_bytes

    def _damaged(self, at: int, what: str) -> DataError:
        return DataError(f"{self._called}: is damaged at byte {at:,}: {what}{_ADVICE}")
