"""The commands load only what they need: those that list pairs no torch, those of a file no Ray."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np

_RUN_ALL = """
import contextlib, io, json, sys
from isthmus.cli import main

for command in json.loads(sys.argv[1]):
    sys.argv = ["isthmus", *command]
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            main()
        except SystemExit as end:
            assert not end.code, command
print(json.dumps(sorted(sys.modules)))
"""


def loaded_by(settings, *commands: list[str]) -> set[str]:
    """The modules that commands load together in a process of their own."""
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": settings.tracking_uri,
        "ISTHMUS_HOME": str(settings.home),
    }
    done = subprocess.run(
        [sys.executable, "-c", _RUN_ALL, json.dumps(commands)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


def test_listing_pairs_their_history_and_lineage_loads_no_torch(register, settings):
    pair = str(register("listed"))
    listing = (["models"], ["models", "listed", "--json"], ["history", "listed"])
    loaded = loaded_by(settings, *listing, ["lineage", pair])
    assert "mlflow" in loaded
    assert not loaded & {"torch", "pytorch_lightning", "ray", "matplotlib", "sklearn"}


def test_the_jobs_that_use_a_pair_on_a_file_load_neither_lightning_nor_ray_nor_sklearn(
    register, settings, tmp_path
):
    pair = register("used")
    rows = np.random.default_rng(0).standard_normal((8, 6)).astype(np.float32)
    np.save(tmp_path / "rows.npy", rows)
    jobs = {"detect": "scores.csv", "denoise": "denoised.npy", "embed": "latents.npz"}
    loaded = loaded_by(
        settings,
        *(
            [job, str(tmp_path / "rows.npy"), str(tmp_path / output), "--model", str(pair)]
            for job, output in jobs.items()
        ),
    )
    assert all((tmp_path / output).exists() for output in jobs.values())
    assert "torch" in loaded
    lightning = {"pytorch_lightning", "lightning_fabric", "torchmetrics"}
    assert not loaded & {*lightning, "ray", "sklearn.cluster"}


def test_a_driver_of_workers_loads_no_lightning_before_they_start():
    """The workers load it themselves, and Ray starts meanwhile."""
    script = "import sys, isthmus.jobs.train, isthmus.launch.ray_trainer; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert "isthmus.launch.ray_worker" in loaded
    assert not loaded & {"pytorch_lightning", "lightning_fabric", "torchmetrics"}
