"""A table of many files is read by Ray Data on a cluster of three nodes, and by this machine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import ray

from isthmus.data import StoredRows, open_rows
from isthmus.data.prepared import storing
from isthmus.data.prepared.distributed_table import (
    ROWS,
    DistributedSplit,
    distributable,
    distribute_split,
)
from isthmus.errors import ClusterError, DataError
from isthmus.jobs.preparation import prepare
from isthmus.jobs.specs import check_job
from isthmus.launch.ray_trainer import fit
from isthmus.loaders.scaled_rows import ScaledRows
from isthmus.spec import JobSpec
from tests.distributed.small_jobs import plan, training
from tests.distributed.test_training import Recorder
from tests.distributed.three_nodes import LARGE_BYTES

pytestmark = [pytest.mark.distributed, pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
RNG = np.random.default_rng(0)
VALUES = (RNG.normal(size=(3000, 2)) @ RNG.normal(size=(2, 5)) + 3).astype(np.float32)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What came of the jobs of `three_nodes.py`."""
    folder = tmp_path_factory.mktemp("three_nodes")
    done = subprocess.run(
        [sys.executable, "-m", "tests.distributed.three_nodes", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_no_process_of_the_cluster_grows_by_a_quarter_of_the_table(
    outcomes: dict[str, dict[str, Any]],
) -> None:
    # What a process takes without rows is what it takes with those of a table of 100 kB.
    before, large = outcomes["at_once"]["peaks"], outcomes["large"]["peaks"]
    grown = {role: large[role] - before[role] for role in ("driver", "worker", "task")}
    print(f"table: {LARGE_BYTES / 1e6:.0f} MB", {role: round(n / 1e6) for role, n in grown.items()})
    assert max(grown.values()) < LARGE_BYTES / 4, grown


def test_the_loss_is_that_of_the_same_rows_in_memory(outcomes: dict[str, dict[str, Any]]) -> None:
    here, there = outcomes["at_once_in_memory"], outcomes["at_once"]
    assert there["rows"] == here["rows"]
    for stage in ("train", "validation"):
        np.testing.assert_allclose(there[stage], here[stage], rtol=1e-4)
    # With steps of some rows, which rows they are makes a difference too.
    here, there = outcomes["in_steps_in_memory"], outcomes["in_steps"]
    np.testing.assert_allclose(there["train"][2:], here["train"][2:], rtol=0.1)
    assert there["train"][-1] < 0.05 * there["train"][0]


def test_training_on_a_cluster_repeats_itself(outcomes: dict[str, dict[str, Any]]) -> None:
    first, again = outcomes["in_steps"], outcomes["again"]
    assert first["train"] == again["train"]
    assert first["validation"] == again["validation"]


def test_held_out_rows_are_sampled_where_they_are_many_and_the_run_says_so(
    outcomes: dict[str, dict[str, Any]],
) -> None:
    rows = outcomes["large"]["rows"]
    assert rows["validation"] < rows["validation_total"] / 4
    assert rows["test"] < rows["test_total"] / 4
    assert not [name for name in outcomes["at_once"]["rows"] if name.endswith("_total")]


# -- on the Ray of the session --------------------------------------------------------------------


def job(path: object, **data: object) -> JobSpec:
    data = {"path": str(path), "calibration_fraction": 0.1, **data}
    return check_job({"name": "table", "data": data, "latent_dim": 2})


def save(folder: Path, values: np.ndarray = VALUES, *, ending: str = "parquet") -> Path:
    folder.mkdir()
    for number, part in enumerate(np.array_split(values, 4)):
        table, path = pd.DataFrame(part, columns=list("abcde")), folder / f"part-{number}.{ending}"
        if ending == "csv":
            table.to_csv(path, index=False)
        else:
            table.to_parquet(path)
    return folder


def split(path: object, **data: object) -> DistributedSplit:
    source, settled = open_rows(job(path, **data).data)
    files = distributable(source, settled)
    assert files is not None
    return distribute_split(files, settled, 0)


def in_order(rows: np.ndarray) -> np.ndarray:
    return rows[np.lexsort(rows.T)]


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("ending", ["parquet", "csv"])
@pytest.mark.parametrize(
    ("missing", "scaling"),
    [("refuse", "minmax"), ("mean", "standard"), ("drop", "standard"), ("refuse", "none")],
)
def test_ray_data_splits_scales_and_names_rows_as_one_process_does(
    tmp_path: Path, ending: str, missing: str, scaling: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = VALUES.copy()
    if missing != "refuse":
        values[::97, 1] = np.nan
    folder = save(tmp_path / "table", values, ending=ending)
    whole = tmp_path / "whole.parquet"
    pd.DataFrame(values, columns=list("abcde")).to_parquet(whole)
    options = {"missing": missing, "scaling": scaling}
    there, in_memory = split(folder, **options), prepare(job(whole, **options))
    together = prepare(job(folder, **options))
    monkeypatch.setattr(storing, "_MOST_BYTES_IN_MEMORY", 0)
    here = prepare(job(folder, **options))
    assert isinstance(here.scaled.train, StoredRows)
    assert there.sizes == here.split_sizes == in_memory.split_sizes
    np.testing.assert_array_equal(here.calibration[:], in_memory.calibration)
    assert there.fingerprint == here.fingerprint == together.fingerprint
    for part in ("validation", "calibration", "test"):
        assert len(getattr(there, part))
        np.testing.assert_array_equal(
            in_order(getattr(there, part)), in_order(getattr(in_memory, part))
        )
    statistics = there.train.statistics
    np.testing.assert_allclose(statistics.offset, in_memory.scaled.offset, rtol=1e-6)
    np.testing.assert_allclose(statistics.scale, in_memory.scaled.scale, rtol=1e-6)
    read = [batch[ROWS] for batch in there.train.open().iter_batches()]
    np.testing.assert_allclose(
        in_order(np.concatenate(read)), in_order(in_memory.scaled.train[:]), rtol=1e-4, atol=1e-5
    )


@pytest.mark.usefixtures("ray_session")
def test_each_pass_takes_the_files_in_another_order(tmp_path: Path) -> None:
    # As Ray Train asks for it; else tasks that end sooner come first.
    train = split(save(tmp_path / "table")).train.open()
    train.context.execution_options.preserve_order = True
    first, second = (np.concatenate([b[ROWS] for b in train.iter_batches()]) for _ in range(2))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(in_order(first), in_order(second))


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            lambda table: table.assign(b=np.where(table.index == 7, np.nan, table.b)),
            r'part-2.csv: column "b" has missing values, first in row 7',
            id="missing",
        ),
        pytest.param(
            lambda table: table.assign(b=["x", *map(str, table.b[1:])]),
            r'part-2.csv: column "b" is not numeric \(for example "x"',
            id="text",
        ),
        pytest.param(
            lambda table: table.rename(columns={"b": "bb"}),
            r'part-2.csv: no column "b", which .*part-0.csv has',
            id="no-column",
        ),
    ],
)
def test_a_fault_in_one_file_is_said_in_one_line_that_names_it(
    tmp_path: Path, change: Any, message: str
) -> None:
    folder = save(tmp_path / "table", ending="csv")
    path = folder / "part-2.csv"
    change(pd.read_csv(path)).to_csv(path, index=False)
    for read in (lambda: split(folder), lambda: prepare(job(folder))):
        with pytest.raises(DataError, match=message) as caught:
            read()
        assert "\n" not in str(caught.value)


def test_categories_and_labels_are_read_from_several_files_too(tmp_path: Path) -> None:
    folder = tmp_path / "table"
    folder.mkdir()
    for number, part in enumerate(np.array_split(VALUES, 4)):
        table = pd.DataFrame(part, columns=list("abcde"))
        table["colour"] = ["red", "green"][number % 2]
        table["label"] = np.arange(len(table)) % 3
        table.to_csv(folder / f"part-{number}.csv", index=False)
    prepared = prepare(job(folder, categories=["colour"], labels="label", keep_labels=[0, 1]))
    assert prepared.data.categories == {"colour": ("green", "red")}
    assert prepared.schema.features[-2:] == ("colour=green", "colour=red")
    assert sum(prepared.split_sizes.values()) == 2000


def test_a_mean_that_is_not_zero_is_refused_of_several_files_too(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"needs data\.scaling"):
        prepare(job(save(tmp_path / "table"), missing="mean", scaling="minmax"))


def test_a_glob_chooses_files_and_one_that_finds_none_is_refused(tmp_path: Path) -> None:
    folder = save(tmp_path / "table")
    assert sum(prepare(job(folder / "part-[01].parquet")).split_sizes.values()) == 1500
    with pytest.raises(DataError, match="no file has such a name"):
        prepare(job(folder / "rows-*.parquet"))


@pytest.mark.usefixtures("ray_session")
def test_workers_that_leave_ray_data_no_cpu_are_refused_and_not_waited_for(tmp_path: Path) -> None:
    found = split(save(tmp_path / "table"))
    rows = ScaledRows(
        found.train, found.validation, found.train.statistics.offset, found.train.statistics.scale
    )
    cpus = int(ray.cluster_resources()["CPU"])
    with pytest.raises(ClusterError, match="Ray Data needs one to read"):
        fit(
            plan(), training(workers=cpus, global_batch_size=64 * cpus, device="cpu"), rows,
            storage_path=str(tmp_path), run_name="starved", reporter=Recorder(),
        )  # fmt: skip
