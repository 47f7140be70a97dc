"""Writes tables to csv, jsonl, parquet and feather: whole or not at all, block by block."""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from isthmus.data.outputs.output import TABLE_OUTPUT_ENDINGS, check_ending, whole_file
from isthmus.data.outputs.provenance import PARQUET_KEY, Provenance
from isthmus.data.storage.files import ending_of
from isthmus.data.tables import as_texts
from isthmus.errors import DataError


@dataclass(frozen=True)
class CsvStyle:
    """The style of a csv of results, chosen so that the pair that made the csv can read it.

    Attributes:
        delimiter: The sign between the cells.
        decimal: The decimal sign of the numbers that are not whole.
        has_header: Whether the first line has the names of the columns.
        encoding: The encoding of the file.
    """

    delimiter: str = ","
    decimal: str = "."
    has_header: bool = True
    encoding: str = "utf-8"


@contextmanager
def open_table_output(
    output: Path, provenance: Provenance, style: CsvStyle = CsvStyle()
) -> Iterator[Callable[[pa.Table], None]]:
    """Yields a function that appends a table, each with the same columns; the ending is the format.

    The file appears when all are written, and not at all if an error comes first. A parquet holds
    the provenance in its metadata.

    Raises:
        DataError: If the ending is no table's, or the place cannot be written to.
    """
    check_ending(output, TABLE_OUTPUT_ENDINGS, "a table")
    with whole_file(output, provenance) as temporary:
        match ending_of(output.name).split(".")[1]:
            case "parquet" | "pq":
                writing = _open_parquet(temporary, provenance)
            case "feather" | "arrow":
                writing = _open_feather(temporary, provenance)
            case "jsonl" | "ndjson":
                writing = _open_jsonl(temporary)
            case _:
                writing = _open_csv(temporary, style)
        with writing as append:
            yield append


@contextmanager
def _open_parquet(path: Path, provenance: Provenance) -> Iterator[Callable[[pa.Table], None]]:
    writer: pq.ParquetWriter | None = None

    def append(table: pa.Table) -> None:
        nonlocal writer
        if writer is None:
            metadata = {**(table.schema.metadata or {}), PARQUET_KEY: provenance.to_json()}
            # Numbers seldom repeat, and to look for that takes longer than all the rest.
            repeating = [field.name for field in table.schema if not _is_number(field.type)]
            schema = table.schema.with_metadata(metadata)
            writer = pq.ParquetWriter(path, schema, use_dictionary=repeating)
        writer.write_table(table.replace_schema_metadata(writer.schema.metadata))

    try:
        yield append
    finally:
        if writer is not None:
            writer.close()


@contextmanager
def _open_feather(path: Path, provenance: Provenance) -> Iterator[Callable[[pa.Table], None]]:
    writer: pa.RecordBatchFileWriter | None = None

    def append(table: pa.Table) -> None:
        nonlocal writer
        table = _without_dictionaries(table)
        metadata = {**(table.schema.metadata or {}), PARQUET_KEY: provenance.to_json()}
        table = table.replace_schema_metadata(metadata)
        if writer is None:
            writer = pa.ipc.new_file(str(path), table.schema)
        writer.write_table(table)

    try:
        yield append
    finally:
        if writer is not None:
            writer.close()


def _without_dictionaries(table: pa.Table) -> pa.Table:
    """Returns the values of columns by code: a file has one code, and blocks may have others."""
    for place, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            values = table.column(place).cast(field.type.value_type)
            table = table.set_column(place, field.name, values)
    return table


@contextmanager
def _open_jsonl(path: Path) -> Iterator[Callable[[pa.Table], None]]:
    with pa.output_stream(str(path), compression="detect") as file:

        def append(table: pa.Table) -> None:
            for place, field in enumerate(table.schema):
                if pa.types.is_floating(field.type):
                    column = _as_json_numbers(table.column(place))
                    table = table.set_column(place, field.name, column)
            for row in table.to_pylist():
                file.write((json.dumps(row, ensure_ascii=False, default=str) + "\n").encode())

        yield append


def _as_json_numbers(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Returns floats as JSON can hold them: no NaN, and float32 with no more digits than it has."""
    if not pa.types.is_float64(column.type):
        column = column.cast(pa.string()).cast(pa.float64())
    return pc.if_else(pc.is_finite(column), column, pa.scalar(None, pa.float64()))


@contextmanager
def _open_csv(path: Path, style: CsvStyle) -> Iterator[Callable[[pa.Table], None]]:
    needs_header = style.has_header
    encoder = codecs.getincrementalencoder(style.encoding)()  # one sign of its byte order
    with pa.output_stream(str(path), compression="detect") as file:

        def write(content: bytes | pa.Buffer) -> None:
            if style.encoding != "utf-8":
                try:
                    content = encoder.encode(codecs.decode(content, "utf-8"))
                except UnicodeEncodeError as error:
                    sign = error.object[error.start]
                    raise DataError(
                        f'data.encoding={style.encoding} has no "{sign}", which the results hold; '
                        "write them to a .parquet"
                    ) from error
            file.write(content)

        def append(table: pa.Table) -> None:
            nonlocal needs_header
            table = _as_cells(table, style.decimal)
            if needs_header:
                write(_header(table, style.delimiter))
                needs_header = False
            write(_csv_of(table, style.delimiter))

        yield append


def _as_cells(table: pa.Table, decimal: str) -> pa.Table:
    """Returns a table whose columns all are numbers or texts, as a csv can hold them."""
    for place, field in enumerate(table.schema):
        kind = field.type
        if pa.types.is_floating(kind) and decimal != ".":
            # pyarrow writes no other sign.
            texts = pc.replace_substring(table.column(place).cast(pa.string()), ".", decimal)
            table = table.set_column(place, field.name, texts)
        elif not (_is_number(kind) or pa.types.is_boolean(kind) or pa.types.is_string(kind)):
            table = table.set_column(place, field.name, _as_texts(table.column(place)))
    return table


def _as_texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Returns a column as texts; what has no text of its own, such as a list, is JSON."""
    try:
        return as_texts(column)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        texts = (None if v is None else json.dumps(v, default=str) for v in column.to_pylist())
        return pa.chunked_array([pa.array(texts, pa.string())])


def _header(table: pa.Table, delimiter: str) -> bytes:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerow(table.column_names)
    return text.getvalue().encode()


def _csv_of(table: pa.Table, delimiter: str) -> pa.Buffer:
    def written(quoting: str) -> pa.Buffer:
        options = pa_csv.WriteOptions(
            include_header=False, quoting_style=quoting, delimiter=delimiter
        )
        buffer = pa.BufferOutputStream()
        pa_csv.write_csv(table, buffer, options)
        return buffer.getvalue()

    try:
        # Without quotes, so that carried texts stay as they were; "needed" quotes every text.
        return written("none")
    except pa.ArrowInvalid:
        return written("needed")


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))
