"""Identifies who writes to the registry: a user, and a process that may die before it is done."""

from __future__ import annotations

import getpass
import os
import socket
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psutil

# Tolerance of process start times, because their clock has a limited resolution.
_SAME_START_S = 1.0


@dataclass(frozen=True)
class Owner:
    """A process on a machine.

    Attributes:
        host: The machine's host name.
        pid: The process id on that machine.
        started: The start time, seconds since 1970, which distinguishes processes with the same id.
    """

    host: str
    pid: int
    started: float

    @classmethod
    def current(cls) -> Owner:
        """Returns the owner that stands for this process."""
        pid = os.getpid()
        return cls(socket.gethostname(), pid, round(psutil.Process(pid).create_time(), 2))

    def has_given_up(self, since: datetime, grace: timedelta) -> bool:
        """Returns whether the process will not finish an action that it began.

        Args:
            since: The time when the action began.
            grace: The longest time of an action of a process on another machine. On this machine
                the process itself is checked, and may take as long as it lives.
        """
        if self.host == socket.gethostname():
            return not self._is_alive()
        return datetime.now(UTC) - since > grace

    def _is_alive(self) -> bool:
        try:
            process = psutil.Process(self.pid)
            is_same = abs(process.create_time() - self.started) <= _SAME_START_S
            return bool(is_same and process.status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:
            return True


def actor() -> str:
    """Returns the user who runs this process, as `user@host`."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # in a container the user may have no name
        user = f"user-{os.getuid()}"
    return f"{user}@{socket.gethostname()}"
