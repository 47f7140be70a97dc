"""Settings of other libraries that they read from the environment when they are imported.

Nothing here imports them. What the user has set stays.
"""

from __future__ import annotations

import os

_DEFAULTS = {
    # Nobody is told that Isthmus was run.
    "RAY_USAGE_STATS_ENABLED": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "true",
    # What they would print goes to logging, and from there to the log file.
    "MLFLOW_CONFIGURE_LOGGING": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "RAY_TRAIN_V2_ENABLED": "1",
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
    "PREFECT_LOGGING_SETUP_ENABLED": "false",
    # MLflow's client tries for minutes before it says that nobody answers; what must not be lost
    # is tried again by ourselves.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
}


def quieten() -> None:
    """Turns usage reporting off and keeps libraries from the terminal; before they are imported."""
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)


def hand_over_ray_logs() -> None:
    """Gives Ray's log lines to `logging`; after Ray was imported, which gives them to stderr."""
    import logging  # Not for `isthmus --help`, of whose time it took a twentieth.

    for name in ("ray", "ray.train", "ray.data"):
        logger = logging.getLogger(name)
        for handler in tuple(logger.handlers):
            logger.removeHandler(handler)
        logger.propagate = True
    # It warns that a Ray of our own is protected by a token, as it should be.
    logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)
