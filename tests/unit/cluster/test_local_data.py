"""What training here reads travels with a submitted job, and nothing of it is left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from isthmus.cluster import local_data
from isthmus.data import read_rows
from isthmus.spec import DataSpec

VALUES = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)


def write_csv(file: Path, values: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(file, values, delimiter=",", header="a,b,c,d", comments="")


def read_here_and_there(
    path: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> tuple[np.ndarray, np.ndarray]:
    """The rows of a path, and those of the copy that is sent, in the folder of the job."""
    here = read_rows(DataSpec(path=path))[0].values
    folder = tmp_path_factory.mktemp("cluster")
    sent = local_data.sent_along(DataSpec(path=path), folder)
    with monkeypatch.context() as patch:
        patch.chdir(folder)
        return here, read_rows(sent)[0].values


@pytest.mark.parametrize("path", ["top", "top/**/*.csv", "link"])
def test_files_behind_links_travel(path, tmp_path, tmp_path_factory, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_csv(Path("real/a.csv"), VALUES)
    write_csv(Path("top/b.csv"), VALUES + 9)
    Path("top/.hidden.csv").write_text("no rows")
    Path("top/sub").symlink_to("../real")
    Path("real/round").symlink_to("../top")
    Path("link").symlink_to("top")
    here, there = read_here_and_there(path, tmp_path_factory, monkeypatch)
    assert len(here) >= 100
    np.testing.assert_array_equal(here, there)
    assert not list(tmp_path_factory.getbasetemp().glob("cluster*/data/**/.hidden.csv"))


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("path", ["rows.zarr", "folder"])
def test_a_format_that_is_a_folder_travels_whole(
    version, path, tmp_path, tmp_path_factory, monkeypatch
):
    zarr = pytest.importorskip("zarr", reason="zarr is an extra")
    monkeypatch.chdir(tmp_path)
    store = path if path.endswith(".zarr") else f"{path}/within.zarr"
    made = zarr.create_array(
        store=store, shape=VALUES.shape, chunks=(10, 4), dtype="f4", zarr_format=version
    )
    made[:] = VALUES
    here, there = read_here_and_there(path, tmp_path_factory, monkeypatch)
    np.testing.assert_array_equal(here, VALUES)
    np.testing.assert_array_equal(there, VALUES)
