"""The command, environment and health checks of a Ray head node on this machine.

`cluster`, `stack` and `launch` share these.
"""

from __future__ import annotations

import os
import sys
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
# Ray replaces 127.0.0.1 by an address that other machines can reach, and then listens on all
# interfaces. This setting prevents both, as is Ray's default on macOS and Windows.
ON_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


@dataclass(frozen=True)
class HeadPorts:
    """The ports of a head node.

    An embedded Ray on the same machine uses Ray's default ports, and a head node whose agent finds
    its port taken runs no jobs, so a head node gets other ports.

    Attributes:
        cluster: The port that drivers connect to, which `RAY_ADDRESS` names; 0 means any free port.
        dashboard: The port of the dashboard page and of the Jobs API.
        agent: The port of the agent, which runs the jobs.
        client: The port of Ray's client server.
    """

    cluster: int
    dashboard: int
    agent: int
    client: int


def head_command(folder: str, ports: HeadPorts) -> list[str]:
    """Returns the command that starts a head node; it runs until all processes of it have ended.

    Args:
        folder: The folder for sockets and logs. Its path must be short, because a socket's path is
            limited to about a hundred letters.
        ports: The ports to listen on. With the environment from `head_environment`, it listens only
            on 127.0.0.1.
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
    """Returns the variables that a head node needs besides those of its user.

    Args:
        token: The secret that it requires from every client.
    """
    programs = str(Path(sys.executable).parent)
    return {
        # Ray calls `python` and `pip` by name when it prepares a job.
        "PATH": os.pathsep.join([programs, os.environ.get("PATH", "")]),
        **ON_LOOPBACK,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token,
        # There is no other node to which a stopped head node could drain its work.
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
    }


def is_on_loopback(address: str) -> bool:
    """Returns whether a Ray address, `HOST:PORT`, is on this machine's loopback interface."""
    host = address.rpartition(":")[0].strip("[]")
    return host in (HOST, "localhost", "::1")


def head_health(ports: HeadPorts, token: str) -> tuple[urllib.request.Request, ...]:
    """Returns two requests that a head node answers once it accepts jobs and once it runs them."""
    return tuple(
        urllib.request.Request(  # noqa: S310 (our own server)
            url, headers={"Authorization": f"Bearer {token}"}
        )
        for url in (
            f"http://{HOST}:{ports.dashboard}/api/jobs/",
            # The agent runs the jobs, and starts after the dashboard, which accepts them.
            f"http://{HOST}:{ports.agent}/api/local_raylet_healthz",
        )
    )
