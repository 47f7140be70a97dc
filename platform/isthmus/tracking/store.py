"""Opens the MLflow store: quietly, quickly, and with one clear line when it cannot be reached.

Everything that talks to MLflow goes through `open_store`: the address is always given, so no
global state of MLflow's is read or changed and the runs of one process do not meet.
"""

from __future__ import annotations

import os
import re
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from isthmus.errors import IsthmusError, RegistryError, UsageError
from isthmus.quiet import quieten
from isthmus.spec import Settings

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

_PROBE_TIMEOUT_S = 8.0
# A first start creates the tables, which takes seconds; other processes wait for it.
_CREATION_TIMEOUT_S = 60.0
_DEFAULT_STORE = threading.RLock()
_MOST_RUNS = 1000
_DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}


def open_store(settings: Settings, *, is_asked_first: bool = True) -> MlflowClient:
    """Connects to the tracking store and the model registry; creates an embedded one if need be.

    Safe to call from several processes and threads at once.

    Args:
        settings: Where it is.
        is_asked_first: Whether a server is asked if it is well, which takes it milliseconds;
            else it is only seen whether anybody listens there.

    Raises:
        RegistryError: If the store cannot be reached within seconds, or cannot be used.
    """
    uri = settings.tracking_uri
    import_mlflow()
    from mlflow.tracking import MlflowClient

    with store_errors(uri):
        if is_asked_first or urlsplit(uri).scheme not in ("http", "https"):
            check_reachable(uri)
        else:
            _check_listens(uri)
        with _sole_creator(uri):
            return MlflowClient(tracking_uri=uri, registry_uri=uri)


def import_mlflow() -> None:
    """Imports MLflow, quietly; takes a second or two the first time.

    Telemetry, the lines MLflow prints to the terminal and its own log handler are turned off
    first; its log records then go wherever this process's logging sends them. What the user has
    set in the environment stays.
    """
    quieten()
    import mlflow.tracking  # noqa: F401


@contextmanager
def as_default_store(uri: str) -> Iterator[None]:
    """Makes a store MLflow's default for a moment; one thread at a time.

    MLflow's SQL registry looks up the model behind a new version in its default store, whichever
    store it is itself (a TODO in its `create_model_version`).
    """
    from mlflow.tracking._tracking_service.utils import _use_tracking_uri

    with _DEFAULT_STORE:
        chosen = os.environ.get("MLFLOW_TRACKING_URI")
        try:
            with _use_tracking_uri(uri):
                yield
        finally:
            if chosen is not None:
                os.environ["MLFLOW_TRACKING_URI"] = chosen


def experiment_id_of(name: str, client: MlflowClient, settings: Settings) -> str:
    """The experiment of that name, created if there is none.

    Raises:
        UsageError: If it was deleted.
    """
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        root = settings.local_artifact_root
        location = (Path(root) / name).absolute().as_uri() if root else None
        try:
            created: str = client.create_experiment(name, artifact_location=location)
            return created
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        experiment = client.get_experiment_by_name(name)  # another process was quicker
    if experiment.lifecycle_stage == "deleted":
        raise UsageError(
            f'the MLflow experiment "{name}" was deleted; restore it with '
            f"mlflow experiments restore --experiment-id {experiment.experiment_id}, "
            "or give the job another name"
        )
    experiment_id: str = experiment.experiment_id
    return experiment_id


def search_runs(client: MlflowClient, condition: str) -> list[Run]:
    """The runs of all experiments that meet a condition, newest first; a thousand at most of each.

    Args:
        client: The store.
        condition: In MLflow's language.
    """
    runs: list[Run] = []
    for experiments in _pages_of_experiments(client):
        runs += client.search_runs(
            experiments,
            condition,
            max_results=_MOST_RUNS,
            order_by=["attributes.start_time DESC"],
        )
    return sorted(runs, key=lambda run: run.info.start_time, reverse=True)


def _pages_of_experiments(client: MlflowClient) -> Iterator[list[str]]:
    token = None
    while True:
        page = client.search_experiments(page_token=token)
        yield [each.experiment_id for each in page]
        token = page.token
        if not token:
            return


def database_file(uri: str) -> Path | None:
    """The file of an embedded SQLite store; `None` if the store is anything else."""
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def shown(uri: str) -> str:
    """The address without a password, fit for a message."""
    parts = urlsplit(uri)
    if not parts.password:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", ":***@")))


def first_line(text: str, limit: int = 300) -> str:
    """The first line of a text, shortened if need be."""
    line = text.strip().split("\n", 1)[0].strip() or "no reason given"
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


@contextmanager
def store_errors(uri: str) -> Iterator[None]:
    """Turns whatever MLflow, a driver or the network raises into one line that says what to do.

    Raises:
        RegistryError: Instead of any exception that is not one of ours.
    """
    try:
        yield
    except IsthmusError:
        raise
    except Exception as error:
        # SQLAlchemy wraps the driver's error, whose own text is the shorter.
        reason = str(getattr(error, "orig", None) or error)
        raise _unusable(uri, _plainly(reason) or f"cannot be used: {first_line(reason)}") from error


def check_reachable(uri: str) -> None:
    """Asks the store one small question, once, and waits seconds for the answer.

    MLflow's own client and SQLAlchemy's retry for minutes before they say that nobody is there.

    Raises:
        RegistryError: If the store does not answer.
    """
    scheme = urlsplit(uri).scheme
    with store_errors(uri):
        if scheme in ("http", "https"):
            _ask_server(uri)
        elif database_file(uri) is not None:
            _is_created(uri)
        elif scheme.partition("+")[0] in _DATABASE_PORTS:
            _ask_database(uri)
        elif not scheme.startswith("databricks"):
            raise _unusable(uri, "is no store that Isthmus can use")


def _check_listens(uri: str) -> None:
    """Connects and hangs up: MLflow's client would try for a minute before it says the same."""
    from requests.utils import get_environ_proxies

    parts = urlsplit(uri)
    if not parts.hostname or get_environ_proxies(uri):
        return
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    try:
        socket.create_connection((parts.hostname, port), _PROBE_TIMEOUT_S).close()
    except OSError as error:
        raise _unusable(uri, "does not answer") from error


def _plainly(reason: str) -> str | None:
    """What MLflow's client means when it gives up; its own words are several hundred."""
    if not reason.startswith("API request to "):
        return None
    if "NewConnectionError" in reason or "timeout" in reason.lower():
        return "does not answer"
    answer = re.search(r"too many (\d{3}) error responses", reason)
    if answer is None:
        return None
    is_of_files = "/mlflow-artifacts/" in reason
    what = "reach its artifact store" if is_of_files else "use its database"
    return f"answers HTTP {answer[1]}, as when it cannot {what}"


def _unusable(uri: str, what: str) -> RegistryError:
    if "out-of-date database schema" in what:
        what = "has the schema of another MLflow version"
        advice = f"back it up, then run: mlflow db upgrade {shown(uri)}"
    elif "disk is full" in what or "No space left" in what:
        advice = "free its disk, or set MLFLOW_TRACKING_URI to another store"
    elif database_file(uri) is not None:
        advice = "check the file, or set MLFLOW_TRACKING_URI to another store"
    else:
        advice = (
            "check that it runs, or set MLFLOW_TRACKING_URI to sqlite:///FILE or http://HOST:PORT"
        )
    return RegistryError(f"MLflow at {shown(uri)} {what}; {advice}")


def _ask_server(uri: str) -> None:
    import requests
    from mlflow.exceptions import MlflowException
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    try:
        response = http_request(
            get_default_host_creds(uri),
            "/api/2.0/mlflow/experiments/get-by-name?experiment_name=Default",
            "GET",
            max_retries=0,
            timeout=_PROBE_TIMEOUT_S,
            raise_on_status=False,
        )
    except (requests.RequestException, MlflowException) as error:
        raise _unusable(uri, "does not answer") from error
    # 404 is an answer too: someone deleted the experiment that MLflow makes at first.
    if response.status_code in (401, 403):
        raise _unusable(uri, f"refuses access (HTTP {response.status_code})")
    if response.status_code >= 500:
        raise _unusable(uri, f"is broken (HTTP {response.status_code})")


def _ask_database(uri: str) -> None:
    import sqlalchemy

    parts = urlsplit(uri)
    if parts.hostname:
        port = parts.port or _DATABASE_PORTS[parts.scheme.partition("+")[0]]
        try:
            socket.create_connection((parts.hostname, port), _PROBE_TIMEOUT_S).close()
        except OSError as error:
            raise _unusable(uri, "does not answer") from error
    engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT 1")


def _is_created(uri: str) -> bool:
    """Whether an embedded store is there and whole: MLflow's last act is its first experiment."""
    file = database_file(uri)
    if file is None or not file.exists():
        return file is None
    with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        try:
            return connection.execute("SELECT 1 FROM experiments LIMIT 1").fetchone() is not None
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return False
            raise


@contextmanager
def _sole_creator(uri: str) -> Iterator[None]:
    """Lets one process at a time create an embedded store; MLflow's own way is no transaction."""
    file = database_file(uri)
    if file is None or _is_created(uri):
        yield
        return
    from filelock import FileLock

    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{file}.lock", timeout=_CREATION_TIMEOUT_S):
        was_there = file.exists()
        try:
            yield
        except BaseException:
            # Half of the tables would keep MLflow from ever making the others.
            if not was_there and not _is_created(uri):
                file.unlink(missing_ok=True)
            raise
