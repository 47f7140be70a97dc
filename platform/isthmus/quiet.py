"""Environment variables that other libraries read when they are imported.

This module imports none of those libraries, and keeps the values that the user has set.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from isthmus.notebook import in_notebook

if TYPE_CHECKING:
    import logging

_DEFAULTS = {
    # Turns off all usage reporting.
    "RAY_USAGE_STATS_ENABLED": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "true",
    # Sends what they would print to `logging`, and from there to the log file.
    "MLFLOW_CONFIGURE_LOGGING": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "RAY_TRAIN_V2_ENABLED": "1",
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
    "PREFECT_LOGGING_SETUP_ENABLED": "false",
    # MLflow's client would retry for minutes before it reports that nothing answers. Isthmus itself
    # retries what must not be lost.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
}


def quieten() -> None:
    """Turns off usage reporting and terminal output of libraries; call it before importing them."""
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    if in_notebook():
        _quieten_notebook()


def _quieten_notebook() -> None:
    """Turns off what Ray and tqdm say about widgets, which Isthmus does without."""
    import logging
    import warnings

    logging.getLogger("ray.widgets.util").setLevel(logging.WARNING)
    logging.getLogger("ray.util").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message="IProgress not found")


def hand_over_ray_logs() -> None:
    """Sends Ray's log lines to `logging` instead of stderr; call it after importing Ray."""
    import logging  # Imported here, because `isthmus --help` spent a twentieth of its time on it.

    for name in ("ray", "ray.train", "ray.data", "ray.serve"):
        logger = logging.getLogger(name)
        for handler in tuple(logger.handlers):
            logger.removeHandler(handler)
        logger.propagate = True
    # It warns that our own Ray requires a token, as it should.
    logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)
    logging.getLogger("ray._private.worker").addFilter(_is_not_about_sigterm)


def _is_not_about_sigterm(record: logging.LogRecord) -> bool:
    """Returns whether a log line is not Ray's warning that it handles no SIGTERM, as is meant."""
    return not record.getMessage().startswith("SIGTERM handler is not set")
