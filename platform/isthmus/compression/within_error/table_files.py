"""Tables as files: with all of their columns, or line by line where a csv has a way of its own."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Literal

import pyarrow as pa

from isthmus.compression import bounded
from isthmus.compression.within_error.csv_text import (
    CsvText,
    TextComparison,
    ending_of_lines,
    open_csv_text,
)
from isthmus.compression.within_error.exact_file import Append, ExactFile
from isthmus.data import Provenance
from isthmus.data.outputs.output import TABLE_OUTPUT_ENDINGS, check_ending, whole_file
from isthmus.data.outputs.table_output import CsvStyle, open_table_output
from isthmus.data.storage.files import ending_of
from isthmus.data.tables import open_table
from isthmus.errors import DataError
from isthmus.spec import DataSpec, RowSchema

_TEXT_ENDINGS = tuple(each for each in TABLE_OUTPUT_ENDINGS if each.startswith((".csv", ".tsv")))
_BYTES_AT_ONCE, _BYTES_OF_A_PART = 1 << 20, 1 << 25


class ExactTable(ExactFile):
    """A table."""

    form: Literal["exact_table"] = "exact_table"
    columns: str
    """The names and types of its columns, as Arrow's IPC writes them, in base 64."""
    delimiter: str = ","
    """The sign between the cells of a csv."""
    has_header: bool = True
    """Whether a csv has a line of names."""
    encoding: str = "utf-8"
    """The encoding of a csv."""
    line_end: Literal["\n", "\r\n", "\r"] = "\n"
    """The line end of a csv."""
    is_last_line_ended: bool = True
    """Whether the last line of a csv has an end as well."""

    @property
    def style(self) -> CsvText:
        """The style in which a csv is written."""
        return CsvText(
            self.delimiter, self.line_end, self.encoding, self.has_header, self.is_last_line_ended
        )

    @cached_property
    def schema_of_parts(self) -> pa.Schema:
        """The names and types of the columns."""
        try:
            return pa.ipc.read_schema(pa.BufferReader(b64decode(self.columns)))
        except (pa.ArrowException, ValueError, OSError) as error:
            raise DataError(f"its table has no columns ({error}); it is damaged") from error

    def features(self, data: DataSpec, taken: RowSchema) -> tuple[str, ...]:
        """Returns the columns of the pair; none if it takes categories."""
        names = taken.features or ()
        return names if set(names) <= set(self.schema_of_parts.names) else ()

    def parts(self, path: Path, called: str, data: DataSpec, rows: int) -> Iterator[pa.Table]:
        """Reads all columns as the file types them; those of a csv as texts."""
        table = open_table(str(path), called, data)
        waiting: list[pa.Table] = []
        for batch in table.batches([], [], rows, as_is=self.schema_of_parts.names):
            waiting.append(_as_typed(batch, self.schema_of_parts, called))
            while sum(each.num_rows for each in waiting) >= rows:
                whole = pa.concat_tables(waiting)
                yield whole.slice(0, rows)
                waiting = [whole.slice(rows)]
        if any(each.num_rows for each in waiting):
            yield pa.concat_tables(waiting)

    @contextmanager
    def open_output(self, output: Path, provenance: Provenance) -> Iterator[Append]:
        """Writes any table, by the ending of the output."""
        is_text = all(pa.types.is_string(kind) for kind in self.schema_of_parts.types)
        check_ending(output, TABLE_OUTPUT_ENDINGS, "a table")
        with ExitStack() as stack:
            if is_text and ending_of(output.name).startswith((".csv", ".tsv")):
                temporary = stack.enter_context(whole_file(output, provenance))
                file = stack.enter_context(pa.output_stream(str(temporary), compression="detect"))
                append = stack.enter_context(open_csv_text(file, self.style))
            else:
                style = CsvStyle(self.delimiter, ".", self.has_header, self.encoding)
                append = stack.enter_context(open_table_output(output, provenance, style))
            append(self.schema_of_parts.empty_table())
            yield append


class ExactLines(ExactFile):
    """A csv of which the cells alone do not tell every byte: it is kept line by line."""

    form: Literal["exact_lines"] = "exact_lines"

    @cached_property
    def schema_of_parts(self) -> pa.Schema:
        """One column of lines, with their ends."""
        return pa.schema([("line", pa.binary())])

    def features(self, data: DataSpec, taken: RowSchema) -> tuple[str, ...]:
        """Returns no columns."""
        return ()

    def parts(self, path: Path, called: str, data: DataSpec, rows: int) -> Iterator[pa.Table]:
        """Reads lines; a very long one in several pieces."""
        waiting: list[bytes] = []
        size = 0
        with pa.input_stream(str(path), compression="detect") as file:
            while some := file.read(_BYTES_AT_ONCE):
                waiting += some.splitlines(keepends=True)
                size += len(some)
                while len(waiting) >= rows or size >= _BYTES_OF_A_PART:
                    yield pa.table([pa.array(waiting[:rows], pa.binary())], ["line"])
                    waiting = waiting[rows:]
                    size = sum(map(len, waiting))
        if waiting:
            yield pa.table([pa.array(waiting, pa.binary())], ["line"])

    @contextmanager
    def open_output(self, output: Path, provenance: Provenance) -> Iterator[Append]:
        """Writes a csv."""
        check_ending(output, _TEXT_ENDINGS, "the lines of a csv")
        with (
            whole_file(output, provenance) as temporary,
            pa.output_stream(str(temporary), compression="detect") as file,
        ):

            def append(part: pa.Table) -> None:
                file.write(b"".join(each or b"" for each in part.column("line").to_pylist()))

            yield append


def table_form(
    path: Path, called: str, data: DataSpec, *, is_exact: bool
) -> ExactTable | ExactLines:
    """Returns the form of a table.

    Args:
        path: The local file.
        called: The name for messages.
        data: The settled data section of the pair, which says how a csv is read.
        is_exact: Whether every byte of a csv's text is to be kept.

    Raises:
        DataError: If it cannot be read.
    """
    table = open_table(str(path), called, data)
    names = table.schema().names
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f'{called}: has two columns named "{twice}"; give each its own name')
    types = table.types() or pa.schema([(name, pa.string()) for name in names])
    types = pa.schema([_without_views(each) for each in types], types.metadata)
    is_csv = ending_of(path.name).startswith((".csv", ".tsv"))
    lines = ending_of_lines(path, data.encoding) if is_csv else None
    form = ExactTable(
        columns=b64encode(types.serialize().to_pybytes()).decode(),
        delimiter=data.delimiter or table.delimiter,
        has_header=data.header != "none",
        encoding=data.encoding if lines is None else lines.encoding,
        line_end="\n" if lines is None else lines.line_end,
        is_last_line_ended=lines is None or lines.is_last_ended,
    )
    if is_csv and is_exact and not _is_written_alike(form, path, called, data):
        return ExactLines()
    return form


def _without_views(column: pa.Field) -> pa.Field:
    """Returns a column with the type that has the same values, where few tools know its own."""
    if pa.types.is_string_view(column.type):
        return column.with_type(pa.string())
    return column.with_type(pa.binary()) if pa.types.is_binary_view(column.type) else column


def _as_typed(part: pa.Table, schema: pa.Schema, called: str) -> pa.Table:
    try:
        return part.cast(schema)
    except pa.ArrowNotImplementedError as error:
        raise DataError(
            f"{called}: has a column of a type that cannot be kept ({error}); cast it"
        ) from error


def _is_written_alike(form: ExactTable, path: Path, called: str, data: DataSpec) -> bool:
    """Returns whether a csv that is written from its cells has the bytes that it was read from."""
    with pa.input_stream(str(path), compression="detect") as source:
        compared = TextComparison(source)
        with open_csv_text(compared, form.style) as append:
            for part in form.parts(path, called, data, bounded.MOST_ROWS):
                append(part)
                if not compared.is_equal:
                    return False
        return compared.is_equal and not source.read(1)
