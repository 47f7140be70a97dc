"""One bar that moves in a real kernel, and none outside of a notebook."""

from __future__ import annotations

import nbformat
import pytest
from nbclient import NotebookClient

from isthmus.notebook import in_notebook

CELL = """
import time
from isthmus.notebook import NotebookBar, in_notebook, rows_bar
from isthmus.progress.reporter import EpochReport
from isthmus.progress.telling import TrainingTeller
assert in_notebook()
bar = NotebookBar()
teller = TrainingTeller(bar)
teller.on_start(3, 100, 1)
for epoch in (1, 2, 3):
    teller.on_epoch(EpochReport(epoch, {"loss": 0.5}, {"loss": 0.25}, 1e-3, 10.0))
bar.end(f"{teller.epochs} epochs trained")
with rows_bar("scoring", "scored") as quick:
    quick(10, 10)
"""
FAILING = CELL + "\nbar.begin('training', 3, 0, 'epoch 1'); bar.stop()"


def test_this_is_no_notebook():
    assert not in_notebook()


@pytest.mark.slow
@pytest.mark.parametrize(("cell", "left"), [(CELL, "epochs trained"), (FAILING, "(stopped)")])
def test_a_cell_has_one_bar_which_ends_as_one_line(cell, left):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    (output,) = notebook.cells[0].outputs  # a quick job shows no bar
    assert output.output_type == "display_data"
    assert output.data["text/plain"].endswith(left)
    assert ("<progress" in output.data["text/html"]) == (left == "(stopped)")
