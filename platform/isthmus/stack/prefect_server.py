"""Prefect's server: schedules, and the page of their runs."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from isthmus.servers import answers
from isthmus.stack.place import HOST, Place
from isthmus.stack.service import Service

_TIMEOUT_S = 2.0


def prefect_command(port: int) -> list[str]:
    """The server, on this machine only."""
    return [
        *(sys.executable, "-m", "prefect", "server", "start"),
        *("--host", HOST, "--port", str(port), "--analytics-off"),
    ]


def prefect_environment(folder: Path) -> Mapping[str, str]:
    """Keeps it in a folder of its own, telling nobody."""
    return {
        "PREFECT_HOME": str(folder),
        "PREFECT_LOGGING_SETUP_ENABLED": "true",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }


class PrefectServer(Service):
    """On SQLite: its Postgres must have the extension pg_trgm, which the wheel's has not."""

    name = "prefect"
    title = "Prefect"

    def prepare(self, place: Place) -> None:
        """Makes its folder."""
        place.data(self.name).mkdir(mode=0o700, exist_ok=True)

    def command(self, place: Place) -> list[str]:
        """The server."""
        return prefect_command(place.ports[self.name])

    def environment(self, place: Place) -> Mapping[str, str]:
        """Its folder."""
        return prefect_environment(place.data(self.name))

    def answers(self, place: Place) -> bool:
        """Whether its API is well."""
        return answers(f"{self.address(place)}/api/health", _TIMEOUT_S)

    def client_environment(self, place: Place) -> Mapping[str, str]:
        """Where `isthmus schedule` finds it."""
        return {"PREFECT_API_URL": f"{self.address(place)}/api"}
