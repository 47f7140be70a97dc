"""The rows of a query to a database, streamed and read-only."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pyarrow as pa

from isthmus.data.tables import (
    TableFormat,
    refuse_no_rows,
    refuse_not_numeric,
    with_texts,
)
from isthmus.errors import DataError, first_line
from isthmus.spec.secrets import with_password

if TYPE_CHECKING:
    from sqlalchemy import Connection, CursorResult, Engine

_LOOKED_AT_ROWS = 1000


class Sql(TableFormat):
    """A query. `data.path` is SQLAlchemy's URL of the database, `data.query` the query.

    The password is taken from the URL as it was given to this process, else from `PGPASSWORD` or
    the driver's own place; it is never stored.
    """

    PREFIXES = ("postgresql://", "postgresql+psycopg2://", "sqlite:///")

    def schema(self) -> pa.Schema:
        """Returns the names of the columns, and their types by the first rows."""
        return self._schema

    @cached_property
    def _schema(self) -> pa.Schema:
        with self._connected() as connection:
            result = _executed(connection, self._query(), stream_results=True)
            return _table(list(result.keys()), result.fetchmany(_LOOKED_AT_ROWS)).schema

    def count(self) -> int | None:
        """Returns the number of rows, which the database counts."""
        # The query is the user's own; it may end in a comment.
        query = f"SELECT COUNT(*) FROM ({self._query()}\n) AS counted"  # noqa: S608
        with self._connected() as connection:
            return int(_executed(connection, query).scalar_one())

    def batches(
        self, numbers: Sequence[str], texts: Sequence[str], rows: int, as_is: Sequence[str] = ()
    ) -> Iterator[pa.Table]:
        """Reads columns; see `TableFormat.batches`."""
        texts = [*texts, *as_is]  # the first rows tell the types, and later ones may differ
        count = 0
        with self._connected() as connection:
            result = _executed(connection, self._query(), stream_results=True, max_row_buffer=rows)
            for fetched in result.partitions(rows):
                table = _table(list(result.keys()), fetched).select([*numbers, *texts])
                refuse_not_numeric(self.name, table, numbers)
                count += table.num_rows
                yield with_texts(table, texts)
        refuse_no_rows(self.name, count)

    def _query(self) -> str:
        if self.spec.query is None:
            raise DataError(
                f"{self.name}: is a database; say what to read with data.query: SELECT ..."
            )
        return self.spec.query.strip().rstrip(";")

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

        try:
            engine = self._engine()
            with engine.connect() as connection:
                yield connection
        except (ArgumentError, NoSuchModuleError, ModuleNotFoundError, ValueError) as error:
            raise DataError(
                f"{self.name}: no database is opened by that ({first_line(error)})"
            ) from error
        except SQLAlchemyError as error:
            said = first_line(getattr(error, "orig", None) or error)
            raise DataError(f"{self.name}: the database says: {said}") from error

    def _engine(self) -> Engine:
        from sqlalchemy import create_engine
        from sqlalchemy.pool import NullPool

        address = with_password(self.address)
        if address.startswith("sqlite"):
            file = address.removeprefix("sqlite:///")
            if not os.path.exists(file):  # noqa: PTH110 (a URL's path)
                raise DataError(f"{self.name}: no such file: {file}")
            return create_engine(
                f"sqlite:///file:{quote(file)}?mode=ro&uri=true", poolclass=NullPool
            )
        return create_engine(
            address, poolclass=NullPool, execution_options={"postgresql_readonly": True}
        )


def _executed(connection: Connection, query: str, **options: Any) -> CursorResult[Any]:
    """Runs a query as it is written: a colon or a per cent sign in it is no parameter."""
    return connection.execution_options(no_parameters=True, **options).exec_driver_sql(query)


def _table(names: Sequence[str], rows: Sequence[Sequence[object]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    arrays = []
    for values in columns:
        try:
            arrays.append(pa.array(values))
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            arrays.append(pa.array([None if value is None else str(value) for value in values]))
    return pa.table(arrays, names=list(names))
