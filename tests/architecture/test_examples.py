"""What is there to be copied works: job files, and plugins that are one file each."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.architecture.source import PACKAGE, PIPELINES

JOBS = sorted((PIPELINES / "jobs").glob("*.y*ml"))


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.name)
def test_a_job_file_that_we_ship_is_right_and_says_first_what_it_shows(path: Path) -> None:
    from isthmus.jobs.specs import load_job_file

    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# ")
    assert load_job_file(path).name


def test_we_ship_a_job_file() -> None:
    assert JOBS


@pytest.mark.parametrize("room", ["variants", "nets", "corruptions"])
def test_the_names_of_a_room_of_plugins_are_the_public_files_in_it(room: str) -> None:
    import importlib

    found = importlib.import_module(f"isthmus.{room}").names()
    stems = {path.stem for path in (PACKAGE / room).glob("*.py")}
    assert found
    assert set(found) == {stem for stem in stems if not stem.startswith("_")}


def test_a_plugin_that_is_added_as_a_file_is_found_at_once(tmp_path: Path) -> None:
    from isthmus import plugins

    for name in ("__init__", "_shared", "plain", "vae"):
        (tmp_path / f"{name}.py").touch()
    assert plugins.names_in(str(tmp_path / "__init__.py")) == ("plain", "vae")
    (tmp_path / "contractive.py").touch()
    assert plugins.names_in(str(tmp_path / "__init__.py")) == ("contractive", "plain", "vae")
