"""Detect and denoise a file in blocks: as in one, whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from isthmus import uses, variants
from isthmus.data import UseOptions, rows
from isthmus.errors import DataError
from isthmus.execution.inputs import TABLES_BESIDE, refuse_replaced_input
from isthmus.jobs.specs import check_job, plan_for
from isthmus.registry import Pair, PairManifest
from isthmus.scores import detector_of
from isthmus.types import DataKind, ScalingMode
from tests.using import denoise_with, detect_with

ROWS = np.random.default_rng(0).normal(size=(1000, 6)).astype(np.float32)
COLUMNS = tuple("abcdef")


@pytest.fixture
def pair() -> Pair:
    """Of drawn weights, calibrated."""
    spec = check_job({"name": "sensors", "data": {"path": "t.csv"}, "latent_dim": 2})
    data = spec.data.model_copy(
        update={"kind": DataKind.TABULAR, "scaling": ScalingMode.STANDARD, "columns": COLUMNS}
    )
    torch.manual_seed(0)
    module = variants.build(plan_for(spec, data, (6,))).eval()
    detector = detector_of(module)
    with torch.inference_mode():
        detector.calibration.fit(detector.score(torch.from_numpy(ROWS)))
    halves = {"encoder": "m-0", "decoder": "m-1"}
    manifest = PairManifest.model_validate(
        {
            **{"pair_id": "0123456789abcdef", "name": "sensors", "plan": module.plan},
            **{"data": data, "spec": {}, "fingerprint": "", "sha256": halves, "models": halves},
            **{"run_id": "", "metrics": {}, "isthmus_version": "", "libraries": {}, "created": ""},
        }
    )
    return Pair(detector, manifest, "sensors/1")


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "_NUMBERS_IN_A_BLOCK", 600)


@pytest.fixture(params=[".parquet", ".csv", ".npy"])
def source(request: pytest.FixtureRequest, here: Path) -> str:
    """The rows in a file of that ending."""
    path = f"rows{request.param}"
    table = pd.DataFrame(ROWS, columns=list(COLUMNS))
    match request.param:
        case ".parquet":
            table.to_parquet(path, row_group_size=170)
        case ".csv":
            table.to_csv(path, index=False)
        case _:
            np.save(path, ROWS)
    return path


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".npz"])
@pytest.mark.usefixtures("small_blocks")
def test_scores_of_a_file_in_blocks_are_those_of_its_rows_in_memory(pair, source, ending):
    told = []
    result = detect_with(pair, source, f"o{ending}", lambda *rows: told.append(rows))
    expected = pair.detect(ROWS)
    read = {".csv": pd.read_csv, ".parquet": pd.read_parquet, ".npz": np.load}[ending]
    found = read(f"o{ending}")
    assert list(found["row"]) == list(range(1000))
    np.testing.assert_allclose(found["score"], expected.scores, rtol=1e-5)
    np.testing.assert_allclose(found["p_value"], expected.p_values, atol=1.1 / 1001)
    assert (np.asarray(found["anomaly"]) == expected.anomalies).mean() > 0.998
    assert (result.rows, result.anomalies) == (1000, found["anomaly"].sum())
    done, totals = zip(*told, strict=True)
    assert list(done) == sorted(set(done))
    assert done[-1] == 1000
    assert set(totals) == {None if source.endswith(".csv") else 1000}


@pytest.mark.usefixtures("small_blocks")
def test_a_file_in_blocks_is_denoised_as_its_rows_in_memory(pair, source):
    output = f"o{Path(source).suffix}"
    result = denoise_with(pair, source, output)
    assert result.rows == 1000
    read = {".csv": pd.read_csv, ".parquet": pd.read_parquet, ".npy": np.load}
    found = np.asarray(read[Path(source).suffix](output))
    np.testing.assert_allclose(found, pair.denoise(ROWS), rtol=1e-4, atol=1e-5)
    assert json.loads(Path(f"{output}.pair.json").read_text())["pair_id"] == "0123456789abcdef"


@pytest.mark.usefixtures("small_blocks")
def test_the_threshold_and_the_pair_are_named_in_the_results(pair, here):
    pd.DataFrame(ROWS, columns=list(COLUMNS)).to_parquet("rows.parquet")
    result = detect_with(pair, "rows.parquet", "o.parquet")
    inside = json.loads(pq.read_schema("o.parquet").metadata[b"isthmus.pair"])
    assert inside["model"] == "sensors/1"
    assert inside["extra"]["threshold"] == result.threshold == pair.detect(ROWS).threshold


@pytest.mark.parametrize("job", [detect_with, denoise_with], ids=["detect", "denoise"])
@pytest.mark.parametrize("ending", [".parquet", ".csv"])
@pytest.mark.usefixtures("small_blocks")
def test_ctrl_c_leaves_nothing_half_written(pair, source, job, ending):
    def interrupt(done: int, total: int | None) -> None:
        if done >= 300:
            raise KeyboardInterrupt

    output = ending if not source.endswith(".npy") else ".npz" if job is detect_with else ".npy"
    with pytest.raises(KeyboardInterrupt):
        job(pair, source, f"o{output}", interrupt)
    assert [path.name for path in Path.cwd().iterdir()] == [source]


@pytest.mark.usefixtures("small_blocks")
def test_a_late_fault_leaves_the_results_of_before_as_they_were(pair, source):
    detect_with(pair, source, "o.csv")
    before = {path.name: path.read_bytes() for path in Path.cwd().iterdir()}
    broken = ROWS.copy()
    broken[900, 2] = np.nan
    pd.DataFrame(broken, columns=list(COLUMNS)).to_parquet("broken.parquet")
    with pytest.raises(DataError, match=r'"c" has missing values, first in row 900'):
        detect_with(pair, "broken.parquet", "o.csv", options=UseOptions())
    Path("broken.parquet").unlink()
    assert {path.name: path.read_bytes() for path in Path.cwd().iterdir()} == before


def same_name(here: Path) -> tuple[str, str]:
    return "rows.npy", "rows.npy"


def other_name(here: Path) -> tuple[str, str]:
    return "rows.npy", f"{here}/sub/../rows.npy"


def by_a_symlink(here: Path) -> tuple[str, str]:
    (here / "link.npy").symlink_to("rows.npy")
    return "link.npy", "rows.npy"


def onto_a_symlink(here: Path) -> tuple[str, str]:
    (here / "link.npy").symlink_to("rows.npy")
    return "rows.npy", "link.npy"


def by_a_hard_link(here: Path) -> tuple[str, str]:
    (here / "link.npy").hardlink_to(here / "rows.npy")
    return "rows.npy", "link.npy"


def by_a_folder_that_is_a_link(here: Path) -> tuple[str, str]:
    (here / "alias").symlink_to(here)
    return "rows.npy", "alias/rows.npy"


OVERWRITES = [
    *(same_name, other_name, by_a_symlink, onto_a_symlink, by_a_hard_link),
    by_a_folder_that_is_a_link,
]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("job", [detect_with, denoise_with], ids=["detect", "denoise"])
@pytest.mark.parametrize("names", OVERWRITES, ids=lambda made: made.__name__)
def test_the_input_is_never_replaced_by_its_results(pair, here, names, job):
    (here / "sub").mkdir()
    np.save("rows.npy", ROWS)
    source, output = names(here)
    before = contents(here)
    with pytest.raises(DataError, match="is the input") as refused:
        job(pair, source, output)
    assert "name another output" in str(refused.value)
    assert contents(here) == before


@pytest.mark.parametrize("job", [detect_with, denoise_with], ids=["detect", "denoise"])
@pytest.mark.parametrize(
    ("source", "output", "said"),
    [
        ("photos", "photos", "is the input"),
        ("photos", "photos/clean", "lies in the input"),
        ("photos", "photos/scores.csv", "lies in the input"),
        ("all/photos", "all", "holds the input"),
    ],
)
def test_results_are_not_written_into_a_folder_of_rows_nor_in_place_of_it(
    pair, here, source, output, said, job
):
    (here / source).mkdir(parents=True)
    (here / source / "0.png").write_bytes(b"never read: it is refused before")
    (here / output.partition("/")[0] / "pair.json").write_text("{}")  # as of earlier results
    before = contents(here)
    with pytest.raises(DataError, match=said):
        job(pair, source, output)
    assert contents(here) == before


def test_the_tables_that_uses_write_beside_their_output_are_known_to_the_check_of_inputs():
    written = {table for name in uses.names() for table in uses.get(name).TABLES_BESIDE}
    assert {"rejected", *written} == set(TABLES_BESIDE)


@pytest.mark.parametrize("name", ["x.csv.2024-01.csv", "x.csv.old.csv", "x.csv.json"])
def test_an_input_whose_name_only_begins_with_that_of_the_output_is_taken(tmp_path, name):
    (tmp_path / name).write_text("a,b\n1,2\n")
    refuse_replaced_input(str(tmp_path / name), tmp_path / "x.csv")
    refuse_replaced_input(f"s3://bucket/{name}", "s3://bucket/x.csv")


@pytest.mark.parametrize(
    "beside", ["rejected.csv", "ranges.csv", "pair.json", "rejected.csv.pair.json"]
)
def test_what_is_written_beside_the_output_never_replaces_the_input(pair, here, beside):
    source = f"scores.csv.{beside}"
    (here / source).write_bytes(b"never read: it is refused before")
    before = contents(here)
    with pytest.raises(DataError, match=f"a file beside it that replaces the input {source}"):
        detect_with(pair, source, "scores.csv")
    assert contents(here) == before
    there = f"s3://bucket/{source}"
    with pytest.raises(DataError, match=f"a file beside it that replaces the input {there}"):
        refuse_replaced_input(there, "s3://bucket/scores.csv")


@pytest.mark.parametrize(
    ("source", "output"),
    [("rows.csv.gz", "rows.csv"), ("a/rows.csv.x.csv", "rows.csv"), ("rows.2026.csv", "rows")],
)
def test_inputs_that_are_only_called_alike_are_taken(here, source, output):
    refuse_replaced_input(source, output)
    refuse_replaced_input(f"s3://bucket/{source}", f"s3://bucket/{output}")
    refuse_replaced_input("s3://bucket/rows.csv.old/b.x.csv", "s3://bucket/rows.csv")


def test_a_file_of_the_same_name_elsewhere_is_no_input(pair, here):
    (here / "clean").mkdir()
    np.save("rows.npy", ROWS)
    assert denoise_with(pair, "rows.npy", "clean/rows.npy").rows == 1000
    assert denoise_with(pair, "rows.npy", "clean/rows.npy").rows == 1000  # replaces only that
