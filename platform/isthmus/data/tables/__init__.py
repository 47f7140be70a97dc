"""The formats of tables; each file is one, found by the endings that it names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from isthmus import plugins
from isthmus.data.columns.writing import advice
from isthmus.data.rows import IndexArray, Rejected
from isthmus.data.storage.files import ending_of
from isthmus.data.tables._signs import refuse_other_format
from isthmus.errors import DataError, first_line
from isthmus.spec import DataSpec

_LONGEST_SHOWN = 40


class NotANumber(DataError):
    """A column that should be numeric holds something else.

    Attributes:
        column: The name of the column.
    """

    def __init__(self, message: str, column: str = "") -> None:
        super().__init__(message)
        self.column = column


class ReadByField(DataError):
    """A table that one field of the data section lets be read.

    Attributes:
        field: The name of the field.
        value: The value to set.
        why: The reason, as a sentence for a comment.
    """

    def __init__(self, message: str, field: str = "", value: str = "", why: str = "") -> None:
        super().__init__(message)
        self.field, self.value, self.why = field, value, why


@dataclass(frozen=True, eq=False)
class NumberedRows:
    """Rows of a table that are read, and those between them that cannot be read.

    Attributes:
        table: The rows that are read.
        numbers: Shape (n,). The number of each of them in the table, from 0.
        rejected: The rows between them, and before them, that cannot be read.
    """

    table: pa.Table
    numbers: IndexArray
    rejected: tuple[Rejected, ...] = ()


class TableFormat(ABC):
    """A table in a file or a database, read a batch of rows at a time.

    Attributes:
        address: The local path, or the URL of a database.
        name: The name of the table for messages.
        spec: The data section, whose fields say how numbers are written.
    """

    ENDINGS: ClassVar[tuple[str, ...]] = ()
    """The endings of its files, in lower case."""
    PREFIXES: ClassVar[tuple[str, ...]] = ()
    """The beginnings of the addresses of its tables, if they are no files but URLs."""
    FIELDS: ClassVar[tuple[str, ...]] = ()
    """The fields of the data section that only such files need, and the others refuse."""

    def __init__(self, address: str, name: str, spec: DataSpec) -> None:
        self.address = address
        self.name = name
        self.spec = spec

    @property
    def path(self) -> Path:
        """The local file."""
        return Path(self.address)

    @abstractmethod
    def schema(self) -> pa.Schema:
        """Returns the names and types of the columns, as far as the first rows tell them.

        Raises:
            DataError: If the table is damaged.
        """

    @abstractmethod
    def batches(
        self, numbers: Sequence[str], texts: Sequence[str], rows: int, as_is: Sequence[str] = ()
    ) -> Iterator[pa.Table]:
        """Reads columns.

        Args:
            numbers: The columns to be read as numbers; a missing value is null.
            texts: The columns to be read as they are written; an empty cell is null.
            rows: The largest number of rows in a batch.
            as_is: The columns to be read in the types that the file says, because they are only
                carried to the results; texts if it says none.

        Raises:
            DataError: If the table is damaged, or a column of numbers holds something else; the
                message shows the first such value, and its row where the format tells it.
        """

    def numbered(
        self, numbers: Sequence[str], texts: Sequence[str], rows: int, as_is: Sequence[str] = ()
    ) -> Iterator[NumberedRows]:
        """Reads columns as `batches` does, with the number of each row."""
        done = 0
        for table in self.batches(numbers, texts, rows, as_is):
            yield NumberedRows(table, np.arange(done, done + table.num_rows))
            done += table.num_rows

    def readable(
        self, numbers: Sequence[str], texts: Sequence[str], rows: int, as_is: Sequence[str] = ()
    ) -> Iterator[NumberedRows]:
        """Reads columns like `numbered`, and sets aside the rows that cannot be read.

        In a format whose file says the types of its columns, no single row can be unreadable.

        Raises:
            DataError: If the table is damaged, so that rows cannot be told from one another.
        """
        done = 0
        try:
            for batch in self.numbered(numbers, texts, rows, as_is):
                yield batch
                done += len(batch.numbers)
        except DataError:
            # Some row is at fault, or the file itself, and that is then raised again.
            later = self.readable_from(done, numbers, [*texts, *as_is], rows)
            if later is None:
                raise
        else:
            return
        yield from later

    def readable_from(
        self, first: int, numbers: Sequence[str], texts: Sequence[str], rows: int
    ) -> Iterator[NumberedRows] | None:
        """Reads row by row, from row `first` on, and sets aside what cannot be read.

        Returns:
            The rows; `None` if the format cannot tell a faulty row from a damaged file.
        """
        return None

    def refuse_header(self, numbers: Sequence[str]) -> None:  # noqa: B027 (most have names)
        """Refuses a table whose first row holds names, where its columns are told by their place.

        Args:
            numbers: The columns to be read as numbers.

        Raises:
            DataError: If each of them has a name in the first row, and numbers below.
        """

    def count(self) -> int | None:
        """Returns the number of rows; `None` where only reading to the end tells."""
        return None

    def indexes(self) -> frozenset[str]:
        """Returns the columns that the file itself names as an index, and not as data."""
        return frozenset()

    def units(self) -> Mapping[str, str]:
        """Returns the units of columns that the file itself states; most formats state none."""
        return {}

    @property
    def delimiter(self) -> str:
        """The delimiter between two cells in a csv of results."""
        return ","

    def types(self) -> pa.Schema | None:
        """Returns the types in which results are written; `None` for texts, which have none."""
        return self.schema()


def names() -> tuple[str, ...]:
    """Returns the names of all formats, sorted."""
    return plugins.names_in(__file__)


@cache
def _formats() -> dict[str, type[TableFormat]]:
    found = (
        cast("type[TableFormat]", plugins.load(__name__, name, TableFormat)) for name in names()
    )
    return {sign: each for each in found for sign in (*each.ENDINGS, *each.PREFIXES)}


def endings() -> tuple[str, ...]:
    """Returns the endings of all files of tables."""
    return tuple(sign for sign, found in _formats().items() if sign in found.ENDINGS)


def prefixes() -> tuple[str, ...]:
    """Returns how the addresses of all databases begin."""
    return tuple(prefix for each in _formats().values() for prefix in each.PREFIXES)


def takers_of(field: str) -> tuple[str, ...]:
    """Returns the endings of the only files that need a field of the data section, if so few do."""
    return tuple(each for each in endings() if field in _formats()[each].FIELDS)


def is_database(address: str) -> bool:
    """Returns whether an address is the URL of a database."""
    return _prefix(address) is not None


def _prefix(address: str) -> str | None:
    return next((prefix for prefix in prefixes() if address.startswith(prefix)), None)


def open_table(address: str, name: str, spec: DataSpec) -> TableFormat:
    """Opens a table by the ending of its file, or a database by its URL.

    Raises:
        DataError: If the file is not what its ending says.
    """
    sign = _prefix(address) or ending_of(address)
    if not is_database(address):
        refuse_other_format(Path(address), name, sign)
    return _formats()[sign](address, name, spec)


def is_numeric(kind: pa.DataType) -> bool:
    """Returns whether a column of that type holds numbers; one without any value may."""
    types = pa.types
    return bool(
        types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_boolean(kind)
        or types.is_decimal(kind)
        or types.is_null(kind)
    )


def as_texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Returns a column as texts, an empty one as null."""
    if not pa.types.is_string(column.type):
        column = column.cast(pa.string())
    return pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)


def with_texts(table: pa.Table, names: Sequence[str]) -> pa.Table:
    """Returns a table in which some columns are texts, as `as_texts` makes them."""
    for name in names:
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, as_texts(table.column(name)))
    return table


def refuse_no_rows(name: str, rows: int) -> None:
    """Refuses a table of 0 rows."""
    if rows == 0:
        raise DataError(f"{name}: has a header but no rows; give at least one")


def not_a_number(name: str, column: str, example: str, row: int | None = None) -> NotANumber:
    """Returns the error about a column that should be numeric, with what to do about it.

    Args:
        name: The name of the table for messages.
        column: The name of the column.
        example: The first value that is not a number.
        row: The row of that value, counted from 0, where it is known.
    """
    where = "" if row is None else f", in row {row}, counted from 0"
    shown = example if len(example) <= _LONGEST_SHOWN else f"{example[: _LONGEST_SHOWN - 3]}..."
    return NotANumber(
        f'{name}: column "{column}" is not numeric (for example "{shown}"{where}); '
        f"{advice(example.strip())}",
        column,
    )


@contextmanager
def said_plainly(name: str, what: str) -> Iterator[None]:
    """Turns what pyarrow raises over a damaged file into one line that says what to do.

    Args:
        name: The name of the file for messages.
        what: The format: "parquet".
    """
    try:
        yield
    except pa.ArrowInvalid as error:
        said, *_ = first_line(error).partition(". ")
        raise DataError(f"{name}: is damaged or no {what} file ({said})") from error
    except UnicodeError as error:
        raise DataError(
            f"{name}: has a name or a text that is not UTF-8; write it again as UTF-8"
        ) from error
    except (pa.ArrowException, OSError) as error:
        raise DataError(damaged(name, error)) from error


def damaged(name: str, error: Exception) -> str:
    """Returns the message about a file that cannot be read to its end."""
    return f"{name}: is damaged ({first_line(error)}); write it again"
