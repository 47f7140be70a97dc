"""Who writes to the registry: a person, and a process that may die half-way."""

from __future__ import annotations

import getpass
import os
import socket
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psutil

# Process start times are read from clocks of limited resolution.
_SAME_START_S = 1.0


@dataclass(frozen=True)
class Owner:
    """A process on a machine.

    Attributes:
        host: The machine's name.
        pid: Its number there.
        started: When it began, seconds since 1970: numbers are used again.
    """

    host: str
    pid: int
    started: float

    @classmethod
    def current(cls) -> Owner:
        """This process."""
        pid = os.getpid()
        return cls(socket.gethostname(), pid, round(psutil.Process(pid).create_time(), 2))

    def has_given_up(self, since: datetime, grace: timedelta) -> bool:
        """Whether what it began will not be finished by it.

        Args:
            since: When it began it.
            grace: How long anyone may take; a process of this machine is looked for instead, and
                may take as long as it lives.
        """
        if self.host == socket.gethostname():
            return not self._is_alive()
        return datetime.now(UTC) - since > grace

    def _is_alive(self) -> bool:
        try:
            process = psutil.Process(self.pid)
            return (
                abs(process.create_time() - self.started) <= _SAME_START_S
                and process.status() != psutil.STATUS_ZOMBIE
            )
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:
            return True


def actor() -> str:
    """Who runs this process: `user@host`."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        user = f"user-{os.getuid()}"
    return f"{user}@{socket.gethostname()}"
