"""A new downstream job is one new file: a command, a method, and parts on a cluster with it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from isthmus.registry import register_pair
from isthmus.spec import Settings
from tests import untrained

settings = untrained.settings
PACKAGE = Path(__file__).parents[2] / "platform" / "isthmus"
COLUMNS = list("abcdef")

# The whole job: a table with a column of its own, and an option.
TABLE_JOB = '''
"""Measures how far each row is from its reconstruction."""

import numpy as np

from isthmus.execution.outputs import TableOutput
from isthmus.execution.use import RowsUse
from isthmus.spec import SpecModel


class ReconstructionError(RowsUse):
    """How far each row is from its reconstruction."""

    SUMMARY = "Write the error of the reconstruction of every row."
    EXAMPLE = "isthmus reconstruction-error --model digits@champion new.npz errors.csv"
    DOING, DONE = "reconstructing", "reconstructed"
    OUTPUT = TableOutput()

    class Config(SpecModel):
        """The options of the job."""

        power: float = 2.0
        """The power of the distance."""

    def apply(self, pair, block, on_rows):
        made = pair.reconstruct(block.values, on_rows=on_rows, as_read=True)
        distances = np.abs(made - block.values).reshape(len(made), -1)
        return {"reconstruction_error": (distances**self.config.power).mean(axis=1)}
'''

# A job whose output is neither a table nor rows: a schema of its own, one file for each file.
FILE_JOB = '''
"""Keeps the latents of rows as bytes, a file for each file."""

from contextlib import contextmanager

from isthmus.data.outputs.output import whole_file
from isthmus.execution.outputs import RowsOutput
from isthmus.execution.use import RowsUse


class BytesOutput(RowsOutput):
    """The bytes of blocks, one after the other."""

    CARRIES = False

    def check(self, source, output):
        """Refuses nothing."""

    def check_parts(self, source, folder):
        """Refuses nothing."""

    @contextmanager
    def open(self, source, output, provenance):
        with whole_file(output, provenance) as temporary, temporary.open("wb") as file:
            yield lambda block, made: file.write(made)

    def part_name(self, name, form):
        return f"{name}.latents"


class Shrink(RowsUse):
    """Latents as bytes."""

    SUMMARY = "Write the latents of every row as bytes."
    EXAMPLE = "isthmus shrink --model digits@champion new.npz new.latents"
    DOING, DONE = "shrinking", "shrunk"
    OUTPUT = BytesOutput()

    def apply(self, pair, block, on_rows):
        return pair.encode(block.values, on_rows=on_rows, as_read=True).values.tobytes()
'''

IN_PYTHON = """
import json, sys
import isthmus
from isthmus.launch.session import ray_session

model, = sys.argv[1:]
with ray_session(None, 1):
    pair = isthmus.load(model)
    assert {"reconstruction_error", "shrink"} <= set(dir(pair))
    parts = pair.shrink("in", "parts", address="auto")
    table = pair.reconstruction_error("in", "tables", address="auto", power=1, form="csv")
print(json.dumps([parts.parts, parts.rows, table.parts, table.rows, str(table.output)]))
"""


@pytest.fixture
def installed(tmp_path: Path, settings: Settings) -> Callable[..., subprocess.CompletedProcess]:
    """Copies the package, adds a file for each job, and runs Python with that copy."""
    copy = tmp_path / "platform" / "isthmus"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "uses" / "reconstruction_error.py").write_text(TABLE_JOB)
    (copy / "uses" / "shrink.py").write_text(FILE_JOB)
    environment = {
        **os.environ,
        "PYTHONPATH": str(copy.parent),
        "MLFLOW_TRACKING_URI": settings.tracking_uri,
        "ISTHMUS_HOME": str(settings.home),
        "COLUMNS": "120",
    }

    def python(*arguments: object) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return python


@pytest.mark.slow
def test_a_job_of_one_file_is_a_command_a_method_and_runs_on_a_cluster(installed, settings, here):
    data = {"path": "rows.csv", "columns": COLUMNS}
    pair = register_pair(untrained.untrained_pair("new-use", settings, data=data), settings)
    model = f"new-use/{pair.version}"
    Path("in").mkdir()
    values = np.random.default_rng(0).normal(size=(60, 6)).astype("float32")
    for number in range(2):
        table = pd.DataFrame(values[30 * number : 30 * number + 30], columns=COLUMNS)
        table.to_csv(f"in/{number}.csv", index=False)

    listed = installed("-m", "isthmus", "--help").stdout
    assert "reconstruction-error" in listed
    assert "Write the latents of every row as bytes." in listed
    assert "--power" in installed("-m", "isthmus", "reconstruction-error", "--help").stdout

    run = installed(
        *("-m", "isthmus", "reconstruction-error", "--model", model, "in", "errors.csv"),
        *("--power", "1"),
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith(f"60 rows reconstructed by {model} (pair ")
    local = pd.read_csv("errors.csv")
    assert list(local) == ["file", "row", "reconstruction_error"]
    wrong = installed("-m", "isthmus", "shrink", "--model", model, "gone.csv", "x.latents")
    assert (wrong.returncode, len(wrong.stderr.splitlines())) == (3, 1)

    done = installed("-c", IN_PYTHON, model)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == [2, 60, 2, 60, "tables"]
    parts = pd.concat([pd.read_csv(f"tables/{number}.csv") for number in range(2)])
    np.testing.assert_allclose(parts["reconstruction_error"], local["reconstruction_error"], 1e-5)
    assert Path("parts/0.csv.latents").stat().st_size == 30 * 2 * 4
    assert json.loads(Path("parts/0.csv.latents.pair.json").read_text())["model"] == model
