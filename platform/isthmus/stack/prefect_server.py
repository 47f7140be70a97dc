"""Prefect's server, which holds the schedules and serves the page of their runs."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from isthmus.extras import check_installed
from isthmus.servers import answers
from isthmus.stack.place import HOST, Place
from isthmus.stack.service import Service

_TIMEOUT_S = 2.0


def prefect_command(port: int) -> list[str]:
    """Returns the command of a server that only this machine can reach."""
    return [
        *(sys.executable, "-m", "prefect", "server", "start"),
        *("--host", HOST, "--port", str(port), "--analytics-off"),
    ]


def prefect_environment(folder: Path) -> Mapping[str, str]:
    """Returns the variables that keep its data in a folder and turn telemetry off."""
    return {
        "PREFECT_HOME": str(folder),
        "PREFECT_LOGGING_SETUP_ENABLED": "true",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }


class PrefectServer(Service):
    """Prefect on SQLite: with Postgres it needs pg_trgm, which the wheel's Postgres lacks."""

    name = "prefect"
    title = "Prefect"

    def check(self, place: Place) -> None:
        """Checks that it is installed.

        Raises:
            MissingExtra: If it is not.
        """
        check_installed("prefect", "schedule", needed_by="isthmus stack")

    def prepare(self, place: Place) -> None:
        """Creates its data folder."""
        place.data(self.name).mkdir(mode=0o700, exist_ok=True)

    def command(self, place: Place) -> list[str]:
        """Returns the command of the server."""
        return prefect_command(place.ports[self.name])

    def environment(self, place: Place) -> Mapping[str, str]:
        """Returns the variables for its data folder."""
        return prefect_environment(place.data(self.name))

    def answers(self, place: Place) -> bool:
        """Returns whether its API reports that it is healthy."""
        return answers(f"{self.address(place)}/api/health", _TIMEOUT_S)

    def client_environment(self, place: Place) -> Mapping[str, str]:
        """Returns the variable by which `isthmus schedule` finds it."""
        return {"PREFECT_API_URL": f"{self.address(place)}/api"}
