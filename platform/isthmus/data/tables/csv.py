"""Texts with a row on each line and a sign between the cells: csv, tsv."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cached_property
from itertools import islice

import pyarrow as pa
import pyarrow.csv as pa_csv

from isthmus.data.columns.writing import MISSING_SIGN, is_number_somehow
from isthmus.data.storage.files import COMPRESSIONS, ending_of
from isthmus.data.tables import (
    NumberedRows,
    ReadByField,
    TableFormat,
    damaged,
    is_numeric,
    not_a_number,
    refuse_no_rows,
    with_texts,
)
from isthmus.data.tables._csv_blocks import (
    joined,
    may_hold_line_breaks,
    row_too_long,
    size_of_blocks,
)
from isthmus.data.tables._csv_delimiter import delimiter_of
from isthmus.data.tables._faults import RowsOfWrongLength, numbered, parsed
from isthmus.data.tables._signs import LOOKED_AT_BYTES, named
from isthmus.data.tables._written import null_values, numbers_of, plain, without_missing
from isthmus.errors import DataError, first_line

_SNIFFED_ROWS = 20
# The first block tells the types of the columns, and a row must fit into a block.
_BLOCK_BYTES = 4 << 20
# pyarrow's words for a row that fits into no block.
_ROW_TOO_LONG = "straddling object"
_NOT_CONVERTED = re.compile(
    r"In CSV column #(?P<column>\d+): (Row #(?P<row>\d+): )?CSV conversion .* '(?P<value>.*)'",
    re.DOTALL,
)
_DAMAGED = (OSError, pa.ArrowException)
_COMPRESSIONS = {"gz": "gzip", "bz2": "bz2", "zst": "zstd"}
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


class Csv(TableFormat):
    """A csv, with the delimiter and the header found by looking at its first rows."""

    FIELDS = ("delimiter", "header", "encoding")

    ENDINGS = tuple(
        f".{kind}{compression}" for kind in ("csv", "tsv") for compression in ("", *COMPRESSIONS)
    )

    @cached_property
    def header(self) -> tuple[list[str], str]:
        """The names of the columns, and the delimiter.

        Raises:
            DataError: If the file is no table.
        """
        first_rows = self._first_lines()
        delimiter = self.spec.delimiter or delimiter_of(
            first_rows, ending_of(self.address), self.spec.decimal
        )
        try:
            cells = next(csv.reader(first_rows, delimiter=delimiter))
        except csv.Error as error:
            raise DataError(f"{self.name}: is not a csv that can be read ({error})") from None
        if self.spec.header == "none":
            return [f"f{number}" for number in range(len(cells))], delimiter
        is_known = bool(self.spec.columns) and set(self.spec.columns or ()) <= set(cells)
        if not is_known and self._are_values(cells):
            shown = ", ".join(cells[:3]) + (", ..." if len(cells) > 3 else "")
            raise ReadByField(
                f"{self.name}: the first line holds only numbers ({shown}), so it is no header; "
                "set data.header: none, or add a line with the names of the columns",
                *("header", "none", "The first line holds only numbers: columns are f0, f1, ..."),
            )
        return cells, delimiter

    def _are_values(self, cells: Sequence[str]) -> bool:
        """Returns whether a line holds numbers and signs of missing ones, and so no names."""
        first, *others = cells
        if not first and others and all(each.isdecimal() for each in others):
            return False  # pandas writes columns that have only numbers so, behind its index
        return any(map(self._is_number, cells)) and all(map(self._is_value, cells))

    def _is_number(self, cell: str) -> bool:
        return _is_number(cell, self.spec.decimal) or is_number_somehow(cell)

    def _is_value(self, cell: str) -> bool:
        """Returns whether a cell is a number, or means a missing one."""
        text = cell.strip()
        is_missing = not text or cell in null_values(self.spec) or MISSING_SIGN.fullmatch(text)
        return bool(is_missing) or self._is_number(cell)

    def refuse_header(self, numbers: Sequence[str]) -> None:
        """Refuses a first line of names if columns are told by their place; see `TableFormat`."""
        if self.spec.header != "none":
            return
        names, delimiter = self.header
        places = [names.index(each) for each in numbers if each in names]
        lines: list[list[str]] = []
        with suppress(csv.Error):  # a cell too long for this reader, which pyarrow may well read
            for line in csv.reader(self._first_lines(), delimiter=delimiter):
                lines.append(line)
        first, below = lines[0], [each for each in lines[1:] if len(each) == len(names)]
        cells = {first[place] for place in places}
        # One wrong cell in each of several columns, all of them different, is no likely row.
        are_names = 2 * sum(each.lstrip()[:1].isalpha() for each in cells) > len(cells)
        if len(cells) < max(2, len(places)) or any(map(self._is_value, cells)) or not are_names:
            return
        if all(any(self._is_number(each[place]) for each in below) for place in places):
            shown = ", ".join(first[:3]) + (", ..." if len(first) > 3 else "")
            raise DataError(
                f"{self.name}: the first line looks like a header ({shown}), and by data.header: "
                "none the columns are told by their place; take that line out, with the columns in "
                "the order of training, or train without data.header"
            )

    @property
    def delimiter(self) -> str:
        """The delimiter between two cells of the file."""
        return self.header[1]

    def types(self) -> None:
        """Returns `None`: a csv does not say the types of its columns."""

    def schema(self) -> pa.Schema:
        """Returns the names of the columns and the types that the first block has."""
        return self._schema

    @cached_property
    def _schema(self) -> pa.Schema:
        if len(set(self.header[0])) < len(self.header[0]):
            return pa.schema([(name, pa.null()) for name in self.header[0]])  # refused by callers
        with (
            self._said_plainly(),
            # A row with too many cells or too few is a fault of the rows, and not of the columns.
            self._open(
                pa_csv.ConvertOptions(**self._conversion()), on_wrong_row=lambda _: "skip"
            ) as reader,
        ):
            return reader.schema

    def batches(
        self, numbers: Sequence[str], texts: Sequence[str], rows: int, as_is: Sequence[str] = ()
    ) -> Iterator[pa.Table]:
        """Reads columns; see `TableFormat.batches`."""
        texts = [*texts, *as_is]
        schema = self.schema()
        as_written = bool(self.spec.thousands)
        wrong = [
            name for name in numbers if not is_numeric(schema.field(name).type) and not as_written
        ]
        booleans = [name for name in numbers if pa.types.is_boolean(schema.field(name).type)]
        convert = pa_csv.ConvertOptions(
            include_columns=[*numbers, *texts],
            column_types={
                **dict.fromkeys(numbers, pa.string() if as_written else pa.float64()),
                **dict.fromkeys([] if as_written else booleans, pa.bool_()),
                **dict.fromkeys(texts, pa.string()),
            },
            **self._conversion(),
        )
        count = 0
        with self._said_plainly():
            try:
                for made in self._parsed_tables(convert, rows):
                    table = self._as_asked(made, numbers, texts, count)
                    for first in range(0, table.num_rows, rows):
                        yield table.slice(first, rows)
                    count += table.num_rows
            except pa.ArrowInvalid as error:
                raise self._better(error, convert, wrong) from error
        refuse_no_rows(self.name, count)

    def _parsed_tables(self, convert: pa_csv.ConvertOptions, rows: int) -> Iterator[pa.Table]:
        """Yields the rows in small blocks, from a row on that fits into none in large ones."""
        small = size_of_blocks(self._first_lines(), _BLOCK_BYTES, has_quotes=self._has_quotes)
        given = 0
        for size in sorted({small, _BLOCK_BYTES}):
            count = 0
            try:
                with self._open(convert, block_bytes=size) as reader:
                    for table in joined(reader, rows):
                        new = table.slice(max(given - count, 0))
                        count += len(table)
                        given = max(given, count)
                        if len(new):
                            yield new
                return
            except pa.ArrowInvalid as error:
                if size == _BLOCK_BYTES or _ROW_TOO_LONG not in str(error):
                    raise

    def readable_from(
        self, first: int, numbers: Sequence[str], texts: Sequence[str], rows: int
    ) -> Iterator[NumberedRows]:
        """Reads all cells as texts, from a row on, to find those that are no numbers."""
        schema = self.schema()
        is_boolean = {name: pa.types.is_boolean(schema.field(name).type) for name in numbers}
        types = {name: pa.bool_() if is_boolean[name] else pa.float64() for name in numbers}
        convert = pa_csv.ConvertOptions(
            include_columns=[*numbers, *texts],
            column_types=dict.fromkeys([*numbers, *texts], pa.string()),
            **self._conversion(),
        )
        wrong = RowsOfWrongLength(self._rows_before)
        with (
            self._said_plainly(),
            self._open(convert, use_threads=False, on_wrong_row=wrong.skip) as reader,
        ):
            for batch in numbered(reader, wrong, first, rows):
                made = parsed(batch, types, lambda cells: plain(cells, self.spec))
                table = without_missing(made.table, numbers, self.spec)
                yield replace(made, table=with_texts(table, texts))

    def _as_asked(
        self, table: pa.Table, numbers: Sequence[str], texts: Sequence[str], first: int
    ) -> pa.Table:
        table = with_texts(table, texts)
        if self.spec.thousands:  # which pyarrow does not know
            for name in numbers:
                place = table.schema.get_field_index(name)
                column = numbers_of(table.column(name), name, self.name, self.spec, first)
                table = table.set_column(place, name, column)
        return without_missing(table, numbers, self.spec)

    def _conversion(self) -> dict[str, object]:
        return {"null_values": null_values(self.spec), "decimal_point": self.spec.decimal}

    def _open(
        self,
        convert: pa_csv.ConvertOptions,
        *,
        use_threads: bool = True,
        block_bytes: int | None = None,
        on_wrong_row: Callable[[pa_csv.InvalidRow], str] | None = None,
    ) -> pa_csv.CSVStreamingReader:
        names, delimiter = self.header
        return pa_csv.open_csv(
            self._open_bytes(),
            read_options=pa_csv.ReadOptions(
                block_size=block_bytes or _BLOCK_BYTES,
                use_threads=use_threads,
                encoding=self.spec.encoding,
                column_names=names if self.spec.header == "none" else None,
            ),
            parse_options=pa_csv.ParseOptions(
                delimiter=delimiter,
                newlines_in_values=self._has_quotes,
                # In a table of one column, an empty line is a missing value.
                ignore_empty_lines=len(names) > 1,
                invalid_row_handler=on_wrong_row,
            ),
            convert_options=convert,
        )

    @property
    def _rows_before(self) -> int:
        """The number that pyarrow gives to row 0: it counts from 1, and counts the header too."""
        return 1 if self.spec.header == "none" else 2

    @property
    def _compression(self) -> str | None:
        return _COMPRESSIONS.get(ending_of(self.address).rpartition(".")[2])

    @cached_property
    def _has_quotes(self) -> bool:
        """Whether a cell behind the first line is in quotes, and so may hold a line break."""
        return may_hold_line_breaks(self.path, self._compression)

    def _open_bytes(self) -> pa.NativeFile:
        return pa.input_stream(self.address, compression=self._compression)

    def _first_lines(self) -> list[str]:
        """Returns the first lines that are not empty, without a byte order mark."""
        try:
            with self._open_bytes() as binary:
                start = binary.read(LOOKED_AT_BYTES)
            if self.spec.encoding == "utf-8":
                self._refuse_start(start)
            encoding = "utf-8-sig" if self.spec.encoding == "utf-8" else self.spec.encoding
            with (
                self._open_bytes() as binary,
                io.TextIOWrapper(binary, encoding=encoding, newline="") as file,
            ):
                lines = list(islice((line for line in file if line.strip()), _SNIFFED_ROWS))
        except UnicodeError:
            raise DataError(_not_decoded(self.name, self.spec.encoding)) from None
        except _DAMAGED as error:
            raise DataError(damaged(self.name, error)) from error
        if not lines:
            raise DataError(f"{self.name}: holds only empty lines; give a header and rows")
        return lines

    def _refuse_start(self, start: bytes) -> None:
        if start.startswith(_UTF_16):
            raise ReadByField(
                f"{self.name}: is UTF-16 text; save it as UTF-8, or set data.encoding: utf-16",
                *("encoding", "utf-16", "The file begins with the mark of UTF-16."),
            )
        what = named(start, ".csv")
        if what is not None:
            raise DataError(f"{self.name}: is {what}")

    @contextmanager
    def _said_plainly(self) -> Iterator[None]:
        try:
            yield
        except pa.ArrowInvalid as error:
            raise DataError(self._unreadable(error)) from error
        except UnicodeError as error:
            raise DataError(_not_decoded(self.name, self.spec.encoding)) from error
        except _DAMAGED as error:
            raise DataError(damaged(self.name, error)) from error

    def _unreadable(self, error: pa.ArrowInvalid) -> str:
        if "UTF8" in str(error) or "utf-8" in str(error):
            return _not_decoded(self.name, self.spec.encoding)
        if "Empty CSV file" in str(error):
            return f"{self.name}: has a header but no rows; give at least one"
        if _ROW_TOO_LONG in str(error):
            with (
                self._open_bytes() as binary,
                io.TextIOWrapper(binary, encoding="latin-1", newline="\n") as lines,
            ):
                return row_too_long(self.name, lines, _BLOCK_BYTES)
        if "CSV parse error" in str(error):
            # Only the reader with one thread knows the line.
            error = self._again(pa_csv.ConvertOptions(), error)
            problem = first_line(error).removeprefix("CSV parse error: ")
            return f"{self.name}: is not a table: {problem}; mend that line"
        return f"{self.name}: is not a csv that can be read ({first_line(error)})"

    def _better(
        self, error: pa.ArrowInvalid, convert: pa_csv.ConvertOptions, wrong: Sequence[str]
    ) -> Exception:
        """Returns the error about a value that is no number, if it is one, else the same error."""
        again = self._again(convert, error)
        found = _NOT_CONVERTED.search(str(again))
        names = self.header[0]
        if found is not None:
            row = None if found["row"] is None else int(found["row"]) - self._rows_before
            return not_a_number(self.name, names[int(found["column"])], found["value"], row)
        if wrong:
            return not_a_number(self.name, wrong[0], "")
        return DataError(self._unreadable(error))

    def _again(self, convert: pa_csv.ConvertOptions, error: pa.ArrowInvalid) -> pa.ArrowInvalid:
        """Reads with one thread until the first error, which then names the row."""
        try:
            with self._open(convert, use_threads=False) as reader:
                for _ in reader:
                    pass
        except pa.ArrowInvalid as again:
            return again
        return error


def _is_number(text: str, decimal: str) -> bool:
    try:
        float(text.strip().replace(decimal, "."))
    except ValueError:
        return False
    return text.strip().lower() not in ("nan", "inf", "-inf", "infinity")


def _not_decoded(name: str, encoding: str) -> str:
    if encoding == "utf-8":
        return f"{name}: is not UTF-8 text; save it as UTF-8, or set data.encoding (latin-1, say)"
    return f"{name}: is no text in data.encoding={encoding}; set the encoding it was saved in"
