"""A real MLflow server for tests: `pytest_plugins = ["tests.servers.mlflow_server"]`."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

import isthmus
from isthmus.errors import RegistryError
from isthmus.servers import free_port
from isthmus.spec import Settings
from isthmus.stack.registry_scheme import registry_uri
from tests.stores import EmptyStore

_START_TIMEOUT_S = 90.0


def has_tables(settings: Settings) -> bool:
    """Returns whether the server has made its tables, which takes it seconds."""
    try:
        isthmus.models(settings=settings)
    except RegistryError:
        return False
    return True


class MlflowServer:
    """The process that `mlflow server` ends up running, on a SQLite file in a folder of its own.

    `mlflow server` itself imports MLflow twice before it starts this process, and a process for
    jobs beside it: 11 to 15 s in all, against 4 s for this.
    """

    def __init__(self, folder: Path, empty_store: EmptyStore | None = None) -> None:
        """Names the server's folder; it makes its tables itself unless there is a store to copy."""
        self.folder = folder
        self.port = free_port("127.0.0.1")
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        if empty_store is not None:
            folder.mkdir(parents=True, exist_ok=True)
            empty_store.put(folder / "mlflow.db")

    def start(self) -> None:
        """Starts it, again if need be, on the same port with the same store."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "uvicorn", "mlflow.server.fastapi_app:app"),
                    *("--host", "127.0.0.1", "--port", str(self.port), "--log-level", "warning"),
                ],
                env={**os.environ, **self._environment()},
                stdout=log,
                stderr=log,
                cwd=self.folder,
            )

    def wait(self) -> None:
        """Returns when it answers."""
        assert self._process is not None
        until_s = time.monotonic() + _START_TIMEOUT_S
        while True:
            assert self._process.poll() is None, (self.folder / "server.log").read_text()
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=5):
                    return
            except OSError:
                assert time.monotonic() < until_s, "the MLflow server did not start in time"
                time.sleep(0.05)

    def stop(self) -> None:
        """Ends it, and waits for that."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def _environment(self) -> dict[str, str]:
        # The names are those of mlflow/server/constants.py, whose import takes seconds.
        store = f"sqlite:///{self.folder / 'mlflow.db'}"
        return {
            "_MLFLOW_SERVER_FILE_STORE": store,
            "_MLFLOW_SERVER_REGISTRY_STORE": registry_uri(store),
            "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
            "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(self.folder / "artifacts"),
            "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }


@pytest.fixture(scope="session")
def mlflow_server(
    tmp_path_factory: pytest.TempPathFactory, empty_store: EmptyStore
) -> Iterator[MlflowServer]:
    """One server for the whole session; use names of your own in it, and do not stop it."""
    server = MlflowServer(tmp_path_factory.mktemp("mlflow-server"), empty_store)
    server.start()
    try:
        server.wait()
        yield server
    finally:
        server.stop()


@pytest.fixture
def stoppable_mlflow_server(tmp_path: Path, empty_store: EmptyStore) -> Iterator[MlflowServer]:
    """A server for one test, which may stop and start it."""
    server = MlflowServer(tmp_path / "mlflow-server", empty_store)
    server.start()
    try:
        server.wait()
        yield server
    finally:
        server.stop()
