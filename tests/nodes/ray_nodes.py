"""A Ray of several nodes, all of them on this machine.

They are started as people start them, by `ray start`, so none of it is in the process of the tests,
which may have a Ray of its own.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil

from isthmus.launch.session import RAY_IS_OURS
from isthmus.servers import free_port
from tests.titles import title_of

_TIMEOUT_S = 240.0
# Ray gives a node 30 s to start, which nothing changes, and then the command ends.
_TRIES = 3
_HOST = "127.0.0.1"
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_prestart_worker_first_driver": "0",
}
# Nodes of one machine must not give the same ports to their workers.
_ANY_PORTS = ("--min-worker-port=0", "--max-worker-port=0")


def environment_without_ray() -> dict[str, str]:
    """Returns this process's environment without what a Ray that runs in it has added."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("RAY_") and name != RAY_IS_OURS
    }


def _own_address() -> str:
    """Returns the address of this machine that other machines reach.

    A Ray that runs in this process would answer 127.0.0.1, so another process is asked.
    """
    return subprocess.run(
        [sys.executable, "-c", "import ray; print(ray.util.get_node_ip_address())"],
        env=environment_without_ray(),
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


class Nodes:
    """The nodes of a Ray: a head without CPUs, as KubeRay's, and others."""

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        """Creates it; nothing is started.

        Args:
            folder: The folder for sockets and logs, with a short path.
            variables: Environment variables of the nodes beside those of this process.
        """
        self.folder = folder
        self._port, self._dashboard_port = free_port(_HOST), free_port(_HOST)
        # Ray lets no nodes join a head that listens on 127.0.0.1 only, so all ask for a token.
        self.address = f"{_own_address()}:{self._port}"
        self.dashboard = f"http://{_HOST}:{self._dashboard_port}"
        token = secrets.token_hex(32)
        self.bearer = {"Authorization": f"Bearer {token}"}
        self.variables = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
        self.environment = {**environment_without_ray(), **self.variables, **variables, **_QUIET}
        self.workers: list[psutil.Popen] = []
        self._head: psutil.Popen | None = None

    def start(self, workers: int, cpus: int) -> None:
        """Starts the head, then one after another the others, and waits until all are there."""
        self._head = self._started(
            "head",
            *("--head", f"--port={self._port}", f"--temp-dir={self.folder}", "--num-cpus=0"),
            *("--include-dashboard=true", f"--dashboard-port={self._dashboard_port}"),
            f"--ray-client-server-port={free_port(_HOST)}",
        )
        for number in range(workers):
            name, where = f"worker-{number}", f"--address={self.address}"
            self.workers.append(self._started(name, where, f"--num-cpus={cpus}"))
        until_s = time.monotonic() + _TIMEOUT_S
        while not self._answers():
            assert time.monotonic() < until_s, "the dashboard of the head does not answer"
            time.sleep(0.2)

    def processes(self, worker: psutil.Popen, title: str) -> list[psutil.Process]:
        """Returns the processes of a node whose title has a text in it."""
        with suppress(psutil.NoSuchProcess):
            found = worker.children(recursive=True)
            return [each for each in found if title in title_of(each)]
        return []

    def everywhere(self, title: str) -> list[psutil.Process]:
        """Returns the processes of all nodes, the head too, whose title has a text in it."""
        nodes = [each for each in (self._head, *self.workers) if each is not None]
        return [process for node in nodes for process in self.processes(node, title)]

    def kill(self, worker: psutil.Popen) -> None:
        """Kills all of a node at once, as if its machine were lost."""
        _kill(worker)
        self.workers.remove(worker)

    def end(self) -> None:
        """Kills all nodes."""
        for worker in self.workers:
            _kill(worker)
        if self._head is not None:
            _kill(self._head)

    def _started(self, name: str, *arguments: str) -> psutil.Popen:
        """Starts a node and waits until it runs; on a busy machine Ray itself may give up once."""
        log = self.folder / f"{name}.log"
        for _ in range(_TRIES):
            node = self._run(log, *arguments)
            if _runs(node, log):
                return node
            _kill(node)
        raise AssertionError(log.read_text(encoding="utf-8"))

    def _run(self, log: Path, *arguments: str) -> psutil.Popen:
        command = [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *arguments),
            *("--object-store-memory=80000000", "--disable-usage-stats", *_ANY_PORTS),
            f"--dashboard-agent-listen-port={free_port(_HOST)}",
        ]
        with log.open("w") as file:
            return psutil.Popen(
                command, env=self.environment, stdout=file, stderr=file, cwd=self.folder
            )

    def _answers(self) -> bool:
        with suppress(httpx.HTTPError):
            url = f"{self.dashboard}/api/serve/applications/"
            return httpx.get(url, headers=self.bearer, timeout=30).is_success
        return False


def _runs(node: psutil.Popen, log: Path) -> bool:
    """Waits until a node says that it runs (true), or has ended or takes too long (false)."""
    until_s = time.monotonic() + _TIMEOUT_S
    while "Ray runtime started" not in log.read_text(encoding="utf-8"):
        if node.poll() is not None or time.monotonic() > until_s:
            return False
        time.sleep(0.1)
    return True


def _kill(node: psutil.Popen) -> None:
    processes = [node]
    with suppress(psutil.NoSuchProcess):  # it may have ended by itself
        processes += node.children(recursive=True)
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=10)


@contextmanager
def ray_nodes(workers: int, cpus: int, variables: Mapping[str, str]) -> Iterator[Nodes]:
    """Starts a head and so many other nodes with CPUs, and ends them with the block."""
    # Sockets have short paths, and processes of Ray may still write to it at the end.
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp", ignore_cleanup_errors=True) as place:
        nodes = Nodes(Path(place), variables)
        try:
            nodes.start(workers, cpus)
            yield nodes
        finally:
            nodes.end()
