"""The MLflow page on an embedded store: a server of this machine, as long as it is wanted."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from isthmus.errors import IsthmusError, UsageError
from isthmus.quiet import quieten
from isthmus.spec import Settings

_FIRST_PORT = 5000
_PORTS_TRIED = 50
_START_TIMEOUT_S = 90.0
_STOP_TIMEOUT_S = 10.0


@dataclass
class Page:
    """A running page.

    Attributes:
        url: Where a browser finds it.
    """

    url: str
    _process: subprocess.Popen[bytes]

    def wait(self) -> None:
        """Until Ctrl-C, or until the server ends by itself."""
        try:
            self._process.wait()
        except KeyboardInterrupt:
            return


@contextmanager
def serve_page(settings: Settings, host: str, port: int | None) -> Iterator[Page]:
    """Starts the page, waits until it answers, and stops it by its process id at the end.

    Args:
        settings: Whose store it shows.
        host: The address to listen on.
        port: `None` takes 5000 or the next that is free.

    Raises:
        UsageError: If the port is taken.
        IsthmusError: If the server does not start.
    """
    quieten()
    port = _free_port(host) if port is None else _checked_port(host, port)
    settings.log_file.parent.mkdir(parents=True, exist_ok=True)
    log = settings.log_file.with_name("mlflow-page.log")
    command = [
        *(sys.executable, "-m", "mlflow", "server"),
        *("--backend-store-uri", settings.tracking_uri),
        *("--default-artifact-root", settings.local_artifact_root or "mlruns"),
        *("--host", host, "--port", str(port), "--workers", "1"),
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 (our own command)
            command, stdout=output, stderr=output, start_new_session=True, env=_environment()
        )
    try:
        url = f"http://{host}:{port}"
        _wait_until_it_answers(process, url, str(log))
        yield Page(url, process)
    finally:
        _stop(process)


def _environment() -> dict[str, str]:
    # MLflow's runner of background jobs is a second server, which doubles the time to start.
    return {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **os.environ}


def _checked_port(host: str, port: int) -> int:
    if not _is_free(host, port):
        raise UsageError(f"port {port} of {host} is taken; choose another with --port")
    return port


def _free_port(host: str) -> int:
    for port in range(_FIRST_PORT, _FIRST_PORT + _PORTS_TRIED):
        if _is_free(host, port):
            return port
    raise UsageError(
        f"no port of {host} from {_FIRST_PORT} to {_FIRST_PORT + _PORTS_TRIED - 1} is free; "
        "choose another with --port"
    )


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _wait_until_it_answers(process: subprocess.Popen[bytes], url: str, log: str) -> None:
    deadline_s = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline_s:
        if process.poll() is not None:
            raise IsthmusError(f"the MLflow page ended with code {process.returncode}; see {log}")
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=2):  # noqa: S310 (our own server)
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise IsthmusError(f"the MLflow page did not answer in {_START_TIMEOUT_S:.0f} s; see {log}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ends the server and the workers that it started, all in one session of their own."""
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
