"""A registry with a good, an equal and a bad version of one model."""

from __future__ import annotations

from pathlib import Path

import pytest

from isthmus.spec import Settings
from tests.challengers import BAD_STEPS, GOOD_STEPS, register, write_rows


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings.from_environment({}, tmp_path_factory.mktemp("promotion"))


@pytest.fixture(scope="session")
def rows(settings: Settings) -> Path:
    return write_rows(settings.home.parent / "rows.csv")


@pytest.fixture(scope="session")
def versions(settings: Settings, rows: Path) -> None:
    """`m/1` is good, `m/2` as good, `m/3` bad, `m/4` bad and its job only wants to be warned."""
    register("m", rows, settings, GOOD_STEPS, seed=0)
    # The same once more: other steps may be better or worse beyond chance.
    register("m", rows, settings, GOOD_STEPS, seed=0)
    register("m", rows, settings, BAD_STEPS)
    register("m", rows, settings, BAD_STEPS, seed=1, promotion={"policy": "warn"})
