"""A disk that is full, a real one: what a user reads is short, true, and says what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.disks import mounted

pytestmark = pytest.mark.slow

JOB = """
name: full
data: {path: rows.npy, calibration_fraction: 0.1}
latent_dim: 2
training: {epochs: 12, checkpoint_interval_s: 0, global_batch_size: 64}
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of eight megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    with mounted(folder, "size=8m"):
        yield folder


def isthmus(folder: Path, *arguments: str, **environment: str) -> tuple[int, list[str]]:
    """The exit code of a command, and what it says besides its progress."""
    done = subprocess.run(
        [sys.executable, "-m", "isthmus", *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stderr.splitlines()
    return done.returncode, [line for line in lines if not line.startswith(("epoch", "training "))]


def job_in(folder: Path) -> None:
    rows = np.random.default_rng(0).random((400, 12), dtype=np.float32)
    np.save(folder / "rows.npy", rows)
    (folder / "job.yaml").write_text(JOB)


def fill(disk: Path, left_bytes: int) -> Path:
    """Fills the disk but for so much, with a file that it returns."""
    free = os.statvfs(disk)
    filler = disk / "filler"
    with filler.open("wb") as file:
        file.write(b"0" * (free.f_bavail * free.f_frsize - left_bytes))
    return filler


def test_training_on_a_full_disk_ends_with_what_to_do_and_goes_on_once_there_is_room(disk: Path):
    job_in(disk)
    assert isthmus(disk, "train", "job.yaml", "--set", "training.epochs=1") == (0, [])
    filler = fill(disk, 200_000)
    code, said = isthmus(disk, "train", "job.yaml")
    assert code == 1
    *warnings, error = said
    assert error.startswith("no checkpoint can be kept: ")
    assert f"{disk}/.isthmus/runs cannot be used (No space left on device); free its disk" in error
    assert len(warnings) <= 4
    assert all(line.startswith("warning: ") for line in warnings)
    assert all("No space left on device" in line for line in warnings)
    assert not any("Traceback" in line or "waits in" in line for line in said)
    filler.unlink()
    run = error.rpartition(" ")[2]
    assert isthmus(disk, "train", "--resume", run) == (0, [])


def test_a_full_home_is_said_before_there_is_a_run(disk: Path, tmp_path: Path):
    job_in(tmp_path)
    fill(disk, 0)
    home = {"ISTHMUS_HOME": str(disk / "home"), "ISTHMUS_STORAGE": str(tmp_path / "runs")}
    code, said = isthmus(tmp_path, "train", "job.yaml", **home)
    assert code != 0
    (error,) = [line for line in said if not line.startswith("warning: the log file")]
    assert "cannot be written to (No space left on device); free its disk, or set" in error
    assert len(said) <= 2
