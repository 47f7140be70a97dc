"""The state of a stack in one folder: ports, passwords, processes, logs and data."""

from __future__ import annotations

import base64
import json
import os
import random
import secrets
import shutil
import tempfile
import threading
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from isthmus.errors import IsthmusError, UsageError
from isthmus.servers import ServerProcess, is_free

HOST = "127.0.0.1"
# Above the ports of Ray's workers, and below those that systems give to outgoing connections, so
# that a port is still free when the stack is started again.
_PORTS = range(20_000, 32_000)
_STATE_FILE = "state.json"
_SECRETS_FILE = "secrets.json"
_SECRETS = ("postgres", "mlflow_database", "s3_access", "s3_secret", "ray")


@dataclass(frozen=True)
class Place:
    """The folder, ports and secrets with which a service is started or checked.

    Attributes:
        folder: The folder of the stack.
        ports: The ports by name.
        secrets: The passwords and keys by name.
        scratch: A folder with a short path, which is deleted when the stack is down.
    """

    folder: Path
    ports: Mapping[str, int]
    secrets: Mapping[str, str]
    scratch: Path

    def data(self, service: str) -> Path:
        """Returns the folder for a service's persistent data."""
        return self.folder / "data" / service

    def log(self, service: str) -> Path:
        """Returns the path of a service's log file."""
        return log_file(self.folder, service)


def log_file(folder: Path, service: str) -> Path:
    """Returns the path of a service's log file, for the stack in that folder."""
    return folder / "logs" / f"{service}.log"


def is_prepared(folder: Path) -> bool:
    """Returns whether a stack has been created in that folder."""
    return (folder / _STATE_FILE).is_file() or (folder / _SECRETS_FILE).is_file()


class State:
    """The saved choices and started processes of a stack; it is thread-safe.

    Only the process that holds the stack's lock may change it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._file = folder / _STATE_FILE
        known = _read(self._file)
        self.ports: dict[str, int] = known.get("ports", {})
        self._scratch: str | None = known.get("scratch")
        self._processes = {
            name: ServerProcess(**process) for name, process in known.get("processes", {}).items()
        }

    @property
    def processes(self) -> Mapping[str, ServerProcess]:
        """The processes by service that were started, and not stopped by us since."""
        return dict(self._processes)

    def place(self) -> Place:
        """Returns what services need; the stack must have been prepared."""
        known = _read(self.folder / _SECRETS_FILE)
        if not known or self._scratch is None:
            raise IsthmusError(
                f"the stack in {self.folder} has lost its state; run isthmus stack up"
            )
        return Place(self.folder, dict(self.ports), known, Path(self._scratch))

    def prepare(self, names: Iterable[str], wanted: Mapping[str, int]) -> Place:
        """Creates the folder, and chooses ports and secrets that have not been chosen before.

        Args:
            names: The names of all ports.
            wanted: Given ports, by name.
        """
        for part in (self.folder, self.folder / "data", self.folder / "logs"):
            part.mkdir(parents=True, exist_ok=True)
            # Servers that root starts as another user must be able to enter; secrets are in
            # protected files.
            part.chmod(0o711 if os.geteuid() == 0 else 0o700)
        file = self.folder / _SECRETS_FILE
        if not file.exists():
            _write(file, _new_secrets())
        self.ports |= wanted
        for name in names:
            if name not in self.ports:
                self.ports[name] = _unused_port(set(self.ports.values()))
        if self._scratch is None or not Path(self._scratch).is_dir():
            self._scratch = tempfile.mkdtemp(prefix="isthmus-stack-")
        self._save()
        return self.place()

    def started(self, service: str, process: ServerProcess) -> None:
        """Saves a started process, before it is known to work."""
        with self._lock:
            self._processes[service] = process
            self._save()

    def stopped(self, service: str) -> None:
        """Removes a stopped process; after the last one, deletes the scratch folder."""
        with self._lock:
            self._processes.pop(service, None)
            if not self._processes and self._scratch is not None:
                shutil.rmtree(self._scratch, ignore_errors=True)
                self._scratch = None
            self._save()

    def _save(self) -> None:
        processes = {name: asdict(process) for name, process in self._processes.items()}
        _write(
            self._file,
            {"ports": self.ports, "scratch": self._scratch, "processes": processes},
        )


def _read(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UsageError(f"{file} cannot be read ({error.strerror})") from error
    try:
        known: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise IsthmusError(
            f"{file} is damaged ({error}); restore it, or delete the stack's folder with its data"
        ) from error
    return known


def _write(file: Path, content: Mapping[str, Any]) -> None:
    partial = file.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    partial.touch(mode=0o600)
    partial.write_text(json.dumps(content, indent=1), encoding="utf-8")
    partial.replace(file)


def _new_secrets() -> dict[str, str]:
    made = {name: secrets.token_hex(24) for name in _SECRETS}
    # A Fernet key, with which MLflow encrypts the secrets of webhooks.
    return made | {"webhooks": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()}


def _unused_port(taken: set[int]) -> int:
    for port in random.sample(_PORTS, len(_PORTS)):
        if port not in taken and is_free(HOST, port):
            return port
    raise IsthmusError(f"no port of {HOST} from {_PORTS.start} to {_PORTS.stop - 1} is free")
