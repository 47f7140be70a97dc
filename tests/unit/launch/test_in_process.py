"""Training in the caller's process leaves that process as it was."""

from __future__ import annotations

import importlib
import logging
import os
import platform
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from tests.unit.training.fitting import fitted, job_of

# Frees 200 MiB in blocks of 8 MiB after training, and prints how much of them the process keeps.
KEPT_AFTER_TRAINING = """
import sys
from pathlib import Path
import numpy as np
import psutil
from tests.unit.training.fitting import fitted, job_of

fitted(Path(sys.argv[1]), *job_of("plain"), epochs=1)
process = psutil.Process()
before = process.memory_info().rss
blocks = [np.ones(8 << 20, dtype=np.uint8) for _ in range(25)]
held = process.memory_info().rss - before
del blocks
print((process.memory_info().rss - before) / held)
"""


@pytest.fixture
def no_workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)


def settings_of_this_process() -> dict[str, object]:
    return {
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "draws": torch.random.get_rng_state().tolist(),
        "filters": list(warnings.filters),
        "log level": logging.getLogger("pytorch_lightning").level,
        "environment": dict(os.environ),
    }


@pytest.mark.usefixtures("no_workspace")
def test_training_leaves_the_settings_of_its_process_alone(tmp_path: Path) -> None:
    # Libraries that are loaded for the first time may add filters of their own.
    importlib.import_module("isthmus.training.worker_loop")
    threads = torch.get_num_threads()
    lightning = logging.getLogger("pytorch_lightning")
    level = lightning.level
    try:
        torch.set_num_threads(2)  # a step of the small net keeps one thread busy
        lightning.setLevel(logging.INFO)
        before = settings_of_this_process()
        fitted(tmp_path, *job_of("plain"), epochs=1)
        assert settings_of_this_process() == before
    finally:
        torch.set_num_threads(threads)
        lightning.setLevel(level)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_training_leaves_the_allocator_of_its_process_to_return_freed_memory(
    tmp_path: Path,
) -> None:
    # A Ray session of an earlier test hands its own thresholds on to the processes that follow.
    environment = {name: value for name, value in os.environ.items() if "MALLOC" not in name}
    done = subprocess.run(
        [sys.executable, "-c", KEPT_AFTER_TRAINING, str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
        env=environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert float(done.stdout) < 0.6
