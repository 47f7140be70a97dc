"""What all tests of this room share."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

from isthmus.data import Provenance

# The same examples every time, however busy the machine is.
settings.register_profile("isthmus", deadline=None, derandomize=True)
settings.load_profile("isthmus")


@pytest.fixture
def provenance() -> Provenance:
    return Provenance("pair-7", "digits/3", "2025-01-01T00:00:00Z", {"job": "denoise"})


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the current one, so that messages name short paths."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
