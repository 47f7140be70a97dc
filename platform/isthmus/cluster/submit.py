"""Submits a training job to a cluster: the job file, the code as a wheel, and small local data."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from isthmus.cluster.client import Cluster, connect
from isthmus.cluster.wheel import build_wheel
from isthmus.errors import DataError, UsageError
from isthmus.jobs.specs import load_job_file
from isthmus.quiet import quieten
from isthmus.spec import JobSpec, Settings

_JOB_FILE = "job.yaml"
_DATA_FOLDER = "data"
_LARGEST_LOCAL_DATA_BYTES = 50 * 2**20
# The addresses of servers are sent with the job. Secrets are sent only if they are named, because
# Ray's dashboard shows a job's environment to everyone who can open it.
_ADDRESSES = (
    *("MLFLOW_TRACKING_URI", "ISTHMUS_STORAGE", "AWS_ENDPOINT_URL", "MLFLOW_S3_ENDPOINT_URL"),
    *("AWS_DEFAULT_REGION", "AWS_REGION"),
)
_ALWAYS = {
    # `cancel` acts like Ctrl-C: the run ends after its epoch and can be resumed.
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


def submit(
    job: Path,
    overrides: Sequence[str],
    cluster: Cluster,
    settings: Settings,
    environment: Sequence[str] = (),
) -> Submitted:
    """Checks a job file on this machine, and submits the job.

    Args:
        job: The job file.
        overrides: Values for dotted names, `training.epochs=5`.
        cluster: The cluster to submit it to.
        settings: The settings with the addresses of this machine's stores.
        environment: Variables to set for the job: `NAME=VALUE`, or `NAME` for this process's value.

    Raises:
        SpecError: If the job cannot be run.
        DataError: If its data are only on this machine and too large to be sent.
        ClusterError: If the cluster does not accept it.
    """
    quieten()
    spec = load_job_file(job, overrides)
    variables = _variables(cluster, settings, environment)
    with tempfile.TemporaryDirectory(prefix="isthmus-submit-") as name:
        folder = Path(name)
        working_dir = folder / "job"
        working_dir.mkdir()
        spec = spec if cluster.is_local else _with_its_data(spec, working_dir)
        spec = _with_absolute_path(spec) if cluster.is_local else spec
        content = yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
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


def _with_absolute_path(spec: JobSpec) -> JobSpec:
    """Returns the job with an absolute data path, because it runs in another working folder."""
    if "://" in spec.data.path or spec.data.path.startswith("sklearn:"):
        return spec
    return _with_path(spec, str(Path(spec.data.path).absolute()))


def _with_its_data(spec: JobSpec, working_dir: Path) -> JobSpec:
    """Copies small local data to the folder that is sent; returns the job with the new path."""
    if "://" in spec.data.path or spec.data.path.startswith("sklearn:"):
        return spec
    source = Path(spec.data.path)
    if not source.exists():
        raise DataError(f"{source}: no such file or folder; check data.path")
    size_bytes = _size_bytes(source)
    if size_bytes > _LARGEST_LOCAL_DATA_BYTES:
        raise DataError(
            f"{source} is {size_bytes / 2**20:,.0f} MiB on this machine, and at most "
            f"{_LARGEST_LOCAL_DATA_BYTES >> 20} MiB travel with a job; put it on S3 and set "
            "data.path to s3://BUCKET/KEY"
        )
    target = Path(_DATA_FOLDER) / source.name
    (working_dir / _DATA_FOLDER).mkdir()
    if source.is_dir():
        shutil.copytree(source, working_dir / target)
    else:
        shutil.copyfile(source, working_dir / target)
    return _with_path(spec, target.as_posix())


def _with_path(spec: JobSpec, path: str) -> JobSpec:
    return spec.model_copy(update={"data": spec.data.model_copy(update={"path": path})})


def _size_bytes(source: Path) -> int:
    if source.is_file():
        return source.stat().st_size
    return sum(file.stat().st_size for file in source.rglob("*") if file.is_file())
