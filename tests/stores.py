"""MLflow stores for tests, made in a moment: `pytest_plugins = ["tests.stores"]`.

MLflow makes the tables of an embedded store by dozens of migrations, and waits for the disk after
each of their steps: up to ten seconds for a store without a run. The tests want many stores, and
no loss of power threatens them.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from sqlalchemy import event
from sqlalchemy.engine import Engine

_NAME = "mlflow.db"
_TIMEOUT_S = 240.0


class EmptyStore:
    """A SQLite file with MLflow's tables and nothing in them, of which stores begin as copies."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "empty_store.db"
        self.is_used = True

    def put(self, file: Path) -> None:
        """Puts a copy where there is no store: also for a server or a command that starts later."""
        self._make()
        copy = file.with_suffix(".copy")
        try:
            shutil.copyfile(self._file, copy)
            copy.rename(file)
        finally:
            copy.unlink(missing_ok=True)

    def begin(self, dialect: Any, _: object, arguments: list[Any], __: object) -> None:
        """Has SQLAlchemy connect to a copy where MLflow would begin with an empty file."""
        if self.is_used and dialect.name == "sqlite" and arguments:
            file = Path(arguments[0])
            if file.name == _NAME and not file.exists():
                # What is wrong with a folder or a disk, SQLite itself is to say.
                with suppress(OSError):
                    self.put(file)

    def _make(self) -> None:
        """Makes it once for all processes of the tests."""
        with FileLock(f"{self._file}.lock", timeout=_TIMEOUT_S):
            if self._file.exists():
                return
            from mlflow.store.db import utils

            unfinished = self._file.with_suffix(".unfinished")
            # Not MLflow's own store, which holds a lock of this process while it connects to one.
            unfinished.unlink(missing_ok=True)
            engine = utils.create_sqlalchemy_engine(f"sqlite:///{unfinished}")
            utils._initialize_tables(engine)
            engine.dispose()
            unfinished.rename(self._file)


@pytest.fixture(scope="session", autouse=True)
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmptyStore]:
    """What all stores begin with that MLflow makes in this process."""
    folder = tmp_path_factory.getbasetemp()
    store = EmptyStore(folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder)
    event.listen(Engine, "do_connect", store.begin)
    event.listen(Engine, "connect", _do_not_wait_for_the_disk)
    yield store
    event.remove(Engine, "do_connect", store.begin)
    event.remove(Engine, "connect", _do_not_wait_for_the_disk)


def _do_not_wait_for_the_disk(connection: Any, _: object) -> None:
    """Lets the system write to the disk when it likes: other processes see what is committed."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous=OFF")


@pytest.fixture
def stores_from_nothing(empty_store: EmptyStore) -> Iterator[None]:
    """For tests of how a store is made: MLflow makes each of its tables, and waits for the disk."""
    empty_store.is_used = False
    event.remove(Engine, "connect", _do_not_wait_for_the_disk)
    yield
    event.listen(Engine, "connect", _do_not_wait_for_the_disk)
    empty_store.is_used = True
