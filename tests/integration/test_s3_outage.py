"""Checkpoints on a real S3 that is away for a while, or is not what the user thinks."""

from __future__ import annotations

import logging
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import torch

from isthmus.errors import TrainingError
from isthmus.progress import checkpoints
from isthmus.progress.checkpoints import Progress
from isthmus.progress.storage import CheckpointStorage
from isthmus.progress.uploads import CheckpointUploads
from tests.servers.stack import S3Server

pytestmark = pytest.mark.slow
OUTAGE_S = 20.0


class Proxy:
    """A TCP door in front of S3 that can be shut: who is inside is thrown out."""

    def __init__(self, endpoint: str) -> None:
        parts = urlsplit(endpoint)
        self._target = (parts.hostname, parts.port)
        self._sockets: list[socket.socket] = []
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port = self._door.getsockname()[1]
        self._accept()

    def shut(self) -> None:
        # To wake who accepts, who would hold the port.
        self._door.shutdown(socket.SHUT_RDWR)
        for each in (self._door, *self._sockets):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._sockets.clear()

    def open(self) -> None:
        self._door = socket.create_server(("127.0.0.1", self.port))
        self._accept()

    def _accept(self) -> None:
        threading.Thread(target=self._serve, args=(self._door,), daemon=True).start()

    def _serve(self, door: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = door.accept()
                server = socket.create_connection(self._target)
                self._sockets += [client, server]
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


@pytest.fixture
def proxy(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    proxy = Proxy(s3.endpoint)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
    yield proxy
    proxy.shut()


def checkpoint(folder: Path, epochs: int) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / checkpoints.LAST).write_bytes(b"weights" * 100_000)
    best = {"weight": torch.full((2,), float(epochs))}
    checkpoints.write_best(folder, best)
    checkpoints.write_progress(folder, Progress(epochs=epochs))
    return folder


def storage_of(bucket: str) -> CheckpointStorage:
    return CheckpointStorage(f"s3://{bucket}/runs", uuid.uuid4().hex)


def test_training_goes_on_while_s3_is_away_and_its_newest_checkpoint_is_there_afterwards(
    proxy: Proxy, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    storage = storage_of("isthmus")
    with caplog.at_level(logging.WARNING, logger="isthmus"):
        with CheckpointUploads(lambda: storage) as uploads:
            uploads.keep(checkpoint(tmp_path / "made", 1))
            uploads.flush()
            proxy.shut()
            threading.Timer(OUTAGE_S, proxy.open).start()
            began_s = time.monotonic()
            for epochs in (2, 3, 4):
                uploads.keep(checkpoint(tmp_path / "made", epochs))
            assert time.monotonic() - began_s < OUTAGE_S / 2
        assert time.monotonic() - began_s > OUTAGE_S
    (said,) = caplog.messages
    assert "while training goes on" in said
    with storage.last() as folder:
        assert folder is not None
        assert checkpoints.read_progress(folder).epochs == 4
        assert (folder / checkpoints.LAST).stat().st_size == 700_000


@pytest.mark.parametrize(
    ("bucket", "key", "said"),
    [
        ("isthmus", "wrong", 'bucket "isthmus" refuses these credentials'),
        ("no-such-bucket", None, 'there is no bucket "no-such-bucket"'),
    ],
    ids=["credentials", "bucket"],
)
def test_wrong_credentials_and_a_missing_bucket_are_said_at_once(
    s3: S3Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    bucket: str,
    key: str | None,
    said: str,
) -> None:
    if key is not None:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key)
    storage = storage_of(bucket)
    began_s = time.monotonic()
    with pytest.raises(TrainingError, match=said) as caught:
        storage.keep(checkpoint(tmp_path / "made", 1))
    assert time.monotonic() - began_s < 60  # and not for the time that an outage is waited for
    assert f"isthmus train --resume {storage.run_name[:8]}" in str(caught.value)
    assert "\n" not in str(caught.value)
