"""The rows of a query to a database, streamed and read-only."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pyarrow as pa

from isthmus.data.tables import (
    TableFormat,
    refuse_no_rows,
    with_texts,
)
from isthmus.data.tables._written import with_numbers
from isthmus.errors import DataError, first_line
from isthmus.spec.secrets import has_ambiguous_password, with_password

if TYPE_CHECKING:
    from sqlalchemy import Connection, CursorResult, Engine

_LOOKED_AT_ROWS = 1000
# What a semicolon may stand in without ending a statement, and comments. A comment in a comment
# ends early here, and what follows is then refused. sqlparse takes '\' for an open text, which to
# Postgres is a closed one, so that a second statement could hide behind it.
_NO_CODE = re.compile(
    r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|(?<![\w$])\$((?:[^\W\d]\w*)?)\$.*?\$\1\$"""
    r"""|--[^\r\n]*|/\*.*?\*/""",
    re.DOTALL,
)
_QUERY_STARTS = re.compile(r"[\s(]*(select|with|values|table)\b", re.IGNORECASE)
# The whole session is read-only, and not only its first transaction. A backslash ends no text.
_SESSION = "-c default_transaction_read_only=on -c standard_conforming_strings=on"


class Unreachable(DataError):
    """A database that this machine cannot connect to."""


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
                table = with_numbers(table, numbers, self.name, self.spec, count)
                count += table.num_rows
                yield with_texts(table, texts)
        refuse_no_rows(self.name, count)

    def _query(self) -> str:
        if self.spec.query is None:
            raise DataError(
                f"{self.name}: is a database; say what to read with data.query: SELECT ..."
            )
        query = self.spec.query.strip().rstrip(";").rstrip()
        _refuse_no_single_query(self.name, query)
        return query

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

        is_connected = False
        try:
            engine = self._engine()
            with engine.connect() as connection:
                is_connected = True
                yield connection
        except (ArgumentError, NoSuchModuleError, ModuleNotFoundError, ValueError) as error:
            raise DataError(
                f"{self.name}: no database is opened by that ({first_line(error)})"
            ) from error
        except SQLAlchemyError as error:
            said = first_line(getattr(error, "orig", None) or error)
            kind = DataError if is_connected else Unreachable
            raise kind(f"{self.name}: the database says: {said}") from error

    def _engine(self) -> Engine:
        from sqlalchemy import create_engine, make_url
        from sqlalchemy.pool import NullPool

        address = with_password(self.address)
        if address.startswith("sqlite"):
            file = address.removeprefix("sqlite:///")
            if not os.path.exists(file):  # noqa: PTH110 (a URL's path)
                raise DataError(f"{self.name}: no such file: {file}")
            return create_engine(
                f"sqlite:///file:{quote(file)}?mode=ro&uri=true", poolclass=NullPool
            )
        if has_ambiguous_password(address):
            # Neither the URL nor its name is shown: any part of them may be the password's.
            raise DataError(
                "the URL of a database has an @ or a ? in its password; write the special "
                "characters of a password percent-encoded: @ as %40, ? as %3F, / as %2F, : as %3A"
            )
        given = make_url(address).query.get("options", "")
        return create_engine(
            address,
            poolclass=NullPool,
            # The end of a connection ends its transaction too; a pool that ends it first would
            # log a traceback where the server is gone.
            pool_reset_on_return=None,
            connect_args={"options": f"{given if isinstance(given, str) else ''} {_SESSION}"},
            execution_options={"postgresql_readonly": True},
        )


def _refuse_no_single_query(name: str, query: str) -> None:
    """Refuses what is not exactly one query, before any of it is sent."""
    code = _NO_CODE.sub(" ", query)
    # Where a backslash escapes, as in E'...', a text ends elsewhere than it seems to.
    if ";" in (query if "\\" in query else code):
        raise DataError(
            f"{name}: data.query takes one statement and has a semicolon in the middle; leave out "
            "what follows it"
        )
    if not _QUERY_STARTS.match(code):
        raise DataError(
            f"{name}: data.query only reads, and starts with SELECT, WITH, VALUES or TABLE; "
            f"it starts with {query.split(maxsplit=1)[0][:40] if query else 'nothing'}"
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
