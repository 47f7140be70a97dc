"""Reads the figures of a finished run back from MLflow, for notebooks."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from isthmus.errors import first_line
from isthmus.spec import Settings
from isthmus.tracking.store import open_store

_logger = logging.getLogger(__name__)


def run_figures(run_id: str, names: Sequence[str], settings: Settings) -> dict[str, bytes]:
    """Returns the content of a run's figures by name, without those that it does not have.

    A failure is only logged, because what shows the figures is complete without them.

    Args:
        run_id: The id of the run.
        names: The names of the figures, such as `reconstructions`.
        settings: The settings that say where the run is.
    """
    found: dict[str, bytes] = {}
    try:
        client = open_store(settings)
        there = {each.path for each in client.list_artifacts(run_id, "figures")}
        with TemporaryDirectory() as folder:
            for name in names:
                path = f"figures/{name}.png"
                if path in there:
                    found[name] = Path(client.download_artifacts(run_id, path, folder)).read_bytes()
    except Exception as error:  # noqa: BLE001 (network, store and driver may raise anything)
        _logger.info("the figures of run %s could not be read: %s", run_id, first_line(error))
    return found
