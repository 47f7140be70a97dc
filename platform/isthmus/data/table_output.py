"""Writes tables to csv and parquet: whole or not at all, and a block after the other."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from isthmus.data.output import whole_file
from isthmus.data.provenance import PARQUET_KEY, Provenance


@contextmanager
def open_table(
    output: Path, provenance: Provenance, delimiter: str = ","
) -> Iterator[Callable[[pa.Table], None]]:
    """Gives a function that appends a table to a csv or parquet, each with the same columns.

    The file appears when all are written, and not at all if an error comes first. A parquet holds
    the provenance in its metadata.

    Raises:
        DataError: If the place cannot be written to.
    """
    with whole_file(output, provenance) as temporary:
        if output.suffix.lower() == ".parquet":
            with _open_parquet(temporary, provenance) as append:
                yield append
        else:
            with _open_csv(temporary, delimiter) as append:
                yield append


def save_table(table: pa.Table, output: Path, provenance: Provenance, delimiter: str = ",") -> None:
    """Writes one table to csv or parquet, as `open_table`."""
    with open_table(output, provenance, delimiter) as append:
        append(table)


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
def _open_csv(path: Path, delimiter: str) -> Iterator[Callable[[pa.Table], None]]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else delimiter
    with path.open("wb") as file:

        def append(table: pa.Table) -> None:
            if file.tell() == 0:
                file.write(_header(table, delimiter))
            _write_csv(table, file, delimiter)

        yield append


def _header(table: pa.Table, delimiter: str) -> bytes:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerow(table.column_names)
    return text.getvalue().encode()


def _write_csv(table: pa.Table, file: BinaryIO, delimiter: str) -> None:
    def options(quoting: str) -> pa_csv.WriteOptions:
        return pa_csv.WriteOptions(include_header=False, quoting_style=quoting, delimiter=delimiter)

    start = file.tell()
    try:
        # Without quotes, so that carried texts stay as they were; "needed" quotes every text.
        pa_csv.write_csv(table, file, options("none"))
    except pa.ArrowInvalid:
        file.seek(start)
        file.truncate()
        pa_csv.write_csv(table, file, options("needed"))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))
