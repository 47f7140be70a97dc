"""The commands that ask the registry wait for MLflow, and load neither torch nor Lightning."""

from __future__ import annotations

import json
import os
import subprocess
import sys

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
