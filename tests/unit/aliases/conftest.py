"""Pairs registered without training: what an alias does is the same, and takes no Ray."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from isthmus.registry import RegisteredPair, register_pair
from isthmus.spec import Settings
from tests.untrained import untrained_pair


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    # Not the folder that the tests run in: MLflow's own default store is another one.
    return Settings.from_environment({}, tmp_path_factory.mktemp("aliases"))


@pytest.fixture(scope="session")
def register(settings: Settings) -> Callable[..., RegisteredPair]:
    """Registers a pair of random weights."""

    def run(name: str, seed: int = 0) -> RegisteredPair:
        return register_pair(untrained_pair(name, settings, seed), settings)

    return run
