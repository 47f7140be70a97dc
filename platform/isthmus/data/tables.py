"""csv and parquet files: their columns, read whole as numbers or as texts."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from isthmus.data.rows import FloatArray, Labels
from isthmus.data.storage import Source
from isthmus.errors import DataError

_DELIMITERS = (",", ";", "\t", "|")
_ROWS_AT_ONCE = 8192


def column_names(source: Source) -> list[str]:
    """Names of the columns, in order.

    Raises:
        DataError: If the file is damaged, or two columns have the same name.
    """
    if source.ending == ".parquet":
        names = [str(name) for name in read_schema(source).names]
    else:
        names = read_header(source)[0]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f'{source.name}: more than one column is called "{twice[0]}"; rename them')
    return names


def row_count(source: Source) -> int | None:
    """Returns how many rows a parquet says that it has; `None` for a csv, which does not say."""
    if source.ending != ".parquet":
        return None
    with said_plainly(source):
        return int(pq.read_metadata(source.path).num_rows)


def read_columns(source: Source, names: Sequence[str]) -> FloatArray:
    """Reads columns of numbers; an empty cell is NaN.

    Returns:
        Shape (N, len(names)), in the order of `names`.

    Raises:
        DataError: If a column is not numeric, or the file is damaged or holds no rows.
    """
    table = read_arrow(source, names)
    refuse_no_rows(source, table.num_rows)
    refuse_texts(source, table, names)
    return floats(table, names)


def refuse_no_rows(source: Source, rows: int) -> None:
    """Refuses a table of 0 rows."""
    if rows == 0:
        raise DataError(f"{source.name}: has a header but no rows; give at least one")


def refuse_texts(source: Source, table: pa.Table, names: Sequence[str]) -> None:
    """Refuses columns that do not hold numbers, by the name and a value of the first."""
    for name in names:
        if not is_numeric(table.schema.field(name).type):
            raise DataError(_not_numeric(source, name, table.column(name)))


def floats(table: pa.Table, names: Sequence[str]) -> FloatArray:
    """Columns of numbers side by side, shape (N, len(names)); null is NaN."""
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
    """Those of the columns that hold numbers; of a csv, only reading it to the end tells."""
    is_parquet = source.ending == ".parquet"
    schema = read_schema(source) if is_parquet else read_arrow(source, names).schema
    return [name for name in names if is_numeric(schema.field(name).type)]


def read_labels(source: Source, name: str) -> Labels:
    """Reads a column of labels: numbers where all are, else texts.

    Returns:
        Shape (N,).
    """
    labels = read_texts(source, [name])[name]
    for kind in (np.int64, np.float64):
        try:
            return labels.astype(kind)
        except ValueError:
            continue
    return labels


def read_texts(source: Source, names: Sequence[str]) -> dict[str, NDArray[np.str_]]:
    """Reads columns as texts, each of shape (N,); an empty cell is an empty text.

    Raises:
        DataError: If the file is damaged or holds no rows.
    """
    table = read_arrow(source, names, as_text=True)
    refuse_no_rows(source, table.num_rows)
    return {name: texts(table.column(name)) for name in names}


def texts(column: pa.ChunkedArray) -> NDArray[np.str_]:
    """A column as texts, shape (N,); null is an empty text."""
    return np.array(["" if value is None else str(value) for value in column.to_pylist()])


def read_arrow(source: Source, names: Sequence[str], *, as_text: bool = False) -> pa.Table:
    """Reads columns; `as_text` leaves the cells of a csv as they are written."""
    with said_plainly(source):
        if source.ending == ".parquet":
            return pq.read_table(source.path, columns=list(names), partitioning=None)
        return _parse_csv(source, names, as_text=as_text)


@contextmanager
def said_plainly(source: Source) -> Iterator[None]:
    """Turns what pyarrow raises over a damaged file into one line that says what to do."""
    try:
        yield
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
        parse_options=parse_options(source),
        convert_options=convert,
    )


def parse_options(source: Source) -> pa_csv.ParseOptions:
    """How the cells of a csv are told apart."""
    return pa_csv.ParseOptions(
        delimiter=read_header(source)[1], newlines_in_values=_has_quotes(source.path)
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


def read_schema(source: Source) -> pa.Schema:
    """The types of a parquet's columns."""
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


def read_header(source: Source) -> tuple[list[str], str]:
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


def is_numeric(kind: pa.DataType) -> bool:
    """Whether a column of that type holds numbers; one without a value may."""
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
    values = [str(value) for value in column.drop_null().slice(0, 1000).to_pylist()]
    # In a column of numbers with a few texts, a text is the better example.
    example = next((text for text in values if not _is_number(text)), values[0] if values else "")
    return text_among_numbers(source, name, example)


def text_among_numbers(source: Source, name: str, example: str, row: int | None = None) -> str:
    """What is said of a column that should be numeric; the row where it is known."""
    where = "" if row is None else f", in row {row}, counted from 0"
    shown = example if len(example) <= 40 else f"{example[:37]}..."
    return (
        f'{source.name}: column "{name}" is not numeric (for example "{shown}"{where}); '
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
