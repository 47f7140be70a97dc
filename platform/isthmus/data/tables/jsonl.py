"""JSON lines: an object for each row."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.dataset as ds

from isthmus.data.tables import not_a_number
from isthmus.data.tables._files import TypedFile
from isthmus.errors import DataError

# pyarrow reads no longer line.
_LONGEST_LINE = 1 << 20


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
        with self._bad_rows_shown():
            return super().dataset()

    def dataset_to_read(self, numbers: Sequence[str], texts: Sequence[str]) -> ds.Dataset:
        """Opens the file, with types that the values of later blocks have too."""
        types = self.schema()
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
        with self._bad_rows_shown([*texts, *as_is]):
            for table in super().batches(numbers, texts, rows, as_is):
                # The blocks of a file, which pyarrow does not cut.
                for first in range(0, table.num_rows, rows):
                    yield table.slice(first, rows)

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
        for number, row in enumerate(self._rows()):
            where = f"in row {number}, counted from 0"
            if not isinstance(row, dict):
                raise DataError(f"{self.name}: is damaged or no jsonl file (no object {where})")
            for column, value in row.items():
                if value is None:
                    continue
                kind = _kind_of(value, tells_whole=column in texts)
                had = before.setdefault(column, kind)
                if had == "numbers" and kind == "texts":
                    raise not_a_number(self.name, column, value, number)
                if had != kind and (had, kind) != ("numbers", "whole numbers"):
                    raise DataError(
                        f'{self.name}: column "{column}" holds {had} and then {json.dumps(value)} '
                        f"{where}; write all its values in one form"
                    )

    def _rows(self) -> Iterator[object]:
        """Reads one row after the other; `None` for what is no JSON."""
        with pa.input_stream(self.address) as stream:
            lines = io.TextIOWrapper(stream, encoding="utf-8", errors="replace")
            while line := lines.readline(_LONGEST_LINE):
                if len(line) == _LONGEST_LINE:
                    return
                if line.strip():
                    try:
                        row = json.loads(line)
                    except (ValueError, RecursionError):
                        row = None
                    yield row


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
