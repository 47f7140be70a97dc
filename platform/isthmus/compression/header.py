"""Reads the header of a compressed file: the pair that made it, its input, and the input's form.

No pair and no torch are needed to read it.
"""

from __future__ import annotations

import zlib
from math import prod
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints, ValidationError

from isthmus.compression.container import MOST_HEADER_BYTES, ChunkKind, ContainerReader
from isthmus.compression.forms import Count, Form, ImagesForm
from isthmus.compression.names import told
from isthmus.compression.within_error.form import ColumnSummary
from isthmus.data.storage.files import is_in_s3
from isthmus.errors import DataError
from isthmus.spec import SpecModel
from isthmus.types import DataKind

ENDING = ".isth"
"""The ending of a compressed file."""
# What headers have in common, which a deflated one refers to: without it, that of a small photo
# would be a twentieth of its file. It is a part of the format, and never changes within a version.
_USUAL = (
    b'{"pair_id":"","model":"photos/1","variant":"hyperprior","isthmus_version":"0.1.0","created":'
    b'"2026-01-01T00:00:00+00:00","source":"","kind":"images","row_shape":[3,],"quality":null,'
    b'"form":{"form":"images","is_folder":false,"names":[".png"],"sizes":[[512,768]],"modes":'
    b'["RGB"],"deep":[false],"white":255.0}}'
)


class Header(SpecModel):
    """The header of a compressed file."""

    pair_id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8,64}$")]
    """The id of the pair whose decoder and tables it is decoded with."""
    model: str
    """The name and version that the pair had, such as `digits/3`."""
    variant: str
    """The variant of the pair."""
    isthmus_version: str
    """The version of Isthmus that wrote it."""
    created: str
    """The time at which it was written, ISO 8601."""
    source: str
    """The input, as the user wrote it."""
    kind: DataKind
    """The kind of the rows."""
    row_shape: tuple[Annotated[int, Field(ge=1, le=2**40)], ...] = Field(min_length=1)
    """The shape of a row."""
    quality: Annotated[float, Field(ge=0, le=100)] | None = None
    """The quality of the rows; `None` of a pair that has one rate."""
    form: Form
    """The form of the input, in which the rows are written again."""


class Summary(SpecModel):
    """The figures that are known only when all rows are written."""

    rows: tuple[Count, ...]
    """The number of rows of each file."""
    absent: tuple[Count, ...] = ()
    """The positions of the images that could not be read and are not in it."""
    columns: tuple[ColumnSummary, ...] = ()
    """A summary of each column, if the file holds files with all of their columns."""
    parquet_chunks: Count = 0
    """The number of chunks that are stored as parquet, because that was smaller."""


def packed(header: Header) -> bytes:
    """Returns a header as a file holds it: its JSON, deflated.

    Raises:
        DataError: If it is longer than one that is read.
    """
    content = header.model_dump_json().encode()
    deflate = zlib.compressobj(9, wbits=-zlib.MAX_WBITS, memLevel=9, zdict=_USUAL)
    deflated = deflate.compress(content) + deflate.flush()
    if max(len(content), len(deflated)) > MOST_HEADER_BYTES:
        advice = "compress it in parts"
        if header.form.form == "series" and header.form.order is not None:
            advice = "sort its steps by series and time, or compress it in parts"
        raise DataError(
            f"{header.source}: what is to be kept of its form has {len(content):,} bytes, and a "
            f"file has room for {MOST_HEADER_BYTES:,}; {advice}"
        )
    return deflated


def read_header(reader: ContainerReader, called: str) -> Header:
    """Returns the header of an opened file.

    Raises:
        DataError: If it is none.
    """
    inflate = zlib.decompressobj(wbits=-zlib.MAX_WBITS, zdict=_USUAL)
    try:
        return Header.model_validate_json(inflate.decompress(reader.header, MOST_HEADER_BYTES))
    except (ValidationError, RecursionError, zlib.error) as error:
        raise DataError(f"{called}: its header is damaged: {_told(error)}; restore it") from error


def read_summary(content: bytes, called: str) -> Summary:
    """Returns the summary that a chunk holds.

    Raises:
        DataError: If it is none.
    """
    try:
        return Summary.model_validate_json(content)
    except (ValidationError, RecursionError) as error:
        raise DataError(f"{called}: its summary is damaged: {_told(error)}; restore it") from error


def local_file(source: str) -> Path:
    """Returns the place of a compressed file on this machine; one in S3 is copied to the cache.

    Raises:
        DataError: If there is no such file.
    """
    if is_in_s3(source):
        from isthmus.data.storage.s3 import fetch

        return fetch([source])[0]
    path = Path(source).expanduser()
    if path.is_dir():
        raise DataError(f"{source}: is a folder; name the {ENDING} file")
    if not path.exists():
        raise DataError(f"{source}: no such file or folder; check the path")
    return path


class Inspection(SpecModel):
    """The facts about a compressed file that `isthmus inspect` prints."""

    file: str
    """The file."""
    format: int
    """The version of its format."""
    header: Header
    """The header of the file."""
    size_bytes: int
    """The length of the file."""
    chunks: int
    """The number of whole chunks of rows, or of regions of images."""
    any_size: bool
    """Whether its images are each of a size of their own, and not of the pair's `row_shape`."""
    rows: int | None
    """The number of rows; `None` if its summary is lost."""
    files: int
    """The number of files in it."""
    bits_per_value: float | None
    """The number of bits that the file takes for each value."""
    columns: tuple[ColumnSummary, ...]
    """A summary of each column, if the file holds files with all of their columns."""
    parquet_chunks: int
    """The number of chunks that are stored as parquet, because that was smaller."""
    damages: tuple[str, ...]
    """The damages that were found, one sentence each; empty if the file is whole."""


def inspect(source: str) -> Inspection:
    """Reads a compressed file from end to end, and checks all of its checksums.

    Raises:
        DataError: If it is no compressed file, or its header is damaged.
    """
    with ContainerReader(local_file(source), source) as reader:
        header = read_header(reader, source)
        chunks, summary, any_size = 0, None, False
        for chunk in reader.chunks(salvage=True):
            chunks += chunk.kind in (ChunkKind.ROWS, ChunkKind.REGION, ChunkKind.EXACT)
            any_size = any_size or chunk.kind == ChunkKind.REGION
            if chunk.kind == ChunkKind.SUMMARY:
                summary = read_summary(chunk.content, source)
        damages, size_bytes = tuple(reader.damages), reader.size_bytes
        version = reader.version
    values = None
    if summary is not None and header.form.form != "exact":
        values = _values(header, summary, any_size=any_size)
    return Inspection(
        file=source,
        format=version,
        header=header,
        size_bytes=size_bytes,
        chunks=chunks,
        any_size=any_size,
        rows=None if summary is None else sum(summary.rows),
        files=files_in(header.form),
        bits_per_value=8 * size_bytes / values if values else None,
        columns=() if summary is None else summary.columns,
        parquet_chunks=0 if summary is None else summary.parquet_chunks,
        damages=damages,
    )


def _values(header: Header, summary: Summary, *, any_size: bool) -> int:
    """Returns the number of values in all rows."""
    if any_size and isinstance(header.form, ImagesForm):
        absent = set(summary.absent)
        pixels = (prod(size) for at, size in enumerate(header.form.sizes) if at not in absent)
        return header.row_shape[0] * sum(pixels)
    return sum(summary.rows) * prod(header.row_shape)


def files_in(form: Form) -> int:
    """Returns the number of files that a form describes."""
    form = form.steps if form.form == "series" else form
    return len(form.names) if form.form in ("folder", "images", "sounds", "exact") else 1


def _told(error: Exception) -> str:
    if isinstance(error, zlib.error):
        return "it cannot be inflated"
    if not isinstance(error, ValidationError):
        return "it is nested too deeply"
    return told(error)
