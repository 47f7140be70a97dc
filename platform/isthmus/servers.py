"""Servers of this machine: started, waited for, stopped by their process id."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from isthmus.errors import IsthmusError

_START_TIMEOUT_S = 90.0
_STOP_TIMEOUT_S = 10.0


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
        what: What it is, for messages: `MLflow page`.
        command: That starts it; it gets a session of its own, so Ctrl-C is ours to handle.
        health: A URL that answers once it is ready.
        log: The file for what it writes.
        environment: Variables besides this process's.

    Raises:
        IsthmusError: If it does not start.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 (our own command)
            command,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, **environment},
        )
    try:
        wait_until_it_answers(what, process, health, log)
        yield process
    finally:
        _stop(process)


def free_port(host: str) -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def is_free(host: str, port: int) -> bool:
    """Whether a port can be listened on."""
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
    """Returns when a server that was started answers a request.

    Args:
        what: What it is, for messages.
        process: The server.
        health: A URL or request that it answers once it is ready.
        log: The file that it writes, for messages.
        timeout_s: The longest wait.

    Raises:
        IsthmusError: If it ends, or does not answer in time.
    """
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        if process.poll() is not None:
            raise IsthmusError(f"the {what} ended with code {process.returncode}; see {log}")
        try:
            with urllib.request.urlopen(health, timeout=5):  # noqa: S310 (our own server)
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise IsthmusError(f"the {what} did not answer in {timeout_s:.0f} s; see {log}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ends the server and what it started, all in one session of their own."""
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
