"""The checks of `isthmus doctor`: what is installed, what is reachable, and what to fix."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from isthmus.errors import IsthmusError
from isthmus.resources import cpus, memory_limit_bytes
from isthmus.spec import Settings
from isthmus.stack.local import stack_of

_LEAST_FREE_BYTES = 2 * 10**9
_TIMEOUT_S = 3.0


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        verdict: `ok`; `warn` if something could be better; `fail` if jobs will fail.
        subject: The thing that was checked.
        said: The finding, and what to do.
    """

    verdict: Literal["ok", "warn", "fail"]
    subject: str
    said: str


def examine(settings: Settings) -> Iterator[Finding]:
    """Runs all checks, quick ones first, and yields their results."""
    yield from _packages()
    yield _processors()
    yield _accelerators()
    yield _disk(settings)
    yield _storage(settings)
    tracking = _tracking(settings)
    yield tracking
    if tracking.verdict == "ok":
        yield from _versions(settings)
    yield _ray(settings)
    yield _stack(settings)


def _packages() -> Iterator[Finding]:
    from packaging.requirements import Requirement

    wrong, found = [], []
    for line in metadata.requires("isthmus") or []:
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        found.append(f"{requirement.name} {version}")
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} {version} is not {requirement.specifier}")
    if wrong:
        yield Finding("fail", "packages", f"{'; '.join(wrong)}: run make setup")
    main = ("torch", "pytorch-lightning", "ray", "mlflow", "prefect")
    shown = [entry for entry in found if entry.split()[0].partition("[")[0] in main]
    yield Finding("ok", "packages", f"{len(found)} as wanted: {', '.join(shown)}")


def _processors() -> Finding:
    memory_gib = memory_limit_bytes() / 2**30
    return Finding("ok", "machine", f"{cpus()} CPUs and {memory_gib:.0f} GiB of memory may be used")


def _accelerators() -> Finding:
    import torch

    if not torch.cuda.is_available():
        return Finding("ok", "GPUs", "none; training uses the CPU")
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return Finding("ok", "GPUs", ", ".join(names))


def _disk(settings: Settings) -> Finding:
    place = next(p for p in (settings.home, *settings.home.parents) if p.exists())
    free = shutil.disk_usage(place).free
    said = f"{free / 10**9:.0f} GB free at {settings.home}"
    if free < _LEAST_FREE_BYTES:
        return Finding("fail", "disk", f"{said}; free some, or set ISTHMUS_HOME to another disk")
    return Finding("ok", "disk", said)


def _storage(settings: Settings) -> Finding:
    path = settings.storage_path
    if path.startswith("s3://"):
        return _bucket(path)
    place = next(p for p in (Path(path), *Path(path).parents) if p.exists())
    if not os.access(place, os.W_OK):
        return Finding("fail", "checkpoints", f"{place} cannot be written to; set ISTHMUS_STORAGE")
    return Finding("ok", "checkpoints", path)


def _bucket(path: str) -> Finding:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    bucket = path.removeprefix("s3://").partition("/")[0]
    config = Config(
        connect_timeout=_TIMEOUT_S, read_timeout=_TIMEOUT_S, retries={"total_max_attempts": 1}
    )
    try:
        boto3.client("s3", config=config).head_bucket(Bucket=bucket)
    except (BotoCoreError, ClientError) as error:
        return Finding(
            "fail",
            "checkpoints",
            f"{path}: {error}; check ISTHMUS_STORAGE, AWS_ENDPOINT_URL and the credentials",
        )
    return Finding("ok", "checkpoints", path)


def _tracking(settings: Settings) -> Finding:
    from isthmus.tracking import end_lost_runs
    from isthmus.tracking.store import check_reachable, is_empty_store, open_store, shown

    uri = shown(settings.tracking_uri)
    try:
        check_reachable(settings.tracking_uri)
        if not is_empty_store(settings):
            open_store(settings)  # MLflow compares the schema of a database with its own
    except IsthmusError as error:
        return Finding("fail", "MLflow", str(error))
    said = f"{uri} (embedded)" if settings.local_artifact_root is not None else uri
    ended = end_lost_runs(settings)
    if ended:
        said += f"; {ended} run{'s' if ended > 1 else ''} whose process was killed ended now"
    return Finding("ok", "MLflow", said)


def _versions(settings: Settings) -> Iterator[Finding]:
    from isthmus.upkeep.health import examine_versions

    try:
        health = examine_versions(settings)
    except IsthmusError as error:
        yield Finding("fail", "versions", str(error))
        return
    for fault in health.faults:
        yield Finding("warn", "versions", fault)
    if not health.faults:
        yield Finding("ok", "versions", f"{health.versions} registered, all whole")


def _ray(settings: Settings) -> Finding:
    if settings.ray_address is None:
        return Finding("ok", "Ray", "starts on this machine with each job (RAY_ADDRESS is not set)")
    host, _, port = settings.ray_address.rpartition("://")[2].partition("/")[0].rpartition(":")
    if not port.isdigit():
        return Finding("warn", "Ray", f"RAY_ADDRESS={settings.ray_address} was not looked at")
    try:
        socket.create_connection((host, int(port)), _TIMEOUT_S).close()
    except OSError as error:
        return Finding(
            "fail", "Ray", f"{settings.ray_address} does not answer ({error}); check RAY_ADDRESS"
        )
    return Finding("ok", "Ray", settings.ray_address)


def _stack(settings: Settings) -> Finding:
    stack = stack_of(settings)
    try:
        found = stack.status()
    except IsthmusError as error:
        return Finding("fail", "stack", str(error))
    down = [each.service.name for each in found if each.state == "down"]
    if down:
        return Finding("fail", "stack", f"{', '.join(down)} down; run isthmus stack up")
    up = [each.service.name for each in found if each.state == "up"]
    if not up:
        return Finding("ok", "stack", "none (isthmus stack up starts a team's servers here)")
    return Finding("ok", "stack", f"{', '.join(up)} up at {stack.folder}")
