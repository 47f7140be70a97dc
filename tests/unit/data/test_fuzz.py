"""A few damaged files of each format, the same ones every time; `make fuzz` feeds many more."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tests.fuzz.hunt import hunt
from tests.fuzz.targets import TARGETS


# Pillow warns of tags that are damaged, and reads the rest.
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("name", TARGETS)
def test_no_damaged_file_ends_in_anything_but_one_clear_line(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.CRITICAL):
        # The own format is read by own code alone.
        examples = 300 if name == "isth" else 30
        hunt(TARGETS[name], tmp_path, examples=examples, derandomize=True)
