"""Opens the MLflow store without output or delay, or with a one-line error if it is unreachable.

Everything that talks to MLflow goes through `open_store`. The URI is always passed, so that
MLflow's global state is neither read nor changed, and the runs of a process do not affect each
other.
"""

from __future__ import annotations

import os
import re
import socket
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from isthmus.errors import IsthmusError, RegistryError, UsageError, first_line
from isthmus.quiet import quieten
from isthmus.spec import Settings
from isthmus.tracking.flushing import flushed_once

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

_PROBE_TIMEOUT_S = 8.0
# The first start creates the tables, which takes seconds while other processes wait.
_CREATION_TIMEOUT_S = 60.0
_DEFAULT_STORE = threading.RLock()
_MOST_RUNS = 1000
_DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}


def open_store(settings: Settings, *, is_asked_first: bool = True) -> MlflowClient:
    """Connects to the tracking store and the model registry; creates an embedded store if needed.

    It can be called from several processes and threads at the same time.

    Args:
        settings: The settings that say where the store is.
        is_asked_first: Whether a server's health is checked, which takes milliseconds. Otherwise
            only its port is checked.

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


def is_empty_store(settings: Settings) -> bool:
    """Returns whether the store is a local file that does not exist yet.

    What only looks asks this before it opens the store, which would create the file.
    """
    file = database_file(settings.tracking_uri)
    return file is not None and not file.exists()


def import_mlflow() -> None:
    """Imports MLflow without output. The first import takes a second or two.

    It first turns off MLflow's telemetry, the lines that it prints to the terminal and its own log
    handler. MLflow's log records then go where this process's logging sends them. Environment
    variables that the user has set are kept.
    """
    quieten()
    import mlflow.tracking  # noqa: F401


@contextmanager
def as_default_store(uri: str) -> Iterator[None]:
    """Makes a store MLflow's default for a moment, for one thread at a time.

    MLflow's SQL registry looks up the model of a new version in the default store, even if that is
    another store than its own (a TODO in its `create_model_version`).
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


def experiment_id_of(
    name: str, client: MlflowClient, settings: Settings, tags: Mapping[str, str]
) -> str:
    """Returns the id of the experiment with a name, which is created if there is none.

    Args:
        name: The experiment's name.
        client: The client of the tracking store.
        settings: The settings that say where artifacts are.
        tags: The tags that it has, or gets if it was created without them.

    Raises:
        UsageError: If the experiment was deleted.
    """
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        root = settings.local_artifact_root
        location = (Path(root) / name).absolute().as_uri() if root else None
        try:
            created: str = client.create_experiment(
                name, artifact_location=location, tags=dict(tags)
            )
            return created
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        experiment = client.get_experiment_by_name(name)  # another process created it first
    if experiment.lifecycle_stage == "deleted":
        raise UsageError(
            f'the MLflow experiment "{name}" was deleted; restore it with '
            f"mlflow experiments restore --experiment-id {experiment.experiment_id}, "
            "or give the job another name"
        )
    experiment_id: str = experiment.experiment_id
    add_tags(client, experiment, tags)
    return experiment_id


def add_tags(client: MlflowClient, experiment: Any, tags: Mapping[str, str]) -> None:
    """Gives an experiment the tags that it does not have, as those of older versions do not."""
    for name, value in tags.items():
        if experiment.tags.get(name) != value:
            client.set_experiment_tag(experiment.experiment_id, name, value)


def search_runs(client: MlflowClient, condition: str) -> list[Run]:
    """Returns the runs of all experiments that meet a condition, newest first.

    At most a thousand runs of each page of experiments are returned.

    Args:
        client: The client of the tracking store.
        condition: The condition, in MLflow's filter syntax.
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
    """Returns the file of an embedded SQLite store; `None` for any other store."""
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def shown(uri: str) -> str:
    """Returns the URI without its password, for use in messages."""
    parts = urlsplit(uri)
    if not parts.password:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", ":***@")))


@contextmanager
def store_errors(uri: str) -> Iterator[None]:
    """Turns any error of MLflow, a driver or the network into one line that says what to do.

    Raises:
        RegistryError: In place of any exception that is not Isthmus's own.
    """
    try:
        yield
    except IsthmusError:
        raise
    except Exception as error:
        # SQLAlchemy wraps the driver's error, whose own text is shorter.
        reason = str(getattr(error, "orig", None) or error)
        raise _unusable(uri, _plainly(reason) or f"cannot be used: {first_line(reason)}") from error


def check_reachable(uri: str) -> None:
    """Sends the store one small request, without retries and with a timeout of seconds.

    MLflow's own client and SQLAlchemy would retry for minutes before they report that a store is
    unreachable.

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
    """Checks that the server's port accepts connections.

    MLflow's client would retry for a minute before it reports that it does not.
    """
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
    """Returns what an MLflow client's error means in a few words; its own text has hundreds."""
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
        what, advice = _of_other_schema(what, uri)
    elif "disk is full" in what or "No space left" in what:
        advice = "free its disk, or set MLFLOW_TRACKING_URI to another store"
    elif database_file(uri) is not None:
        advice = "check the file, or set MLFLOW_TRACKING_URI to another store"
    else:
        advice = (
            "check that it runs, or set MLFLOW_TRACKING_URI to sqlite:///FILE or http://HOST:PORT"
        )
    return RegistryError(f"MLflow at {shown(uri)} {what}; {advice}")


def _of_other_schema(reason: str, uri: str) -> tuple[str, str]:
    """Returns whether a database is older or newer than the installed MLflow, and what to do."""
    import mlflow

    found = re.search(r"found version (\w+)", reason)
    known = Path(mlflow.__file__).parent / "store" / "db_migrations" / "versions"
    if found is not None and known.is_dir() and not any(known.glob(f"{found[1]}_*.py")):
        return (
            f"has the schema of a newer MLflow than the installed {mlflow.__version__}",
            "install the MLflow that wrote it (pip install --upgrade mlflow); what that asks for "
            f"then is to back it up and to run: mlflow db upgrade {shown(uri)}",
        )
    return (
        "has the schema of an older MLflow version",
        f"back it up, then run: mlflow db upgrade {shown(uri)}",
    )


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
    # 404 is an answer too: someone has deleted MLflow's default experiment.
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
    """Returns whether an embedded store exists and is complete.

    The last thing that MLflow creates in a new store is its first experiment.
    """
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
    """Lets one process at a time create an embedded store, as MLflow's creation is not atomic."""
    file = database_file(uri)
    if file is None or _is_created(uri):
        yield
        return
    from filelock import FileLock

    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{file}.lock", timeout=_CREATION_TIMEOUT_S):
        was_there = file.exists()
        try:
            with flushed_once(file):
                yield
        except BaseException:
            # An incomplete set of tables would prevent MLflow from ever creating the others.
            if not was_there and not _is_created(uri):
                file.unlink(missing_ok=True)
            raise
