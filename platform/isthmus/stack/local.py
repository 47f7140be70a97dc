"""The stack: all servers that a team needs, on this machine, without Docker."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from filelock import FileLock

from isthmus.errors import IsthmusError, UsageError, nearest
from isthmus.quiet import quieten
from isthmus.servers import (
    end_process,
    identify,
    is_alive,
    is_free,
    start_process,
    variables_for,
)
from isthmus.spec import Settings
from isthmus.stack.mlflow_server import MlflowServer
from isthmus.stack.object_store import ObjectStore
from isthmus.stack.place import HOST, Place, State, is_prepared, log_file
from isthmus.stack.postgres import Postgres
from isthmus.stack.prefect_server import PrefectServer
from isthmus.stack.ray_server import RayHead
from isthmus.stack.service import Service

# Each service comes after those that it requires.
SERVICES: tuple[Service, ...] = (
    Postgres(),
    ObjectStore(),
    MlflowServer(),
    RayHead(),
    PrefectServer(),
)
_PORT_NAMES = tuple(name for service in SERVICES for name in service.ports)
_START_TIMEOUT_S = 180.0
# How long to wait for a running server that does not answer: an interrupted `up` may have just
# started it.
_PATIENCE_S = 30.0
_POLL_S = 0.1
# The system frees the ports of a killed process only after a moment.
_PORT_TIMEOUT_S = 2.0
_LAST_PORT = 65_535
_LARGEST_LOG_BYTES = 20_000_000

Report = Callable[[Service, str], None]
"""A function that is called, from several threads, with a service and what happened to it."""


@dataclass(frozen=True)
class Status:
    """The state of a service.

    Attributes:
        service: The service.
        state: `down` if it was started but no longer runs, or does not answer.
        address: The URL or address that users open; `None` if the service is not started.
        pid: The id of its process, if that runs.
        since: The time of that process's start.
    """

    service: Service
    state: Literal["up", "down", "not started"]
    address: str | None = None
    pid: int | None = None
    since: datetime | None = None


def find_service(name: str) -> Service:
    """Returns the service of that name.

    Raises:
        UsageError: If there is none.
    """
    for service in SERVICES:
        if service.name == name:
            return service
    valid = [service.name for service in SERVICES]
    raise UsageError(f'no service "{name}"; {nearest(name, valid)}')


def with_required(names: Collection[str]) -> tuple[Service, ...]:
    """Returns the named services and all that they require, or all services if none is named."""
    wanted = {find_service(name).name for name in names}
    for service in reversed(SERVICES):
        if service.name in wanted:
            wanted.update(service.requires)
    return tuple(service for service in SERVICES if not names or service.name in wanted)


def stack_of(settings: Settings) -> Stack:
    """Returns the stack of an Isthmus home; it need not have been started."""
    return Stack(settings.home / "stack")


class Stack:
    """The servers whose state is kept in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()

    def up(
        self,
        only: Collection[str] = (),
        ports: Mapping[str, int] | None = None,
        report: Report = lambda service, said: None,
    ) -> None:
        """Starts the requested services that do not run, and waits until all of them answer.

        Services that are up stay up, also if another one fails or this is interrupted.

        Args:
            only: Names of services; those that they require are started too. Empty means all.
            ports: Ports by name, to use instead of free ones.
            report: Called with each service once it is ready.

        Raises:
            UsageError: If a port is taken, a wheel is missing, or the folder cannot be used; no
                service was started then.
            IsthmusError: If a server does not start.
        """
        services = with_required(only)
        quieten()
        with self._sole(), _said_in_one_line(self.folder):
            state = State(self.folder)
            _check_ports(state, ports or {})
            for service in services:
                # Checked before the ports are saved: otherwise the next `up` would fail at a taken
                # port too.
                if not _runs(service, state):
                    _check_free(service, {**state.ports, **(ports or {})})
            place = state.prepare(_PORT_NAMES, ports or {})
            for service in services:
                service.check(place)
            self._start_all(services, state, place, report)

    def down(self, *, wipe: bool = False, report: Report = lambda service, said: None) -> None:
        """Stops all running services, in reverse order.

        Args:
            wipe: Whether to delete the folder with all data too.
            report: Called with each service that was stopped.

        Raises:
            UsageError: If the folder to delete is not a stack's.
        """
        if not self.folder.exists():
            return
        if wipe and not is_prepared(self.folder):
            raise UsageError(
                f"{self.folder} is no stack's folder: it has neither state.json nor secrets.json; "
                "nothing is deleted"
            )
        with self._sole(), _said_in_one_line(self.folder):
            state = State(self.folder)
            for service in reversed(SERVICES):
                if service.name in state.processes:
                    _stop(service, state)
                    report(service, "stopped")
            if wipe and self.folder.exists():
                # Deleted under the lock: another `up` could start servers in a folder that is being
                # deleted.
                shutil.rmtree(self.folder)

    def stop(self, name: str) -> None:
        """Stops one service, but none of those that require it."""
        with self._sole():
            _stop(find_service(name), State(self.folder))

    def status(self) -> tuple[Status, ...]:
        """Returns the current state of each service."""
        state = State(self.folder)
        if not state.processes:
            return tuple(Status(service, "not started") for service in SERVICES)
        place = state.place()
        with ThreadPoolExecutor(len(SERVICES)) as pool:
            return tuple(pool.map(lambda service: _look_at(service, state, place), SERVICES))

    def environment(self) -> dict[str, str]:
        """Returns the environment variables by which clients find the started services.

        Raises:
            UsageError: If none was started.
        """
        state = State(self.folder)
        if not state.processes:
            raise UsageError(f"no stack runs from {self.folder}; start it with isthmus stack up")
        place = state.place()
        variables: dict[str, str] = {}
        for service in SERVICES:
            if service.name in state.processes:
                variables |= service.client_environment(place)
        return variables

    def log(self, name: str) -> Path:
        """Returns the path of a service's log file."""
        return log_file(self.folder, find_service(name).name)

    @contextmanager
    def _sole(self) -> Iterator[None]:
        """Locks the stack: one process at a time changes it, and others wait."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # Beside the folder, because the folder may be deleted under the lock.
            lock = FileLock(self.folder.with_name(f"{self.folder.name}.lock"))
            lock.acquire()
        except OSError as error:
            raise _unusable(self.folder, error) from error
        try:
            yield
        finally:
            lock.release()

    def _start_all(
        self, services: Sequence[Service], state: State, place: Place, report: Report
    ) -> None:
        stopped = threading.Event()
        pool = ThreadPoolExecutor(len(services))
        ready: dict[str, Future[None]] = {}
        for service in services:
            first = [ready[name] for name in service.requires if service.waits]
            start = _Start(service, state, place, report, stopped)
            ready[service.name] = pool.submit(start.run, first)
        try:
            wait(ready.values())
        finally:
            stopped.set()
            pool.shutdown()
        for future in ready.values():
            future.result()


@dataclass(frozen=True)
class _Start:
    """Starts one service, in a thread of its own."""

    service: Service
    state: State
    place: Place
    report: Report
    stopped: threading.Event

    def run(self, first: Sequence[Future[None]]) -> None:
        for future in first:
            future.result()
        began_s = time.monotonic()
        known = self.state.processes.get(self.service.name)
        if known is not None and is_alive(known) and self._is_ready_within(_PATIENCE_S):
            self.report(self.service, "runs already")
            return
        if self.stopped.is_set():
            return
        if known is not None:
            _stop(self.service, self.state)
        self._start()
        if not self.stopped.is_set():
            verb = "started" if known is None else "restarted"
            self.report(self.service, f"{verb} in {time.monotonic() - began_s:.1f} s")

    def _is_ready_within(self, timeout_s: float) -> bool:
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s and not self.stopped.is_set():
            if self.service.becomes_ready(self.place):
                return True
            time.sleep(_POLL_S)
        return False

    def _start(self) -> None:
        service, place = self.service, self.place
        service.prepare(place)
        if self.stopped.is_set():
            return
        log = place.log(service.name)
        if log.exists() and log.stat().st_size > _LARGEST_LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))
        log.touch(mode=0o600)
        log.chmod(0o600)  # an older file may have other permissions
        process = start_process(
            service.command(place),
            log=log,
            environment={**_surroundings(service, place), **service.environment(place)},
            cwd=Path("/"),
            user=service.user(),
        )
        self.state.started(service.name, identify(process.pid))
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while not service.becomes_ready(place):
            if self.stopped.wait(_POLL_S):
                return
            if process.poll() is not None:
                self.state.stopped(service.name)
                raise IsthmusError(
                    f"{service.title} ended with code {process.returncode}; see {log}"
                )
            if time.monotonic() > deadline_s:
                _stop(service, self.state)
                raise IsthmusError(
                    f"{service.title} did not answer in {_START_TIMEOUT_S:.0f} s; see {log}"
                )


def _surroundings(service: Service, place: Place) -> dict[str, str]:
    """Returns this process's variables, without those that any stack sets for its clients."""
    own = {name for service in SERVICES for name in service.client_environment(place)}
    return {name: value for name, value in variables_for(service.user()).items() if name not in own}


def _runs(service: Service, state: State) -> bool:
    process = state.processes.get(service.name)
    return process is not None and is_alive(process)


def _look_at(service: Service, state: State, place: Place) -> Status:
    process = state.processes.get(service.name)
    if process is None:
        return Status(service, "not started")
    address = service.address(place)
    if not is_alive(process):
        return Status(service, "down", address)
    since = datetime.fromtimestamp(process.created_s, UTC)
    answers = service.answers(place)
    return Status(service, "up" if answers else "down", address, process.pid, since)


def _check_ports(state: State, wanted: Mapping[str, int]) -> None:
    for name, port in wanted.items():
        if name not in _PORT_NAMES:
            raise UsageError(f'no port "{name}"; {nearest(name, _PORT_NAMES)}')
        if not 1 <= port <= _LAST_PORT:
            raise UsageError(f"{name}={port} is no port; give one from 1 to {_LAST_PORT}")
        if state.ports.get(name) == port:
            continue
        if any(is_alive(process) for process in state.processes.values()):
            raise UsageError(
                f"{name} has port {state.ports.get(name)} while the stack is up; run isthmus "
                "stack down before you give it another"
            )
        for other, taken in {**state.ports, **wanted}.items():
            if other != name and taken == port:
                raise UsageError(
                    f"{name} cannot have port {port}, which is {other}'s; give another"
                )


def _check_free(service: Service, ports: Mapping[str, int]) -> None:
    """Checks that the chosen ports are free; those that are not chosen yet will be free ones."""
    for name in service.ports:
        if name not in ports:
            continue
        port = ports[name]
        deadline_s = time.monotonic() + _PORT_TIMEOUT_S
        while not is_free(HOST, port):
            if time.monotonic() < deadline_s:
                time.sleep(_POLL_S)
                continue
            raise UsageError(
                f"port {port} of {HOST}, {service.title}'s, is taken by another program; end that, "
                f"or give another: isthmus stack up --port {name}=PORT"
            )


def _stop(service: Service, state: State) -> None:
    process = state.processes.get(service.name)
    if process is not None:
        end_process(process, first=service.stop_signal, timeout_s=service.stop_timeout_s)
        state.stopped(service.name)


@contextmanager
def _said_in_one_line(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, subprocess.SubprocessError) as error:
        raise _unusable(folder, error) from error


def _unusable(folder: Path, error: Exception) -> UsageError:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return UsageError(
        f"the stack's folder {folder} cannot be used ({reason}); make room or choose another with "
        "--folder"
    )
