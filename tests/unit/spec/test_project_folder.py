"""The stores of a project are found from the folders below it, and looking creates none."""

from __future__ import annotations

import pytest

from isthmus.spec import Settings
from tests.conftest import Command


@pytest.mark.parametrize("marker", [".isthmus", "mlflow.db"])
def test_the_nearest_project_upwards_is_used(tmp_path, monkeypatch, marker):
    below = tmp_path / "data" / "raw"
    below.mkdir(parents=True)
    place = tmp_path / marker
    place.touch() if marker == "mlflow.db" else place.mkdir()
    monkeypatch.chdir(below)
    found = Settings.from_environment({})
    assert found.tracking_uri == f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert found.home == tmp_path / ".isthmus"
    # What is given as a relative path is relative to the current folder, as everywhere.
    given = Settings.from_environment({"MLFLOW_TRACKING_URI": "sqlite:///own.db"})
    assert given.tracking_uri == f"sqlite:///{below / 'own.db'}"


def test_without_a_project_the_current_folder_becomes_one(here):
    assert Settings.from_environment({}).home == here / ".isthmus"


def test_a_store_in_a_folder_that_everybody_may_write_to_is_not_taken(tmp_path, monkeypatch):
    shared, below = tmp_path / "shared", tmp_path / "shared" / "mine"
    below.mkdir(parents=True)
    shared.chmod(0o1777)
    (shared / "mlflow.db").touch()
    monkeypatch.chdir(below)
    assert Settings.from_environment({}).home == below / ".isthmus"


def test_looking_leaves_nothing_behind_and_names_the_store(here, isthmus: Command):
    shown = isthmus("models")
    assert shown.code == 0
    assert f"No models in sqlite:///{here / 'mlflow.db'} yet" in shown.out
    for command in (["history", "digits"], ["lineage", "digits/3"], ["variants"], ["nets"]):
        isthmus(*command)
    assert list(here.iterdir()) == []
