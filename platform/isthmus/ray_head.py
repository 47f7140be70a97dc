"""How a Ray head of this machine's own is started: what `cluster` and `stack` both know."""

from __future__ import annotations

import os
import sys
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"


@dataclass(frozen=True)
class HeadPorts:
    """Ports of its own for all: beside an embedded Ray, Ray's default ones are taken, and a head
    without its agent takes no jobs.

    Attributes:
        cluster: Where drivers and other nodes join, `RAY_ADDRESS`; 0 is any.
        dashboard: The page and the Jobs API.
        agent: That runs the jobs.
        client: Of Ray's client server.
    """

    cluster: int
    dashboard: int
    agent: int
    client: int


def head_command(folder: str, ports: HeadPorts) -> list[str]:
    """The program that holds all of a head's processes.

    Args:
        folder: For sockets and logs; short, for a socket's path may have a hundred letters only.
        ports: To listen on.
    """
    return [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
        *("--node-ip-address", HOST, "--port", str(ports.cluster), "--temp-dir", folder),
        *("--include-dashboard", "true", "--dashboard-host", HOST),
        *("--dashboard-port", str(ports.dashboard)),
        *("--dashboard-agent-listen-port", str(ports.agent)),
        *("--ray-client-server-port", str(ports.client), "--disable-usage-stats"),
    ]


def head_environment(token: str) -> Mapping[str, str]:
    """The variables of a head that wants a token, besides those of its user."""
    programs = str(Path(sys.executable).parent)
    return {
        # Ray calls `python` and `pip` by name when it prepares a job.
        "PATH": os.pathsep.join([programs, os.environ.get("PATH", "")]),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token,
        # There is no other node that a stopped head could drain its work to.
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
    }


def head_health(ports: HeadPorts, token: str) -> tuple[urllib.request.Request, ...]:
    """What a head answers once it takes jobs and runs them, in the order in which it does."""
    return tuple(
        urllib.request.Request(  # noqa: S310 (our own server)
            url, headers={"Authorization": f"Bearer {token}"}
        )
        for url in (
            f"http://{HOST}:{ports.dashboard}/api/jobs/",
            # The agent runs the jobs, and starts after the dashboard that takes them.
            f"http://{HOST}:{ports.agent}/api/local_raylet_healthz",
        )
    )
