"""A compressed file that was checked from end to end before anything of it is decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from isthmus.compression.container import ChunkKind, ContainerReader
from isthmus.compression.header import Header, Summary, local_file, read_header, read_summary
from isthmus.errors import DataError

Decoded = TypeVar("Decoded")


@dataclass(frozen=True)
class OpenedFile:
    """A compressed file that was checked from end to end.

    Attributes:
        reader: The chunks.
        source: The name for messages.
        header: The header.
        summary: The summary; `None` if that is lost.
        salvage: Whether what is damaged is left out.
    """

    reader: ContainerReader
    source: str
    header: Header
    summary: Summary | None
    salvage: bool

    def decoded(
        self, kind: ChunkKind, decode: Callable[[bytes], Decoded], damages: list[str]
    ) -> Iterator[Decoded]:
        """Yields what the chunks of a kind hold, in order.

        Args:
            kind: The kind.
            decode: Decodes the content of a chunk.
            damages: A list that is told, in words, of each chunk that is left out.

        Raises:
            DataError: If a chunk cannot be decoded, and is not to be left out.
        """
        for chunk in self.reader.chunks(salvage=self.salvage):
            if chunk.kind != kind:
                continue
            try:
                made = decode(chunk.content)
            except DataError as error:
                said = f"chunk {chunk.number} at byte {chunk.at:,}: {error}"
                if not self.salvage:
                    raise DataError(f"{self.source}: {said}") from error
                damages.append(said)
                continue
            yield made


@contextmanager
def open_compressed(source: str, *, salvage: bool = False) -> Iterator[OpenedFile]:
    """Opens a compressed file, and checks all of its checksums.

    Raises:
        DataError: If it is damaged, or is none.
    """
    with ContainerReader(local_file(source), source) as reader:
        header = read_header(reader, source)
        summary = _checked(reader, source, salvage=salvage)
        yield OpenedFile(reader, source, header, summary, salvage)


def _checked(reader: ContainerReader, source: str, *, salvage: bool) -> Summary | None:
    """Checks all chunks of a file, and returns its summary; `None` if that is lost."""
    summary = None
    for chunk in reader.chunks(salvage=salvage):
        if chunk.kind == ChunkKind.SUMMARY:
            summary = read_summary(chunk.content, source)
        elif chunk.kind not in (ChunkKind.ROWS, ChunkKind.REGION, ChunkKind.EXACT) and not salvage:
            raise DataError(
                f"{source}: has a chunk of kind {chunk.kind} at byte {chunk.at:,}, which this "
                "Isthmus does not know; upgrade isthmus"
            )
    if summary is None and not salvage:
        raise DataError(f"{source}: has no summary; decompress it with --salvage")
    return summary
