"""csv and parquet files, read and written a block of rows at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from isthmus.data.array_layout import save_array
from isthmus.data.categories import UnknownValues
from isthmus.data.matrix import form_like
from isthmus.data.provenance import Provenance
from isthmus.data.quality import MissingInBlocks
from isthmus.data.rows import FloatArray
from isthmus.data.storage import ARRAY_ENDINGS, Source
from isthmus.data.stream import Block, WriteBlock, kept_numbers, rows_in_a_block
from isthmus.data.table_layout import TableForm
from isthmus.data.table_output import open_table
from isthmus.data.tables import (
    column_names,
    floats,
    parse_options,
    refuse_no_rows,
    refuse_texts,
    said_plainly,
    text_among_numbers,
    texts,
)
from isthmus.errors import DataError
from isthmus.spec import DataSpec

_CSV_BLOCK_BYTES = 4 << 20
_BUFFER_BYTES = 1 << 20
_NOT_CONVERTED = re.compile(r"In CSV column #(\d+): Row #(\d+): CSV conversion .* '(.*)'")


@dataclass(frozen=True, eq=False)
class TableStream:
    """Rows of a csv or parquet.

    Attributes:
        form: The file and its columns.
        spec: What the pair was trained on: its `missing`.
        total: Rows of a parquet; `None` for a csv.
    """

    form: TableForm
    spec: DataSpec
    total: int | None

    def blocks(self, *, carry: bool = False) -> Iterator[Block]:
        """Reads the rows, and with `carry` the columns that are no features."""
        form, source = self.form, self.form.source
        expansion = form.expansion
        numeric = list(expansion.numeric if expansion else form.columns)
        categories = list(expansion.values) if expansion else []
        others = form.others() if carry else []
        missing = MissingInBlocks(self.spec.missing, form.features, source.name)
        unknown = UnknownValues(expansion, source.name) if expansion else None
        first = 0
        for table in _tables(source, numeric, [*categories, *others], len(form.features)):
            values = floats(table, numeric)
            if expansion and unknown:
                columns = {name: texts(table.column(name)) for name in categories}
                values = expansion.expand(values, columns)
                unknown.add(values, columns)
            kept = missing.kept(values)
            carried = table.select(others) if carry else None
            if kept is not None:
                values = np.ascontiguousarray(values[kept])
                carried = carried.take(pa.array(kept)) if carried is not None else None
            index = {"row": kept_numbers(first, table.num_rows, kept)}
            first += table.num_rows
            if len(values):
                yield Block(values, index, carried)
        refuse_no_rows(source, first)
        missing.finish()
        if unknown:
            unknown.report()

    def check_output(self, output: Path) -> None:
        """Refuses an ending that is neither a table's nor an array's."""
        self.form.check_output(output)

    @contextmanager
    def open_output(self, output: Path, provenance: Provenance) -> Iterator[WriteBlock]:
        """Writes results in place of the columns they came from; to npz and npy all at the end."""
        form = self.form
        if output.suffix.lower() in ARRAY_ENDINGS:
            parts: list[FloatArray] = []
            yield lambda _, values: parts.append(values)
            beside = {"columns": np.array(form.features)}
            save_array(np.concatenate(parts), "x", output, provenance, beside)
            return
        schema = form.schema()
        with open_table(output, provenance, form.delimiter) as append:
            yield lambda block, values: append(form.fill(values, block.carried, schema))


def stream_table(source: Source, data: DataSpec, width: int) -> TableStream:
    """The rows of a csv or parquet for a trained pair, as `read_matrix_like` finds them.

    Raises:
        DataError: If columns are absent, or their number is wrong.
    """
    form = form_like(source, data, width)
    if source.ending != ".parquet":
        return TableStream(form, data, None)
    with said_plainly(source):
        total = pq.read_metadata(source.path).num_rows
    return TableStream(form, data, total)


def _tables(
    source: Source, numeric: Sequence[str], as_text: Sequence[str], width: int
) -> Iterator[pa.Table]:
    if source.ending == ".parquet":
        yield from _parquet_tables(source, numeric, as_text, rows_in_a_block((width,)))
    else:
        yield from _csv_tables(source, numeric, as_text)


def _parquet_tables(
    source: Source, numeric: Sequence[str], others: Sequence[str], rows: int
) -> Iterator[pa.Table]:
    # Otherwise pyarrow holds row groups whole, all that were read: the memory grows with the file.
    buffered = {"pre_buffer": False, "buffer_size": _BUFFER_BYTES}
    with said_plainly(source), pq.ParquetFile(source.path, **buffered) as file:
        for batch in file.iter_batches(rows, columns=[*numeric, *others]):
            table = pa.Table.from_batches([batch])
            refuse_texts(source, table, numeric)
            yield table


def _csv_tables(
    source: Source, numeric: Sequence[str], as_text: Sequence[str]
) -> Iterator[pa.Table]:
    with said_plainly(source):
        convert = _conversion(source, numeric, as_text)
        try:
            yield from _converted(source, convert, as_text)
        except pa.ArrowInvalid as error:
            said = _late_text(source, convert, error)
            if said is None:
                raise
            raise DataError(said) from error


def _conversion(
    source: Source, numeric: Sequence[str], as_text: Sequence[str]
) -> pa_csv.ConvertOptions:
    """The type of each column: the first block's, but for whole numbers, which later ones may
    not all be."""
    guess = pa_csv.ConvertOptions(include_columns=list(numeric))
    with _open_csv(source, guess) as batches:
        batch = next(iter(batches), None)
        schema = batches.schema
    first = pa.Table.from_batches([] if batch is None else [batch], schema=schema)
    refuse_no_rows(source, first.num_rows)
    refuse_texts(source, first, numeric)
    booleans = [name for name in numeric if pa.types.is_boolean(schema.field(name).type)]
    return pa_csv.ConvertOptions(
        include_columns=[*numeric, *as_text],
        column_types={
            **dict.fromkeys(numeric, pa.float64()),
            **dict.fromkeys(booleans, pa.bool_()),
            **dict.fromkeys(as_text, pa.string()),
        },
    )


def _converted(
    source: Source, convert: pa_csv.ConvertOptions, as_text: Sequence[str]
) -> Iterator[pa.Table]:
    with _open_csv(source, convert) as batches:
        for batch in batches:
            table = pa.Table.from_batches([batch])
            for name in as_text:
                # Null is written back as the empty cell that it was.
                column = table.column(name)
                cells = pc.if_else(pc.equal(column, ""), None, column)
                table = table.set_column(table.schema.get_field_index(name), name, cells)
            yield table


def _open_csv(
    source: Source, convert: pa_csv.ConvertOptions, *, use_threads: bool = True
) -> pa_csv.CSVStreamingReader:
    return pa_csv.open_csv(
        source.path,
        read_options=pa_csv.ReadOptions(block_size=_CSV_BLOCK_BYTES, use_threads=use_threads),
        parse_options=parse_options(source),
        convert_options=convert,
    )


def _late_text(
    source: Source, convert: pa_csv.ConvertOptions, error: pa.ArrowInvalid
) -> str | None:
    """What is said of a text that comes after a first block of numbers; `None` if none does."""
    try:
        # Only the reader with one thread knows the row.
        with _open_csv(source, convert, use_threads=False) as batches:
            for _ in batches:
                pass
    except pa.ArrowInvalid as again:
        error = again
    found = _NOT_CONVERTED.search(str(error))
    if found is None:
        return None
    column, line, example = found.groups()
    row = int(line) - 2  # counted from 1, the header too
    return text_among_numbers(source, column_names(source)[int(column)], example, row)
