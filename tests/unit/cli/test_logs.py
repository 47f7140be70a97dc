"""Where log lines go, and what a user sees of it."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path

import pytest

from isthmus.cli import logs


@pytest.fixture
def _logging_as_before():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logging.captureWarnings(False)
    for handler in root.handlers:
        with suppress(OSError):  # what is left of the log finds no room
            handler.close()
    root.handlers = handlers
    root.setLevel(level)


@pytest.mark.usefixtures("_logging_as_before")
def test_a_full_disk_costs_the_log_and_is_said_in_one_line(capsys):
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full, which only Linux has")
    logs.configure(full, verbose=False)
    for number in range(100):
        logging.getLogger("mlflow").warning("line %d", number)
    assert capsys.readouterr().err.splitlines() == [
        "warning: the log file /dev/full cannot be written to (No space left on device); its "
        "lines are lost"
    ]
