"""Sends every library's log lines to one file, and keeps them from the terminal."""

from __future__ import annotations

import logging
import logging.handlers
import os
import sys
import time
import warnings
from pathlib import Path

from isthmus.cli.terminal import err
from isthmus.errors import printable

_BYTES = 5_000_000
_SECONDS_BETWEEN_EQUAL_WARNINGS = 3600.0
_FORMAT = "%(asctime)s %(levelname)s %(process)d %(name)s: %(message)s"
# These loggers have handlers of their own that write to the terminal.
_OWN_HANDLERS = (
    "ray",
    "ray.train",
    "ray.data",
    "mlflow",
    "alembic",
    "prefect",
    "pytorch_lightning",
)


def configure(file: Path, verbose: bool) -> None:
    """Sends all log lines to a file, and those of Isthmus to the terminal too.

    Args:
        file: The log file.
        verbose: Whether the terminal shows all lines of Isthmus; by default it shows warnings.
    """
    handlers: list[logging.Handler] = []
    existing = next(each for each in file.parents if each.exists())
    if os.access(existing, os.W_OK):
        handlers.append(_File(file, maxBytes=_BYTES, backupCount=2, delay=True))
    else:
        # The folder cannot be written to, which `isthmus doctor` reports.
        handlers.append(logging.NullHandler())
    for handler in handlers:
        handler.setFormatter(logging.Formatter(_FORMAT))
    root = logging.getLogger()
    root.handlers = handlers
    root.setLevel(logging.INFO)
    terminal = _Terminal()
    terminal.setLevel(logging.INFO if verbose else logging.WARNING)
    terminal.addFilter(_is_for_people)
    root.addHandler(terminal)
    for name in _OWN_HANDLERS:
        logger = logging.getLogger(name)
        logger.handlers = [logging.NullHandler()]
        logger.propagate = True
    logging.captureWarnings(True)
    warnings.simplefilter("default")


class _File(logging.handlers.RotatingFileHandler):
    """Reports once that its file cannot be written to, for instance because the disk is full.

    Python's handler would print a traceback for each line of the log.
    """

    _is_said = False

    def emit(self, record: logging.LogRecord) -> None:
        """Writes a line; the folder is created with the first, so that looking leaves none."""
        if self.stream is None:
            try:
                Path(self.baseFilename).parent.mkdir(parents=True, exist_ok=True)
            except OSError:
                self.handleError(record)
                return
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        if not self._is_said:
            self._is_said = True
            error = sys.exc_info()[1]
            reason = getattr(error, "strerror", None) or error
            err.print(
                f"warning: the log file {self.baseFilename} cannot be written to ({reason}); its "
                "lines are lost",
                markup=False,
            )


class _Terminal(logging.Handler):
    """Prints log lines through rich, so that they do not break a progress bar.

    A warning is not repeated within an hour, because a job that reads a file twice finds the same
    fault twice. Later it is repeated, because a server may have become unreachable again.
    """

    def __init__(self) -> None:
        super().__init__()
        self._warned_s: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        line = printable(f"{record.levelname.lower()}: {record.getMessage()}")
        if record.levelno >= logging.WARNING:
            last_s, now_s = self._warned_s.get(line), time.monotonic()
            if last_s is not None and now_s - last_s < _SECONDS_BETWEEN_EQUAL_WARNINGS:
                return
            self._warned_s[line] = now_s
        err.print(line, markup=False)


def _is_for_people(record: logging.LogRecord) -> bool:
    """Returns whether the terminal shows a line: Isthmus's own lines, except errors.

    An error reaches the terminal as the one line that the command prints.
    """
    return record.name.startswith("isthmus") and record.levelno < logging.ERROR
