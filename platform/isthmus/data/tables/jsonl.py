"""JSON lines: an object for each row."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from isthmus.data.rows import Rejected
from isthmus.data.tables import NumberedRows, not_a_number, said_plainly
from isthmus.data.tables._faults import no_number
from isthmus.data.tables._files import TypedFile
from isthmus.data.tables._nesting import MOST_LEVELS, is_nested_deeply, levels_of
from isthmus.data.tables._written import plain, reads_texts, without_missing
from isthmus.errors import DataError

# pyarrow reads no longer line.
_LONGEST_LINE = 1 << 20
_LOOKED_AT_ROWS = 10_000
# What stands for a row that is nested too deeply, which is not parsed.
_TOO_DEEP = object()
_DEEP = f"is nested more deeply than {MOST_LEVELS} levels"


class Jsonl(TypedFile):
    """A file of JSON lines. Source: https://jsonlines.org.

    The first block tells what a column holds; numbers may be whole, or absent, in all of it.
    """

    ENDINGS = (".jsonl", ".ndjson", ".jsonl.gz", ".jsonl.bz2", ".jsonl.zst")

    def file_format(self) -> ds.FileFormat:
        """Returns pyarrow's format."""
        return ds.JsonFileFormat()

    def dataset(self) -> ds.Dataset:
        """Opens the file."""
        self._refuse_deep_nesting()
        with self._bad_rows_shown():
            return super().dataset()

    def dataset_to_read(self, numbers: Sequence[str], texts: Sequence[str]) -> ds.Dataset:
        """Opens the file, with types that the values of later blocks have too."""
        types = self.schema()
        self._refuse_deep_nesting()
        for name in (*numbers, *texts):
            found = types.field(name).type
            if name in numbers and (pa.types.is_integer(found) or pa.types.is_null(found)):
                wanted = pa.float64()
            elif name not in numbers and pa.types.is_null(found):
                wanted = self._type_of_first_value(name)
            elif name not in numbers and pa.types.is_timestamp(found):
                wanted = pa.string()  # as it is written
            else:
                continue
            types = types.set(types.get_field_index(name), pa.field(name, wanted))
        return ds.dataset(self.address, format=self.file_format(), schema=types)

    def count(self) -> int | None:
        """Returns `None`: only reading to the end tells the number of rows."""
        return None

    def batches(
        self, numbers: Sequence[str], texts: Sequence[str], rows: int, as_is: Sequence[str] = ()
    ) -> Iterator[pa.Table]:
        """Reads columns; see `TableFormat.batches`."""
        done = 0
        try:
            with self._bad_rows_shown([*texts, *as_is]):
                for table in super().batches(numbers, texts, rows, as_is):
                    # The blocks of a file, which pyarrow does not cut.
                    for first in range(0, table.num_rows, rows):
                        yield table.slice(first, rows)
                        done += min(rows, table.num_rows - first)
            return
        except DataError:
            if not reads_texts(self.spec) or self._is_nested_deeply:
                raise
        # Numbers and texts in one column, which pyarrow does not read.
        for part in self._read_rows(done, numbers, texts, as_is, rows):
            if part.rejected:
                number = part.rejected[0].row
                raise self._fault(next(islice(self._rows(), number, None)), numbers, number)
            yield part.table

    def schema(self) -> pa.Schema:
        """Returns the names and types of the columns, as the first rows have them.

        If a row of the first block cannot be read, its fault is raised where rows are read.
        """
        return self._schema

    @cached_property
    def _schema(self) -> pa.Schema:
        try:
            return super().schema()
        except DataError as error:
            found = self._schema_of_sound_rows()
            if not len(found) or isinstance(error.__cause__, UnicodeError):
                raise
            return found

    def readable_from(
        self, first: int, numbers: Sequence[str], texts: Sequence[str], rows: int
    ) -> Iterator[NumberedRows]:
        """Reads row by row, from a row on."""
        return self._read_rows(first, numbers, texts, (), rows)

    def _read_rows(
        self,
        first: int,
        numbers: Sequence[str],
        texts: Sequence[str],
        as_is: Sequence[str],
        rows: int,
    ) -> Iterator[NumberedRows]:
        types = self.schema()
        later = islice(enumerate(self._rows()), first, None)
        while some := list(islice(later, rows)):
            columns: dict[str, list[object]] = {name: [] for name in (*numbers, *texts, *as_is)}
            sound: list[int] = []
            rejected: list[Rejected] = []
            for number, row in some:
                reason = self._reason_against(row, numbers)
                if reason is not None or not isinstance(row, dict):
                    rejected.append(Rejected(number, reason or ""))
                    continue
                sound.append(number)
                for name in numbers:
                    columns[name].append(self._as_float(row.get(name)))
                for name in texts:
                    columns[name].append(_as_text(row.get(name)))
                for name in as_is:
                    columns[name].append(row.get(name))
            made = {name: pa.array(columns[name], pa.float64()) for name in numbers}
            made |= {name: pa.array(columns[name], pa.string()) for name in texts}
            made |= {name: _typed(columns[name], types.field(name).type) for name in as_is}
            table = without_missing(pa.table(made), numbers, self.spec)
            yield NumberedRows(table, np.array(sound, dtype=np.int64), tuple(rejected))

    def _reason_against(self, row: object, numbers: Sequence[str]) -> str | None:
        """Returns why a row cannot be read; `None` if it can."""
        if not isinstance(row, dict):
            return _DEEP if row is _TOO_DEEP else "is no JSON object"
        name = self._wrong_column(row, numbers)
        return None if name is None else no_number(name, _written(row[name]))

    def _fault(self, row: object, numbers: Sequence[str], number: int) -> DataError:
        """Returns the error about a row that cannot be read."""
        if not isinstance(row, dict) or (column := self._wrong_column(row, numbers)) is None:
            where = f"no object in row {number}, counted from 0"
            return DataError(f"{self.name}: is damaged or no jsonl file ({where})")
        return not_a_number(self.name, column, _written(row[column]), number)

    def _wrong_column(self, row: dict[str, object], numbers: Sequence[str]) -> str | None:
        """Returns the first of some columns that holds no number."""
        for name in numbers:
            try:
                self._as_float(row.get(name))
            except ValueError:
                return name
        return None

    def _as_float(self, value: object) -> float | None:
        """Returns a value as a number; `None` if it is missing.

        Raises:
            ValueError: If it is none.
        """
        if isinstance(value, str) and reads_texts(self.spec):
            number = plain(pa.chunked_array([[value]]), self.spec).cast(pa.float64())[0].as_py()
            return None if number is None else float(number)
        if value is not None and not isinstance(value, int | float):
            raise ValueError("no number")
        try:
            return None if value is None else float(value)
        except OverflowError:
            return math.inf  # a whole number beyond float64, which is refused as infinity is

    def _refuse_deep_nesting(self) -> None:
        """Refuses what pyarrow's parser, which calls itself for each level, would die of."""
        if not self._is_nested_deeply:
            return
        number = next((at for at, row in enumerate(self._rows()) if row is _TOO_DEEP), None)
        where = "an object over several lines" if number is None else f"row {number} (from 0)"
        raise DataError(
            f"{self.name}: {where} {_DEEP}; write the columns that are needed as plain values"
        )

    @cached_property
    def _is_nested_deeply(self) -> bool:
        with said_plainly(self.name, self.what), pa.input_stream(self.address) as stream:
            return is_nested_deeply(stream)

    def _schema_of_sound_rows(self) -> pa.Schema:
        types: dict[str, pa.DataType] = {}
        for row in islice(self._rows(), _LOOKED_AT_ROWS):
            for name, value in row.items() if isinstance(row, dict) else ():
                if value is None:
                    continue
                is_number = _kind_of(value) in ("numbers", "true or false")
                types.setdefault(name, pa.float64() if is_number else pa.string())
        return pa.schema(types.items())

    def _type_of_first_value(self, column: str) -> pa.DataType:
        values = (row.get(column) for row in self._rows() if isinstance(row, dict))
        first = next((value for value in values if value is not None), "")
        return pa.float64() if _kind_of(first) == "numbers" else pa.array([first]).type

    @contextmanager
    def _bad_rows_shown(self, texts: Sequence[str] = ()) -> Iterator[None]:
        """Names the row and column that pyarrow could not read, whose own words name neither."""
        try:
            yield
        except DataError as error:
            if isinstance(error.__cause__, pa.ArrowInvalid):
                self._refuse_first_bad_row(texts)
            raise

    def _refuse_first_bad_row(self, texts: Sequence[str]) -> None:
        before: dict[str, str] = {}
        first_texts: dict[str, tuple[int, str]] = {}
        for number, row in enumerate(self._rows()):
            where = f"in row {number}, counted from 0"
            if not isinstance(row, dict):
                raise DataError(f"{self.name}: is damaged or no jsonl file (no object {where})")
            for column, value in row.items():
                if value is None:
                    continue
                kind = _kind_of(value, tells_whole=column in texts)
                had = before.setdefault(column, kind)
                if kind == "texts":
                    first_texts.setdefault(column, (number, value))
                if (had, kind) in (("numbers", "texts"), ("texts", "numbers")):
                    at, text = first_texts[column]
                    raise not_a_number(self.name, column, text, at)
                if had != kind and (had, kind) != ("numbers", "whole numbers"):
                    raise DataError(
                        f'{self.name}: column "{column}" holds {had} and then {json.dumps(value)} '
                        f"{where}; write all its values in one form"
                    )

    def _rows(self) -> Iterator[object]:
        """Reads one row after the other; `None` for what is no JSON, or `_TOO_DEEP`."""
        with pa.input_stream(self.address) as stream:
            lines = io.TextIOWrapper(stream, encoding="utf-8", errors="replace")
            while line := lines.readline(_LONGEST_LINE):
                if len(line) == _LONGEST_LINE:
                    raise DataError(
                        f"{self.name}: has a line of more than {_LONGEST_LINE:,} signs, which is "
                        "not read; write one row on each line"
                    )
                if line.strip():
                    yield _parsed(line)


def _parsed(line: str) -> object:
    if line.count("[") + line.count("{") > MOST_LEVELS and levels_of(line.encode()) > MOST_LEVELS:
        return _TOO_DEEP
    try:
        return json.loads(line)
    except ValueError:
        return None


def _typed(values: Sequence[object], kind: pa.DataType) -> pa.Array:
    """Returns values in the type that the first rows have, else as texts."""
    try:
        return pa.array(values, kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([_as_text(value) for value in values], pa.string())


def _written(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _as_text(value: object) -> str | None:
    if value is None or value == "":
        return None
    return value if isinstance(value, str) else json.dumps(value)


def _kind_of(value: object, *, tells_whole: bool = False) -> str:
    match value:
        case bool():
            return "true or false"
        case int() if tells_whole:
            return "whole numbers"
        case int() | float():
            return "numbers"
        case str():
            return "texts"
        case list():
            return "lists"
    return "objects"
