"""A disk that is read-only, a real one: one line that names the place, and nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.disks import mounted

pytestmark = pytest.mark.slow


@pytest.fixture
def read_only(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty folder of a disk that may only be read."""
    folder = tmp_path_factory.mktemp("read-only")
    with mounted(folder, "ro"):
        yield folder


OUTPUTS = [
    *(("detect", each) for each in ("out.csv", "out.parquet", "out.npz", "new/out.csv")),
    *(("denoise", each) for each in ("out.npz", "out.npy", "new/out.npz")),
]


@pytest.mark.usefixtures("in_project")
@pytest.mark.parametrize(("command", "output"), OUTPUTS, ids=map("-".join, OUTPUTS))
def test_results_on_a_read_only_disk_are_refused_in_one_line(
    project, isthmus, read_only, command, output
):
    np.savez("to-read.npz", x=project.noisy[:9])
    done = isthmus(command, "--model", "digits", "to-read.npz", read_only / output)
    assert done.code == 3, done
    assert done.err == (
        f"{read_only / output}: cannot be written: Read-only file system; name another place\n"
    )


HOMES = {
    "a cache": (["detect", "--model", "digits", "to-read.npz", "o.csv"], "the cache"),
    "a head": (["head", "start"], "cannot be used (Read-only file system)"),
    "a watcher": (["watch"], "cannot be used (Read-only file system)"),
    "a stack": (["stack", "up", "--only", "mlflow"], "cannot be used (Read-only file system)"),
}


@pytest.mark.usefixtures("in_project")
@pytest.mark.parametrize(("arguments", "said"), HOMES.values(), ids=HOMES.keys())
def test_a_read_only_home_is_named_with_what_to_set(
    project, isthmus, read_only, monkeypatch, arguments, said
):
    np.savez("to-read.npz", x=project.noisy[:9])
    monkeypatch.setenv("ISTHMUS_HOME", str(read_only))
    done = isthmus(*arguments)
    assert done.code != 0, done
    assert len(done.err.splitlines()) == 1, done.err
    assert str(read_only) in done.err
    assert said in done.err
    assert "unexpected" not in done.err
    assert not Path("o.csv").exists()
