"""Writes a new embedded store to the disk once, rather than after each of its many steps."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


@contextmanager
def flushed_once(file: Path) -> Iterator[None]:
    """Makes SQLite leave the flushing of a database to the end of the block.

    MLflow creates its tables by dozens of migrations, which flush the file more than a thousand
    times: seconds, on most disks. Connections that are opened in the block flush every commit
    again once it has ended. Until then a loss of power can damage the file, which holds no run.

    Args:
        file: The database, which need not exist yet. Other databases are left alone.
    """
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    levels: list[tuple[sqlite3.Connection, int]] = []

    def on_connect(connection: Any, _: object) -> None:
        if isinstance(connection, sqlite3.Connection) and _file_of(connection) == file.resolve():
            levels.append((connection, connection.execute("PRAGMA synchronous").fetchone()[0]))
            connection.execute("PRAGMA synchronous=OFF")

    event.listen(Engine, "connect", on_connect)
    try:
        yield
    finally:
        event.remove(Engine, "connect", on_connect)
        for connection, level in levels:
            with suppress(sqlite3.ProgrammingError):  # SQLAlchemy has closed it
                connection.execute(f"PRAGMA synchronous={level}")
    if file.exists():  # the URI may name a database in memory
        with file.open("rb+") as opened:
            os.fsync(opened)


def _file_of(connection: sqlite3.Connection) -> Path:
    return Path(connection.execute("PRAGMA database_list").fetchone()[2]).resolve()
