"""csv and parquet files: reading columns of numbers, and writing others in their place."""

from __future__ import annotations

import csv
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from isthmus.data.array_layout import as_dtype, save_array
from isthmus.data.categories import Expansion
from isthmus.data.output import check_ending, whole_file
from isthmus.data.provenance import Provenance
from isthmus.data.rows import FloatArray, IndexArray, Labels
from isthmus.data.storage import ARRAY_ENDINGS, TABLE_ENDINGS, Source
from isthmus.errors import DataError

_logger = logging.getLogger(__name__)
_DELIMITERS = (",", ";", "\t", "|")
_ROWS_AT_ONCE = 8192
_PARQUET_KEY = b"isthmus.pair"


def column_names(source: Source) -> list[str]:
    """Names of the columns, in order.

    Raises:
        DataError: If the file is damaged, or two columns have the same name.
    """
    if source.ending == ".parquet":
        names = [str(name) for name in _read_schema(source).names]
    else:
        names = _read_header(source)[0]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f'{source.name}: more than one column is called "{twice[0]}"; rename them')
    return names


def read_columns(source: Source, names: Sequence[str]) -> FloatArray:
    """Reads columns of numbers; an empty cell is NaN.

    Returns:
        Shape (N, len(names)), in the order of `names`.

    Raises:
        DataError: If a column is not numeric, or the file is damaged or holds no rows.
    """
    table = _read(source, names)
    if table.num_rows == 0:
        raise DataError(f"{source.name}: has a header but no rows; give at least one")
    for name in names:
        if not _is_numeric(table.schema.field(name).type):
            raise DataError(_not_numeric(source, name, table.column(name)))
    values = np.empty((table.num_rows, len(names)), dtype=np.float32)
    first = 0
    # Block by block, ten times faster than whole columns: the rows being filled stay in the cache.
    for batch in table.to_batches(max_chunksize=_ROWS_AT_ONCE):
        block = values[first : first + batch.num_rows]
        with np.errstate(over="ignore"):  # beyond float32: infinite, and refused as that
            for position, name in enumerate(names):
                block[:, position] = _as_floats(batch.column(name))
        first += batch.num_rows
    return values


def numeric_names(source: Source, names: Sequence[str]) -> list[str]:
    """Those of the columns that hold numbers."""
    schema = _read(source, names).schema
    return [name for name in names if _is_numeric(schema.field(name).type)]


def read_labels(source: Source, name: str) -> Labels:
    """Reads a column of labels: numbers where all are, else texts.

    Returns:
        Shape (N,).
    """
    texts = read_texts(source, [name])[name]
    for kind in (np.int64, np.float64):
        try:
            return texts.astype(kind)
        except ValueError:
            continue
    return texts


def read_texts(source: Source, names: Sequence[str]) -> dict[str, NDArray[np.str_]]:
    """Reads columns as texts, each of shape (N,); an empty cell is an empty text.

    Raises:
        DataError: If the file is damaged or holds no rows.
    """
    table = _read(source, names, as_text=True)
    if table.num_rows == 0:
        raise DataError(f"{source.name}: has a header but no rows; give at least one")
    return {
        name: np.array(["" if v is None else str(v) for v in table.column(name).to_pylist()])
        for name in names
    }


@dataclass(frozen=True, eq=False)
class TableLayout:
    """Rows that came from a csv or parquet: the other columns are carried along in their place.

    Attributes:
        source: The file, read once more when results are written.
        columns: The columns that the rows hold.
        kept: Shape (N,). Numbers of the rows, counted from 0.
        total: How many rows the file has.
        expansion: How the columns became features, if some are categories.
    """

    source: Source
    columns: tuple[str, ...]
    kept: IndexArray
    total: int
    expansion: Expansion | None = None

    def take(self, kept: IndexArray) -> TableLayout:
        """The layout of only these rows."""
        return replace(self, kept=self.kept[kept])

    def index(self) -> Mapping[str, NDArray[Any]]:
        """`row`: the number of each row, counted from 0, the header not counted."""
        return {"row": self.kept}

    def check_output(self, output: Path) -> None:
        """Refuses an ending that is neither a table's nor an array's."""
        check_ending(output, (*TABLE_ENDINGS, *ARRAY_ENDINGS), "rows of a table")

    def write(self, values: FloatArray, output: Path, provenance: Provenance) -> None:
        """Writes the values of shape (N, F) in place of the columns they came from."""
        self.check_output(output)
        if output.suffix.lower() in ARRAY_ENDINGS:
            names = self.expansion.features if self.expansion else self.columns
            save_array(values, "x", output, provenance, {"columns": np.array(names)})
            return
        delimiter = "," if self.source.ending == ".parquet" else _read_header(self.source)[1]
        save_table(self._filled(values), output, provenance, delimiter)

    def _filled(self, values: FloatArray) -> pa.Table:
        """The file's table with these values in place of the columns that the rows hold."""
        names = column_names(self.source)
        others = [name for name in names if name not in self.columns]
        carried = _read(self.source, others, as_text=True) if others else pa.table({})
        if others and carried.num_rows != self.total:
            raise DataError(f"{self.source.name}: changed while it was in use; run again")
        if others and len(self.kept) != self.total:
            carried = carried.take(pa.array(self.kept))
        schema = _read_schema(self.source) if self.source.ending == ".parquet" else None
        filled = (self.expansion or Expansion(self.columns, {})).collapse(values)
        columns: dict[str, object] = {}
        for name in names:
            if name not in self.columns:
                columns[name] = carried.column(name)
                continue
            column: NDArray[Any] = filled[name]
            is_category = self.expansion is not None and name in self.expansion.values
            if schema and not is_category and pa.types.is_floating(schema.field(name).type):
                column = as_dtype(column, np.dtype(schema.field(name).type.to_pandas_dtype()))
            columns[name] = pa.array(column)
        return pa.table(columns, metadata=None if schema is None else schema.metadata)


def save_table(table: pa.Table, output: Path, provenance: Provenance, delimiter: str = ",") -> None:
    """Writes a table to parquet, with the provenance in its metadata, or to csv.

    Raises:
        DataError: If the place cannot be written to.
    """
    with whole_file(output, provenance) as temporary:
        if output.suffix.lower() == ".parquet":
            metadata = {**(table.schema.metadata or {}), _PARQUET_KEY: provenance.to_json()}
            pq.write_table(table.replace_schema_metadata(metadata), temporary)
            return
        with temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
            writer.writerow(table.column_names)
        with temporary.open("ab") as file:
            _write_csv(table, file, "\t" if output.suffix.lower() == ".tsv" else delimiter)


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


def _read(source: Source, names: Sequence[str], *, as_text: bool = False) -> pa.Table:
    """Reads columns; `as_text` leaves the cells of a csv as they are written."""
    try:
        if source.ending == ".parquet":
            return pq.read_table(source.path, columns=list(names), partitioning=None)
        return _parse_csv(source, names, as_text=as_text)
    except pa.ArrowInvalid as error:
        raise DataError(_damaged(source, error)) from error
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{source.name}: is damaged ({_first_line(error)}); write it again"
        ) from error


def _parse_csv(
    source: Source, names: Sequence[str], *, as_text: bool, use_threads: bool = True
) -> pa.Table:
    convert = pa_csv.ConvertOptions(include_columns=list(names))
    if as_text:
        convert.column_types = dict.fromkeys(names, pa.string())
        # Null is written back as the empty cell that it was.
        convert.null_values, convert.strings_can_be_null = [""], True
    return pa_csv.read_csv(
        source.path,
        read_options=pa_csv.ReadOptions(use_threads=use_threads),
        parse_options=pa_csv.ParseOptions(
            delimiter=_read_header(source)[1], newlines_in_values=_has_quotes(source.path)
        ),
        convert_options=convert,
    )


def _damaged(source: Source, error: pa.ArrowInvalid) -> str:
    if source.ending == ".parquet":
        return f"{source.name}: is damaged or no parquet file ({_first_line(error)})"
    if "UTF8" in str(error):
        return f"{source.name}: is not UTF-8 text; save it as UTF-8"
    if "CSV parse error" in str(error):
        try:
            # Only the reader with one thread knows the line.
            _parse_csv(source, column_names(source), as_text=True, use_threads=False)
        except pa.ArrowInvalid as again:
            error = again
        problem = _first_line(error).removeprefix("CSV parse error: ")
        return f"{source.name}: is not a table: {problem}; mend that line"
    return f"{source.name}: is not a csv that can be read ({_first_line(error)})"


def _read_schema(source: Source) -> pa.Schema:
    try:
        return pq.read_schema(source.path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{source.name}: is damaged or no parquet file ({_first_line(error)})"
        ) from error


def _has_quotes(path: Path) -> bool:
    """Whether a cell may hold a line break; a csv without one is read faster."""
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        return content.find(b'"') >= 0


def _read_header(source: Source) -> tuple[list[str], str]:
    """Returns the names of the columns and the delimiter."""
    try:
        with source.path.open(encoding="utf-8-sig", newline="") as file:
            line = next((line for line in file if line.strip()), "")
            if not line:
                raise DataError(f"{source.name}: holds only empty lines; give a header and rows")
            delimiter = max(_DELIMITERS, key=line.count)
            return next(csv.reader(chain([line], file), delimiter=delimiter)), delimiter
    except UnicodeDecodeError:
        raise DataError(f"{source.name}: is not UTF-8 text; save it as UTF-8") from None
    except csv.Error as error:
        raise DataError(f"{source.name}: is not a csv that can be read ({error})") from None


def _is_numeric(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_boolean(kind)
        or types.is_decimal(kind)
        or types.is_null(kind)
    )


def _as_floats(column: pa.Array) -> NDArray[Any]:
    if not pa.types.is_floating(column.type):
        column = column.cast(pa.float64(), safe=False)
    return np.asarray(column.to_numpy(zero_copy_only=False))


def _not_numeric(source: Source, name: str, column: pa.ChunkedArray) -> str:
    texts = [str(value) for value in column.drop_null().slice(0, 1000).to_pylist()]
    # In a column of numbers with a few texts, a text is the better example.
    example = next((text for text in texts if not _is_number(text)), texts[0] if texts else "")
    shown = example if len(example) <= 40 else f"{example[:37]}..."
    return (
        f'{source.name}: column "{name}" is not numeric (for example "{shown}"); '
        "list it under data.exclude, or under data.categories"
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
