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


def test_a_warning_is_printed_once_however_often_a_job_reads_the_file(here, isthmus):
    rows = "".join(f"{row},{row % 7},{row % 5}\n" for row in range(90))
    (here / "rows.csv").write_text(f",a,b\n{rows}")  # as pandas writes its index
    (here / "job.yaml").write_text("name: a\ndata: rows.csv\n")
    done = isthmus("validate", "job.yaml")
    assert done.code == 0, done
    assert len(done.err.splitlines()) == 1, done.err
    assert "is left out" in done.err


@pytest.mark.usefixtures("_logging_as_before")
def test_a_warning_quotes_a_name_on_one_printable_line(tmp_path, capsys):
    logs.configure(tmp_path / "isthmus.log", verbose=False)
    logging.getLogger("isthmus.data").warning("%s: is odd", "a\x00b\n\x1b[31mc\u202e.csv")
    assert capsys.readouterr().err == ("warning: a\\x00b\\n\\x1b[31mc\\u202e.csv: is odd\n")
