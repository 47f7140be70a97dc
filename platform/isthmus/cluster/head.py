"""A Ray head node on this machine, for jobs that outlive the terminal they were started from."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from isthmus.quiet import quieten
from isthmus.ray_head import HOST, HeadPorts, head_command, head_environment, head_health
from isthmus.servers import (
    ServerProcess,
    end_process,
    free_port,
    identify,
    is_alive,
    start_process,
    wait_until_it_answers,
)
from isthmus.spec import Settings

_START_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Head:
    """A running Ray head node.

    Attributes:
        address: The URL of Ray's Jobs API and dashboard, `http://127.0.0.1:PORT`.
        token: The token that its API requires.
        pid: The id of the parent process of all its processes.
        created_s: The time of that process's creation, in seconds since the epoch.
        folder: The folder of Ray's sockets and logs.
    """

    address: str
    token: str
    pid: int
    created_s: float
    folder: str


def start_head(settings: Settings) -> Head:
    """Starts a head node, or returns the one that runs already.

    Raises:
        IsthmusError: If it does not start.
    """
    running = find_head(settings)
    if running is not None:
        return running
    quieten()
    log = settings.log_file.with_name("ray-head.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    # Not in Isthmus's home, because a socket's path is limited to about a hundred letters.
    folder = tempfile.mkdtemp(prefix="isthmus-ray-")
    token = secrets.token_hex(32)
    ports = HeadPorts(0, free_port(HOST), free_port(HOST), free_port(HOST))
    process = start_process(
        head_command(folder, ports),
        log=log,
        environment={**os.environ, **head_environment(token)},
    )
    started = identify(process.pid)
    head = Head(f"http://{HOST}:{ports.dashboard}", token, started.pid, started.created_s, folder)
    try:
        for request in head_health(ports, token):
            wait_until_it_answers("Ray head", process, request, log, _START_TIMEOUT_S)
    except BaseException:
        _end(head)
        raise
    _remember(settings, head)
    return head


def find_head(settings: Settings) -> Head | None:
    """Returns the head node of this home, or `None` if none runs."""
    try:
        head = Head(**json.loads(_state_file(settings).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return head if is_alive(_process(head)) else None


def stop_head(settings: Settings) -> bool:
    """Stops this home's head node and the jobs on it; returns whether one ran."""
    head = find_head(settings)
    _state_file(settings).unlink(missing_ok=True)
    if head is None:
        return False
    _end(head)
    return True


def _remember(settings: Settings, head: Head) -> None:
    file = _state_file(settings)
    partial = file.with_suffix(".partial")
    partial.touch(mode=0o600)  # it holds the token
    partial.write_text(json.dumps(asdict(head)), encoding="utf-8")
    partial.replace(file)


def _state_file(settings: Settings) -> Path:
    return settings.home / "ray-head.json"


def _process(head: Head) -> ServerProcess:
    return ServerProcess(head.pid, head.created_s)


def _end(head: Head) -> None:
    """Ends the head node and all processes that it started, and deletes its folder."""
    end_process(_process(head), timeout_s=_STOP_TIMEOUT_S)
    shutil.rmtree(head.folder, ignore_errors=True)
