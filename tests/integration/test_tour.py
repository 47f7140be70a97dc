"""The README and the tour, typed as they stand by somebody who has run `make demo`."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest

from isthmus_pipelines.demo import make_inputs
from tests.shown import blocks, consoles

pytestmark = [pytest.mark.slow, pytest.mark.distributed]

ROOT = Path(__file__).parents[2]
PAGES = {"README": ROOT / "README.md", "tour": ROOT / "docs" / "tour.md"}


@pytest.fixture
def after_the_demo(project, tmp_path, monkeypatch) -> Path:
    """A folder with the demo's inputs and example jobs, on a store with the demo's champion."""
    settings = project.settings
    monkeypatch.setenv("MLFLOW_TRACKING_URI", settings.tracking_uri)
    monkeypatch.setenv("ISTHMUS_HOME", str(settings.home))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipelines").symlink_to(ROOT / "pipelines")
    inputs = make_inputs()
    Path("demo-results").mkdir()
    np.savez("demo-results/noisy.npz", x=inputs.noisy)
    np.savez("demo-results/mixed.npz", x=inputs.mixed)
    return tmp_path


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_what_a_page_shows_can_be_typed_and_prints_what_it_shows(page, after_the_demo, isthmus):
    shown = consoles(page)
    assert len(shown) >= 4
    for each in shown:
        program, *arguments = shlex.split(each.command)
        if program == "isthmus":
            done = isthmus(*arguments)
            assert done.code == 0, f"{each.command}: {done.err}"
            printed = done.out + done.err
        else:
            printed = subprocess.run(
                each.command, shell=True, capture_output=True, text=True, check=True
            ).stdout
        assert each.missing_in(printed) == [], f"{each.command} printed:\n{printed}"
    for block in blocks(page, "python"):
        exec(compile(block, page.name, "exec"), {})
