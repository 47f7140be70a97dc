"""Starts, checks and stops servers on this machine, by their process id and creation time."""

from __future__ import annotations

import http.client
import os
import random
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from isthmus.errors import IsthmusError

_START_TIMEOUT_S = 90.0
_STOP_TIMEOUT_S = 10.0
# How long children may run on when their parent has ended.
_ORPHANS_TIMEOUT_S = 2.0
# If the system's clock is set while a process runs, its creation time changes too.
_CREATED_TOLERANCE_S = 2.0

# The ports of `free_port`: above those that Ray gives to its workers, and below those that Linux,
# macOS and Windows give to outgoing connections.
_PORTS = range(20_000, 32_768)

# The environment variables that a program needs and that hold no secrets.
_HARMLESS = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH")


@dataclass(frozen=True)
class ServerProcess:
    """A started process, told apart from any later one with the same process id.

    Attributes:
        pid: The process id.
        created_s: The time of its creation, in seconds since the epoch.
    """

    pid: int
    created_s: float


def start_process(
    command: Sequence[str],
    *,
    log: Path,
    environment: Mapping[str, str],
    cwd: Path | None = None,
    user: str | None = None,
) -> subprocess.Popen[bytes]:
    """Starts a program that outlives this one and does not receive this terminal's Ctrl-C.

    Args:
        command: The program with its arguments.
        log: The file to which its output is appended.
        environment: All its environment variables.
        cwd: The working folder; by default the current one.
        user: The user that it runs as; by default the current one.
    """
    with log.open("ab") as output:
        return subprocess.Popen(  # noqa: S603 (our own command)
            command,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env=dict(environment),
            cwd=cwd,
            **run_as(user),
        )


def run_as(user: str | None) -> dict[str, Any]:
    """Returns the arguments with which `subprocess` runs a program as a user; none for `None`."""
    if user is None:
        return {}
    import pwd

    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def variables_for(user: str | None) -> dict[str, str]:
    """Returns this process's variables, and for another user only those that hold no secrets.

    That user can read the variables of its processes in /proc.
    """
    if user is None:
        return dict(os.environ)
    return {name: os.environ[name] for name in _HARMLESS if name in os.environ}


def identify(pid: int) -> ServerProcess:
    """Returns what tells a running process apart from any later one with its process id."""
    try:
        return ServerProcess(pid, psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return ServerProcess(pid, 0.0)  # it has ended already


def is_alive(process: ServerProcess) -> bool:
    """Returns whether that very process runs; a zombie, which has ended, does not."""
    try:
        found = psutil.Process(process.pid)
        age_differs_s = abs(found.create_time() - process.created_s)
    except psutil.NoSuchProcess:
        return False
    return age_differs_s < _CREATED_TOLERANCE_S and _has_not_ended(found)


def end_process(
    process: ServerProcess,
    *,
    first: signal.Signals = signal.SIGTERM,
    timeout_s: float = _STOP_TIMEOUT_S,
) -> None:
    """Ends a server and the processes that it started: asks first, then kills what is left.

    Args:
        process: The server. If it no longer runs or another process has its id, nothing is done.
        first: The signal that asks it to end.
        timeout_s: The longest wait, in seconds, before it is killed.
    """
    if not is_alive(process):
        return
    try:
        root = psutil.Process(process.pid)
        family = [root, *root.children(recursive=True)]
        leads_its_group = os.getpgid(root.pid) == root.pid
        root.send_signal(first)
    except (psutil.NoSuchProcess, ProcessLookupError):
        return
    is_deaf = bool(_wait_for_the_end([root], timeout_s))
    left = _wait_for_the_end(family, 0.0 if is_deaf else _ORPHANS_TIMEOUT_S)
    if leads_its_group:  # processes that were started since are in the group
        with suppress(ProcessLookupError):
            os.killpg(root.pid, signal.SIGKILL)
    for each in left:
        with suppress(psutil.NoSuchProcess):
            each.kill()
    _wait_for_the_end(left, timeout_s)


def _wait_for_the_end(
    processes: Sequence[psutil.Process], timeout_s: float
) -> list[psutil.Process]:
    """Waits until the processes have ended, and returns those that have not.

    psutil's `wait_procs` is not used: where nothing reaps orphans, as in a container without an
    init process, it waits forever for processes that have ended.
    """
    deadline_s = time.monotonic() + timeout_s
    while left := [each for each in processes if _has_not_ended(each)]:
        if time.monotonic() > deadline_s:
            break
        time.sleep(0.02)
    return left


def _has_not_ended(process: psutil.Process) -> bool:
    try:
        is_there: bool = process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    return is_there


@contextmanager
def run_server(
    what: str,
    command: Sequence[str],
    *,
    health: str,
    log: Path,
    environment: Mapping[str, str],
) -> Iterator[subprocess.Popen[bytes]]:
    """Starts a server, waits until it answers, and stops it at the end of the block.

    Args:
        what: The name of the server for messages, `MLflow page`.
        command: The command that starts it. It gets a session of its own, so that we handle Ctrl-C.
        health: A URL that answers once the server is ready.
        log: The file for its output.
        environment: Variables besides those of this process.

    Raises:
        IsthmusError: If it does not start.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    process = start_process(command, log=log, environment={**os.environ, **environment})
    started = identify(process.pid)
    try:
        wait_until_it_answers(what, process, health, log)
        yield process
    finally:
        end_process(started)
        process.wait()


def free_port(host: str) -> int:
    """Returns a port that no process listens on.

    It is not one of those that the system gives to outgoing connections and to servers that ask
    for any port: another process would often get it before the server that it is meant for.

    Raises:
        IsthmusError: If all of a thousand ports that were tried are taken.
    """
    for _ in range(1000):
        port = random.choice(_PORTS)  # noqa: S311 (nothing here is secret)
        if is_free(host, port):
            return port
    raise IsthmusError(f"no free port of {host} was found between {_PORTS[0]} and {_PORTS[-1]}")


def is_free(host: str, port: int) -> bool:
    """Returns whether a process can listen on a port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def wait_until_it_answers(
    what: str,
    process: subprocess.Popen[bytes],
    health: str | urllib.request.Request,
    log: Path,
    timeout_s: float = _START_TIMEOUT_S,
) -> None:
    """Waits until a started server answers a request.

    Args:
        what: The name of the server for messages.
        process: The server.
        health: A URL or request that it answers once it is ready.
        log: The log file, for messages.
        timeout_s: The longest wait, in seconds.

    Raises:
        IsthmusError: If it ends, or does not answer in time.
    """
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        if process.poll() is not None:
            raise IsthmusError(f"the {what} ended with code {process.returncode}; see {log}")
        if answers(health, timeout_s=5):
            return
        time.sleep(0.1)
    raise IsthmusError(f"the {what} did not answer in {timeout_s:.0f} s; see {log}")


def answers(health: str | urllib.request.Request, timeout_s: float) -> bool:
    """Returns whether a request is answered without an error."""
    try:
        with urllib.request.urlopen(health, timeout=timeout_s):  # noqa: S310 (our own server)
            return True
    # An HTTPException comes from a server of another protocol.
    except (urllib.error.URLError, http.client.HTTPException, OSError):
        return False
