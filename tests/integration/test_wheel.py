"""What is uploaded: the source archive and the wheel, and the main job from the wheel alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.source import ROOT, environment
from tests.installing import Environment, core_environment

pytestmark = pytest.mark.slow

# Train, promote, detect: what the demo does, with fewer epochs.
MAIN_JOB = """
import json
from importlib.util import find_spec
import isthmus, isthmus_pipelines

job = {"name": "digits", "data": "sklearn:digits", "latent_dim": 16,
       "training": {"epochs": 2, "workers": 1}}
pair = isthmus.train(job).pair
isthmus.promote("digits", pair.version, force=True, why="the test of the wheel")
import numpy as np
from sklearn.datasets import load_digits
np.save("new.npy", load_digits().images[:50].astype("float32"))
done = isthmus.load("digits@champion").detect("new.npy", "scores.csv")
extras = ["soundfile", "imagecodecs", "h5py", "optuna", "prefect", "faiss", "umap", "psycopg2"]
print(json.dumps({
    "isthmus": isthmus.__file__, "pipelines": isthmus_pipelines.__file__, "rows": done.rows,
    "extras": [each for each in extras if find_spec(each)],
}))
"""


@pytest.fixture(scope="module")
def uploads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the source archive, and of the wheel that is built of it."""
    folder = tmp_path_factory.mktemp("uploads")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    built = subprocess.run(build, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


@pytest.fixture(scope="module")
def core(uploads: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    (wheel,) = uploads.glob("*.whl")
    return core_environment(tmp_path_factory.mktemp("core") / "venv", wheel)


def run(command: list[str], here: Path) -> str:
    """Runs a command that finds nothing of this checkout; returns what it printed."""
    outside = environment({"PYTHONPATH": None, "ISTHMUS_HOME": None, "MLFLOW_TRACKING_URI": None})
    done = subprocess.run(command, cwd=here, env=outside, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_pypi_would_accept_and_render_both(uploads: Path) -> None:
    files = sorted(uploads.iterdir())
    assert [file.name.rpartition(".")[2] for file in files] == ["whl", "gz"]
    run([sys.executable, "-m", "twine", "check", "--strict", *map(str, files)], uploads)


def test_the_main_job_runs_from_the_wheel_with_what_it_requires_and_no_extra(
    core: Environment, tmp_path: Path
) -> None:
    said = json.loads(run([str(core.python), "-c", MAIN_JOB], tmp_path).splitlines()[-1])
    assert said["extras"] == []
    for module in ("isthmus", "pipelines"):
        assert Path(said[module]).is_relative_to(core.folder)
    assert said["rows"] == 50
    assert (tmp_path / "scores.csv").exists()


def test_the_installed_command_finds_the_example_jobs(core: Environment, tmp_path: Path) -> None:
    listed = run([str(core.folder / "bin" / "isthmus"), "init", "--list"], tmp_path)
    assert str(core.folder) in listed
    assert "jobs/digits.yaml" in listed
