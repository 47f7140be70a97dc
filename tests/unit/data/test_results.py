"""Files of results: tables by their ending, whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from isthmus.data import Provenance, check_table_output, sidecar_path, write_table
from isthmus.data.outputs.output import whole_file, whole_folder
from isthmus.errors import DataError

COLUMNS = {
    "file": np.array(["a.png", "b, c.png"]),
    "score": np.array([0.25, 1.5], dtype=np.float32),
    "anomaly": np.array([False, True]),
}


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".npz"])
def test_a_table_is_written_by_its_ending(
    ending: str, in_tmp: Path, provenance: Provenance
) -> None:
    output = in_tmp / "new" / f"scores{ending}"
    write_table(COLUMNS, output, provenance)
    if ending == ".npz":
        with np.load(output) as archive:
            assert archive["score"].tolist() == [0.25, 1.5]
            assert archive["file"].tolist() == ["a.png", "b, c.png"]
    else:
        read = pd.read_csv if ending == ".csv" else pd.read_parquet
        frame = read(output)
        assert list(frame.columns) == ["file", "score", "anomaly"]
        assert frame["file"].tolist() == ["a.png", "b, c.png"]
        assert frame["anomaly"].tolist() == [False, True]
    assert json.loads(sidecar_path(output).read_text())["pair_id"] == "pair-7"


def test_an_ending_that_is_no_table_is_refused_before_the_work() -> None:
    with pytest.raises(DataError, match=r'ending "\.xlsx"; a table of results can be written as'):
        check_table_output(Path("scores.xlsx"))


def test_a_failure_leaves_nothing_behind_and_the_old_file_as_it_was(
    in_tmp: Path, provenance: Provenance
) -> None:
    write_table(COLUMNS, in_tmp / "s.csv", provenance)
    before = {path.name: path.read_bytes() for path in in_tmp.iterdir()}
    for fail_halfway in (_fail_in_a_file, _fail_in_a_folder):
        with pytest.raises(RuntimeError):
            fail_halfway(in_tmp, provenance)
    assert {path.name: path.read_bytes() for path in in_tmp.iterdir()} == before


def _fail_in_a_file(root: Path, provenance: Provenance) -> None:
    with whole_file(root / "s.csv", provenance) as temporary:
        temporary.write_text("half")
        raise RuntimeError


def _fail_in_a_folder(root: Path, provenance: Provenance) -> None:
    with whole_folder(root / "f", provenance) as folder:
        (folder / "half.png").write_text("half")
        raise RuntimeError


def test_a_place_that_cannot_be_written_to_is_named(in_tmp: Path, provenance: Provenance) -> None:
    (in_tmp / "file").write_text("")
    with pytest.raises(DataError, match=r"file/s\.csv: cannot be written"):
        write_table(COLUMNS, in_tmp / "file" / "s.csv", provenance)
