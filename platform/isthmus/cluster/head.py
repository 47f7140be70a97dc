"""A Ray head of this machine's own, for jobs that shall outlive the terminal they came from."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from isthmus.quiet import quieten
from isthmus.servers import free_port, wait_until_it_answers
from isthmus.spec import Settings

_HOST = "127.0.0.1"
_START_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Head:
    """A running head.

    Attributes:
        address: Of Ray's Jobs API and dashboard, `http://127.0.0.1:PORT`.
        token: That its API wants.
        pid: Of the process that holds all others.
        folder: Where Ray keeps its sockets and logs.
    """

    address: str
    token: str
    pid: int
    folder: str


def start_head(settings: Settings) -> Head:
    """Starts a head, or gives the one that runs already.

    Raises:
        IsthmusError: If it does not start.
    """
    running = find_head(settings)
    if running is not None:
        return running
    quieten()
    log = settings.log_file.with_name("ray-head.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    # Not in our home: a socket's path may have a hundred letters only.
    folder = tempfile.mkdtemp(prefix="isthmus-ray-")
    # Ports of its own for all: beside an embedded Ray, Ray's default ones are taken, and a head
    # without its agent takes no jobs.
    token, port, agent_port = secrets.token_hex(32), free_port(_HOST), free_port(_HOST)
    command = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
        *("--node-ip-address", _HOST, "--port", "0", "--temp-dir", folder),
        *("--include-dashboard", "true", "--dashboard-host", _HOST),
        *("--dashboard-port", str(port), "--dashboard-agent-listen-port", str(agent_port)),
        *("--ray-client-server-port", str(free_port(_HOST)), "--disable-usage-stats"),
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 (our own command)
            command,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env=_environment(token),
        )
    head = Head(f"http://{_HOST}:{port}", token, process.pid, folder)
    try:
        for health in (
            f"{head.address}/api/jobs/",
            # The agent runs the jobs, and starts after the dashboard that takes them.
            f"http://{_HOST}:{agent_port}/api/local_raylet_healthz",
        ):
            request = urllib.request.Request(  # noqa: S310 (our own server)
                health, headers={"Authorization": f"Bearer {token}"}
            )
            wait_until_it_answers("Ray head", process, request, log, _START_TIMEOUT_S)
    except BaseException:
        _end(head)
        raise
    _remember(settings, head)
    return head


def find_head(settings: Settings) -> Head | None:
    """The head of this home, if it runs."""
    try:
        head = Head(**json.loads(_state_file(settings).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return head if _is_alive(head.pid) else None


def stop_head(settings: Settings) -> bool:
    """Stops this home's head and the jobs on it; returns whether one ran."""
    head = find_head(settings)
    _state_file(settings).unlink(missing_ok=True)
    if head is None:
        return False
    _end(head)
    return True


def _environment(token: str) -> dict[str, str]:
    programs = str(Path(sys.executable).parent)
    return {
        **os.environ,
        # Ray calls `python` and `pip` by name when it prepares a job.
        "PATH": os.pathsep.join([programs, os.environ.get("PATH", "")]),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token,
        # There is no other node that a stopped head could drain its work to.
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
    }


def _remember(settings: Settings, head: Head) -> None:
    file = _state_file(settings)
    partial = file.with_suffix(".partial")
    partial.touch(mode=0o600)  # it holds the token
    partial.write_text(json.dumps(asdict(head)), encoding="utf-8")
    partial.replace(file)


def _state_file(settings: Settings) -> Path:
    return settings.home / "ray-head.json"


def _is_alive(pid: int) -> bool:
    try:
        # Another program may have been given the number since.
        return b"ray.scripts.scripts" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        pass
    if Path("/proc").exists():
        return False
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def _end(head: Head) -> None:
    """Ends the head, which ends what it started; then whatever is left of its session."""
    with suppress(ProcessLookupError):
        os.kill(head.pid, signal.SIGTERM)
    deadline_s = time.monotonic() + _STOP_TIMEOUT_S
    while time.monotonic() < deadline_s and _is_alive(head.pid):
        _reap(head.pid)
        time.sleep(0.1)
    with suppress(ProcessLookupError):
        os.killpg(head.pid, signal.SIGKILL)
    _reap(head.pid)
    shutil.rmtree(head.folder, ignore_errors=True)


def _reap(pid: int) -> None:
    with suppress(ChildProcessError):  # another process started it
        os.waitpid(pid, os.WNOHANG)
