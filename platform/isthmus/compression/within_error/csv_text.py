"""Tables of texts as csv, in which only cells that need quotes have them."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import pyarrow as pa
import pyarrow.compute as pc

LineEnd = Literal["\n", "\r\n", "\r"]

_START = 1 << 16
_BYTES_AT_ONCE = 1 << 20


class Writable(Protocol):
    """A file or stream that bytes can be written to."""

    def write(self, data: bytes, /) -> object:
        """Appends bytes."""


@dataclass(frozen=True)
class CsvText:
    """The style in which a csv is written.

    Attributes:
        delimiter: The sign between cells.
        line_end: The end of a line.
        encoding: The encoding.
        has_header: Whether there is a line of names.
        is_last_ended: Whether the last line has an end, too.
    """

    delimiter: str
    line_end: str
    encoding: str
    has_header: bool
    is_last_ended: bool


@contextmanager
def open_csv_text(file: Writable, style: CsvText) -> Iterator[Callable[[pa.Table], None]]:
    """Gives a function that appends tables whose columns are texts; an empty cell is a null."""
    is_first = True
    # It writes the sign of the byte order before the first line only.
    encoder = codecs.getincrementalencoder(style.encoding)()

    def append(part: pa.Table) -> None:
        nonlocal is_first
        lines = []
        if is_first and style.has_header:
            names = pa.array(part.column_names, pa.string())
            lines.append(style.delimiter.join(_quoted(names, style.delimiter).to_pylist()))
        cells = [_quoted(each.combine_chunks(), style.delimiter) for each in part.columns]
        lines += pc.binary_join_element_wise(
            *cells, style.delimiter, null_handling="replace", null_replacement=""
        ).to_pylist()
        if lines:
            text = style.line_end.join(lines)
            file.write(encoder.encode(text if is_first else style.line_end + text))
            is_first = False

    yield append
    if style.is_last_ended and not is_first:
        file.write(encoder.encode(style.line_end))


class TextComparison:
    """Compares what is written to it with what a stream holds.

    Attributes:
        is_equal: Whether it was the same so far.
    """

    def __init__(self, source: pa.NativeFile) -> None:
        self.is_equal = True
        self._source = source

    def write(self, data: bytes, /) -> None:
        """Compares the next bytes."""
        self.is_equal = self.is_equal and self._source.read(len(data)) == data


@dataclass(frozen=True)
class LinesOf:
    """The line ends and the encoding of a csv.

    Attributes:
        line_end: The end of the first line.
        encoding: The encoding, with a sign of the byte order if there is one.
        is_last_ended: Whether the last line has an end, too.
    """

    line_end: LineEnd
    encoding: str
    is_last_ended: bool


def ending_of_lines(path: Path, encoding: str) -> LinesOf:
    """Returns how the lines of a csv end: as the first one does, outside of quotes."""
    with pa.input_stream(str(path), compression="detect") as file:
        start = last = file.read(_START)
        while some := file.read(_BYTES_AT_ONCE):
            last = some
    if encoding == "utf-8" and start.startswith(codecs.BOM_UTF8):
        encoding = "utf-8-sig"
    bare = re.sub(r'"[^"]*"', "", start.decode(encoding, "ignore"))
    found = re.search(r"\r\n|\n|\r", bare)
    ends: dict[str, LineEnd] = {"\r\n": "\r\n", "\r": "\r"}
    line_end = "\n" if found is None else ends.get(found.group(), "\n")
    # Of UTF-16, a zero stands behind the sign.
    return LinesOf(line_end, encoding, last.rstrip(b"\0").endswith((b"\n", b"\r")))


def _quoted(cells: pa.Array, delimiter: str) -> pa.Array:
    needs = pc.match_substring_regex(cells, f'["\\r\\n]|{re.escape(delimiter)}')
    if not pc.any(needs).as_py():
        return cells
    doubled = pc.replace_substring(cells, '"', '""')
    return pc.if_else(needs, pc.binary_join_element_wise('"', doubled, '"', ""), cells)
