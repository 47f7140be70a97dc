"""The notebooks of docs/ run from beginning to end, and what they hold is small and nobody's."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "docs" / "notebooks").glob("*.ipynb"))
_LARGEST_BYTES = 300_000
# Folders of a machine, and not addresses of pages or types such as image/png.
_PATH = re.compile(r"(?<![\w./:])/(?:tmp|home|root|work|usr|var|opt|Users)/\w+|[A-Z]:\\\\\w+")
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def outputs_of(path: Path) -> list[dict[str, object]]:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [output for cell in cells for output in cell.get("outputs", ())]


def test_there_is_one_for_each_kind_of_data():
    assert [path.stem for path in NOTEBOOKS] == ["payments", "photos", "sensors"]


@each
def test_what_is_stored_is_whole_and_names_no_machine(path):
    outputs = outputs_of(path)
    assert outputs, f"{path.name} is stored without its outputs; execute it"
    assert not [output for output in outputs if output["output_type"] == "error"]
    # In base64 any letters may follow a slash.
    told = re.sub(r"base64,[A-Za-z0-9+/=]+", "", json.dumps(outputs))
    told = re.sub(r'"image/png": "[^"]+"', "", told)
    assert _PATH.findall(told) == []
    assert path.stat().st_size < _LARGEST_BYTES


@each
@pytest.mark.slow
def test_it_runs_from_beginning_to_end_in_an_empty_folder(path, tmp_path, monkeypatch):
    monkeypatch.setenv("ISTHMUS_HOME", str(tmp_path / ".isthmus"))
    notebook = nbformat.read(path, 4)
    NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    # Nothing but what it means to show: no warning, no progress bar that was left behind.
    assert [output.text for output in shown if output.get("name") == "stderr"] == []
    bars = [output.data["text/html"] for output in shown if "text/html" in output.get("data", {})]
    assert not any("<progress" in bar for bar in bars)
