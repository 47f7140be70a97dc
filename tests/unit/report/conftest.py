"""One registry for the room, with a pair of each kind."""

from __future__ import annotations

import pytest

from isthmus.spec import Settings
from tests.strange import KINDS, Strange


@pytest.fixture(scope="module")
def strange(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Strange]:
    """A pair and a strange input by the kind of data."""
    settings = Settings.from_environment({}, tmp_path_factory.mktemp("registry"))
    return {kind: make(tmp_path_factory.mktemp(kind), settings) for kind, make in KINDS.items()}
