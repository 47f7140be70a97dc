"""A registry of pairs in the folder that a test runs in, as scikit-learn's users have it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from isthmus.registry import register_pair
from isthmus.spec import RowSchema, Settings
from isthmus.types import DataKind
from tests.untrained import untrained_pair


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder with a registry for each file of tests."""
    return tmp_path_factory.mktemp("sklearn")


@pytest.fixture
def register(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Registers a pair for a table with named columns a, b and so on; returns its reference."""
    monkeypatch.chdir(folder)
    settings = Settings.from_environment()

    def run(
        name: str,
        columns: int = 6,
        seed: int = 0,
        trained_on: tuple[str, ...] | None = None,
        **data: object,
    ) -> str:
        names = tuple("abcdefghijklmnopqrstuvwxyz"[:columns])
        pair = untrained_pair(name, settings, seed, shape=(columns,))
        schema = RowSchema(kind=DataKind.TABULAR, shape=(columns,), features=names)
        found = replace(
            pair,
            data=pair.data.model_copy(update={"columns": trained_on or names, **data}),
            row_schema=schema,
        )
        return str(register_pair(found, settings))

    return run
