"""The MLflow page of an embedded store, served on this machine for as long as it is needed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from isthmus.errors import UsageError
from isthmus.quiet import quieten
from isthmus.servers import is_free, run_server
from isthmus.spec import Settings
from isthmus.stack.registry_scheme import registry_uri
from isthmus.tracking import end_lost_runs

_FIRST_PORT = 5000
_PORTS_TRIED = 50


@dataclass
class Page:
    """A running MLflow page.

    Attributes:
        url: The address for a browser.
    """

    url: str
    _process: subprocess.Popen[bytes]

    def wait(self) -> None:
        """Waits until Ctrl-C, or until the server ends by itself."""
        try:
            self._process.wait()
        except KeyboardInterrupt:
            return


@contextmanager
def serve_page(settings: Settings, host: str, port: int | None) -> Iterator[Page]:
    """Starts the page, waits until it answers, and stops it at the end of the block.

    Runs whose process was killed are ended first, so that the page shows none of them as running.

    Args:
        settings: The settings with the tracking store to show.
        host: The address to listen on.
        port: The port; `None` takes 5000 or the next free one.

    Raises:
        UsageError: If the port is taken.
        IsthmusError: If the server does not start.
    """
    quieten()
    end_lost_runs(settings)
    port = _free_port(host) if port is None else _checked_port(host, port)
    command = [
        *(sys.executable, "-m", "mlflow", "server"),
        *("--backend-store-uri", settings.tracking_uri),
        *("--registry-store-uri", registry_uri(settings.tracking_uri)),
        *("--default-artifact-root", settings.local_artifact_root or "mlruns"),
        *("--host", host, "--port", str(port), "--workers", "1"),
    ]
    url = f"http://{host}:{port}"
    with run_server(
        "MLflow page",
        command,
        health=f"{url}/health",
        log=settings.log_file.with_name("mlflow-page.log"),
        # MLflow's job runner is a second server, which doubles the start time.
        environment={"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
    ) as process:
        yield Page(url, process)


def _checked_port(host: str, port: int) -> int:
    if not is_free(host, port):
        raise UsageError(f"port {port} of {host} is taken; choose another with --port")
    return port


def _free_port(host: str) -> int:
    for port in range(_FIRST_PORT, _FIRST_PORT + _PORTS_TRIED):
        if is_free(host, port):
            return port
    raise UsageError(
        f"no port of {host} from {_FIRST_PORT} to {_FIRST_PORT + _PORTS_TRIED - 1} is free; "
        "choose another with --port"
    )
