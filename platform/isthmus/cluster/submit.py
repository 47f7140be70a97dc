"""Submits a training job to a cluster: the job, its plugins, the code as a wheel, small data."""

from __future__ import annotations

import logging
import os
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from isthmus.cluster.client import Cluster, connect
from isthmus.cluster.local_data import (
    LARGEST_LOCAL_DATA_BYTES,
    absolute,
    plugins_sent_along,
    sent_along,
    size_bytes,
)
from isthmus.cluster.wheel import build_wheel
from isthmus.data import is_large, open_rows
from isthmus.data.tables.sql import Unreachable
from isthmus.errors import UsageError
from isthmus.jobs.preparation import prepare
from isthmus.jobs.specs import data_of, load_job_file
from isthmus.quiet import quieten
from isthmus.spec import JobSpec, Settings
from isthmus.spec.paths import data_paths, is_database_server, local_paths
from isthmus.spec.secrets import with_password

_logger = logging.getLogger(__name__)
_JOB_FILE = "job.yaml"
_VARIABLE = "PGPASSWORD"  # where Postgres looks for a password that the URL lacks
# The addresses of servers are sent with the job. Secrets are sent only if they are named, because
# Ray's dashboard shows a job's environment to everyone who can open it.
_ADDRESSES = (
    *("MLFLOW_TRACKING_URI", "ISTHMUS_STORAGE", "AWS_ENDPOINT_URL", "MLFLOW_S3_ENDPOINT_URL"),
    *("AWS_DEFAULT_REGION", "AWS_REGION"),
)
_ALWAYS = {
    # `cancel` acts like Ctrl-C: the run ends with a checkpoint and can be resumed.
    "RAY_JOB_STOP_SIGNAL": "SIGINT",
    "RAY_JOB_STOP_WAIT_TIME_S": "120",
    "RAY_USAGE_STATS_ENABLED": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


@dataclass(frozen=True)
class Submitted:
    """A job that a cluster has accepted.

    Attributes:
        job_id: The id that `logs` and `cancel` take.
        name: The name of the pair that it will register.
        cluster: The cluster that runs it.
    """

    job_id: str
    name: str
    cluster: Cluster


def checked_job(job: Path, overrides: Sequence[str], environment: Sequence[str] = ()) -> JobSpec:
    """Reads a job file, and the data that it names, as far as they are on this machine.

    What is wrong with either is found here, and not by a job that has waited for a cluster. Of a
    table that is too large to travel, only the columns are checked. A database on a server is
    checked if this machine reaches it. Data on S3, which this machine may not be allowed to read,
    are not.

    Args:
        job: The job file.
        overrides: Values for dotted names, `training.epochs=5`.
        environment: The variables that are to be set for the job, as `submit` takes them.

    Raises:
        SpecError: If the job cannot be run.
        DataError: If its data cannot be trained on.
        UsageError: If it reads a database whose password would not reach it.
    """
    spec = load_job_file(job, overrides)
    paths, here = data_paths(spec.data), local_paths(spec.data)
    servers = [path for path in paths if is_database_server(path)]
    _check_passwords(servers, environment)
    if any("://" in path for path in paths if path not in (*here, *servers)):
        return spec
    is_small = not servers and size_bytes(here) <= LARGEST_LOCAL_DATA_BYTES
    try:
        source, data = open_rows(data_of(spec))  # finds a wrong column of a table of any size
        if is_small or not is_large(source, data):
            prepare(spec).close()
    except Unreachable as error:
        _logger.warning("%s; so the query is not checked before the job runs", error)
    return spec


def _check_passwords(servers: Sequence[str], environment: Sequence[str]) -> None:
    """Tells of passwords of databases that do not travel with a job."""
    if not servers or _VARIABLE in {each.partition("=")[0] for each in environment}:
        return
    for path in servers:
        if with_password(path) != path:
            raise UsageError(
                f"{path}: the password in the URL does not travel with a job; give --env "
                f"{_VARIABLE} (Ray's dashboard shows it), or leave it out of the URL if the "
                "cluster's nodes have a .pgpass"
            )
    if os.environ.get(_VARIABLE):
        _logger.warning(
            "%s: %s is set here and does not travel with the job; give --env %s if the cluster's "
            "nodes have no .pgpass",
            *(servers[0], _VARIABLE, _VARIABLE),
        )


def submit(
    spec: JobSpec, cluster: Cluster, settings: Settings, environment: Sequence[str] = ()
) -> Submitted:
    """Submits a job, with every file on this machine that it reads.

    Args:
        spec: The job, as `checked_job` returned it.
        cluster: The cluster to submit it to.
        settings: The settings with the addresses of this machine's stores.
        environment: Variables to set for the job: `NAME=VALUE`, or `NAME` for this process's value.

    Raises:
        DataError: If its data are only on this machine and too large to be sent.
        ClusterError: If the cluster does not accept it.
    """
    quieten()
    variables = _variables(cluster, settings, environment)
    with tempfile.TemporaryDirectory(prefix="isthmus-submit-") as name:
        folder = Path(name)
        working_dir = folder / "job"
        working_dir.mkdir()
        # The head of this machine runs the job in another folder, but sees the same files.
        data = absolute(spec.data) if cluster.is_local else sent_along(spec.data, working_dir)
        plugins = plugins_sent_along(spec.plugins, working_dir)
        sent = spec.model_copy(update={"data": data, "plugins": plugins})
        content = yaml.safe_dump(sent.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        (working_dir / _JOB_FILE).write_text(content, encoding="utf-8")
        with connect(cluster) as client:
            job_id = client.submit_job(
                # `exec`, so that the signal that ends the job reaches Python and not a shell.
                entrypoint=f"exec python -m isthmus train {_JOB_FILE}",
                submission_id=f"{spec.name}-{secrets.token_hex(3)}",
                runtime_env={
                    "working_dir": str(working_dir),
                    "py_modules": [str(build_wheel(folder))],
                    "env_vars": variables,
                },
                metadata={"isthmus.job": spec.name},
            )
    return Submitted(job_id, spec.name, cluster)


def _variables(
    cluster: Cluster, settings: Settings, environment: Sequence[str]
) -> Mapping[str, str]:
    if cluster.is_local:
        found = {
            "ISTHMUS_HOME": str(settings.home),
            "MLFLOW_TRACKING_URI": settings.tracking_uri,
            "ISTHMUS_STORAGE": settings.storage_path,
        }
    else:
        here = {name: os.environ[name] for name in _ADDRESSES if os.environ.get(name)}
        # On the cluster, localhost is another machine.
        found = {name: value for name, value in here.items() if not _is_of_this_machine(value)}
        found["ISTHMUS_EMBEDDED"] = "refuse"
    for given in environment:
        name, separator, value = given.partition("=")
        if not separator and name not in os.environ:
            raise UsageError(f"--env {name}: no such variable here; give --env {name}=VALUE")
        found[name] = value if separator else os.environ[name]
    return {**_ALWAYS, **found}


def _is_of_this_machine(value: str) -> bool:
    parts = urlsplit(value)
    if parts.scheme in ("", "file") or parts.scheme.startswith("sqlite"):
        return "/" in value
    return parts.hostname in ("localhost", "127.0.0.1", "::1")
