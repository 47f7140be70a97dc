"""csv and parquet: which columns become features, and how results go back among the others."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from isthmus.data import Provenance
from isthmus.errors import DataError
from isthmus.spec import DataSpec
from isthmus.types import DataKind, ScalingMode
from tests.reading import read_like, read_to_train, write_back

CSV = "id,a,when,b\nr,1.5,2020-01-01,4\ns,2.5,2020-01-02,5\nt,3.5,2020-01-03,7\n"


@pytest.fixture(params=["csv", "parquet"])
def table(request: pytest.FixtureRequest, in_tmp: Path) -> Path:
    path = in_tmp / f"t.{request.param}"
    frame = pd.DataFrame(
        {
            "id": ["007", "008", "009", "010"],
            "a": [1.5, 2.5, 3.5, 4.5],
            "label": [0, 1, 0, 1],
            "b": [4, 5, 6, 8],
        }
    )
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)
    return path


def test_features_are_the_columns_that_exclude_and_labels_leave(table: Path) -> None:
    rows, spec = read_to_train(DataSpec(path=str(table), exclude=("id",), labels="label"))
    assert rows.values.tolist() == [[1.5, 4], [2.5, 5], [3.5, 6], [4.5, 8]]
    assert rows.values.dtype == np.float32
    assert rows.values.flags.c_contiguous
    assert rows.labels is not None
    assert rows.labels.tolist() == [0, 1, 0, 1]
    assert rows.starts is None
    assert spec.columns == ("a", "b")
    assert (spec.kind, spec.scaling) == (DataKind.TABULAR, ScalingMode.STANDARD)


def test_columns_choose_and_order_the_features(table: Path) -> None:
    rows, spec = read_to_train(DataSpec(path=str(table), columns=("b", "a")))
    assert rows.values[0].tolist() == [4, 1.5]
    assert spec.columns == ("b", "a")


def test_a_resolved_spec_reads_the_same_rows_again(table: Path) -> None:
    rows, spec = read_to_train(DataSpec(path=str(table), exclude=("id", "label")))
    again, spec_again = read_to_train(spec)
    assert np.array_equal(rows.values, again.values)
    assert spec_again == spec


@pytest.mark.parametrize("keep", [(0,), ("0",)], ids=["value", "text"])
def test_labels_to_keep_match_by_value_and_as_text(table: Path, keep: tuple[int | str]) -> None:
    spec = DataSpec(path=str(table), exclude=("id",), labels="label", keep_labels=keep)
    with pytest.raises(DataError, match=r"2 row\(s\) to train on"):
        read_to_train(spec)
    rows, _ = read_to_train(spec.model_copy(update={"keep_labels": (*keep, 1)}))
    assert len(rows) == 4


def test_input_columns_are_found_by_name_in_any_order(table: Path, in_tmp: Path) -> None:
    _, spec = read_to_train(DataSpec(path=str(table), exclude=("id", "label")))
    (in_tmp / "other.csv").write_text("b,text,a\n9,x,1\n")
    rows = read_like(spec, "other.csv", (2,))
    assert rows.values.tolist() == [[1, 9]]


def test_results_replace_their_columns_and_carry_the_others(
    table: Path, in_tmp: Path, provenance: Provenance
) -> None:
    _, spec = read_to_train(DataSpec(path=str(table), columns=("b", "a")))
    rows = read_like(spec, str(table), (2,))
    output = in_tmp / f"out{table.suffix}"
    write_back(rows, rows.values + 1, output, provenance)
    read = pd.read_csv if table.suffix == ".csv" else pd.read_parquet
    before, after = read(table), read(output)
    assert list(after.columns) == list(before.columns)
    assert after["a"].tolist() == [2.5, 3.5, 4.5, 5.5]
    assert after["b"].tolist() == [5, 6, 7, 9]
    assert after["id"].tolist() == before["id"].tolist()
    sidecar = json.loads((in_tmp / f"{output.name}.pair.json").read_text())
    assert sidecar["pair_id"] == "pair-7"
    assert sidecar["extra"] == {"job": "denoise"}


@pytest.mark.parametrize("ending", [".parquet", ".feather"])
@pytest.mark.parametrize("use", [{}, {"labels": "id"}], ids=["carried", "labels"])
def test_columns_that_are_carried_keep_their_types(
    ending: str, use: dict[str, str], in_tmp: Path, provenance: Provenance
) -> None:
    table = pa.table(
        {
            "a": [1.5, 2.5, 3.5],
            "id": pa.array([1, 2, None], pa.int64()),
            "t": pa.array([0, 10**15, None], pa.timestamp("us")),
            "s": ["x", "", None],
            "l": [[1, 2], [], None],
            "d": pa.array([1, None, 3], pa.decimal128(5, 2)),
        }
    )
    write = pq.write_table if ending == ".parquet" else feather.write_feather
    write(table, f"t{ending}")
    rows, _ = read_to_train(DataSpec(path=f"t{ending}", columns=("a",), **use))
    write_back(rows, rows.values, in_tmp / f"o{ending}", provenance)
    read = pq.read_table if ending == ".parquet" else feather.read_table
    assert read(f"o{ending}").equals(table)


@pytest.mark.parametrize("ending", [".parquet", ".feather"])
def test_categories_that_each_part_of_a_file_numbers_anew_are_carried(
    ending: str, in_tmp: Path, provenance: Provenance
) -> None:
    kinds = ["x", "y", "z", "x"]
    schema = pa.schema([("a", pa.float64()), ("k", pa.dictionary(pa.int32(), pa.string()))])
    with pq.ParquetWriter("t.parquet", schema) as writer:
        for number, kind in enumerate(kinds):
            codes = pa.array([kind]).dictionary_encode()
            writer.write_table(pa.table({"a": [number + 0.5], "k": codes}, schema))
    rows, _ = read_to_train(DataSpec(path="t.parquet", columns=("a",)))
    write_back(rows, rows.values, in_tmp / f"o{ending}", provenance)
    read = pq.read_table if ending == ".parquet" else feather.read_table
    assert read(f"o{ending}").column("k").to_pylist() == kinds


def test_a_csv_of_results_holds_lists_as_json(in_tmp: Path, provenance: Provenance) -> None:
    lists = [["x", "y"], [], None]
    pq.write_table(pa.table({"a": [1.5, 2.5, 4.5], "l": lists, "n": [7, 8, 9]}), "t.parquet")
    rows, _ = read_to_train(DataSpec(path="t.parquet", columns=("a",)))
    write_back(rows, rows.values, in_tmp / "o.csv", provenance)
    found = pd.read_csv("o.csv")
    assert found["l"].fillna("").tolist() == ['["x", "y"]', "[]", ""]
    assert found["n"].tolist() == [7, 8, 9]


def test_texts_of_a_csv_stay_as_they_are_written(in_tmp: Path, provenance: Provenance) -> None:
    (in_tmp / "t.csv").write_text(CSV)
    rows, _ = read_to_train(DataSpec(path="t.csv", columns=("a", "b")))
    write_back(rows, rows.values, in_tmp / "o.csv", provenance)
    assert (in_tmp / "o.csv").read_text() == CSV


def test_texts_with_commas_quotes_and_line_breaks_survive(
    in_tmp: Path, provenance: Provenance
) -> None:
    frame = pd.DataFrame({"t": ['a,b "c"', "x\ny", None, "d"], "a": [1.5, 2.5, 3.5, 4.5]})
    frame.to_csv("t.csv", index=False)
    rows, _ = read_to_train(DataSpec(path="t.csv", columns=("a",)))
    write_back(rows, rows.values, in_tmp / "o.csv", provenance)
    pd.testing.assert_frame_equal(pd.read_csv("o.csv"), frame)


def test_the_delimiter_is_found_and_kept(in_tmp: Path, provenance: Provenance) -> None:
    text = "a;b\n1.5;2.25\n2.5;3.25\n3.5;5.25\n"
    (in_tmp / "t.csv").write_text("\ufeff" + text)
    rows, spec = read_to_train(DataSpec(path="t.csv"))
    assert spec.columns == ("a", "b")
    write_back(rows, rows.values, in_tmp / "o.csv", provenance)
    assert (in_tmp / "o.csv").read_text() == text


def test_dropped_rows_are_left_out_of_the_results(in_tmp: Path, provenance: Provenance) -> None:
    (in_tmp / "t.csv").write_text("id,a\nr0,1\nr1,\nr2,3\nr3,4\n")
    rows, spec = read_to_train(DataSpec(path="t.csv", exclude=("id",), missing="drop"))
    assert rows.values.ravel().tolist() == [1, 3, 4]
    rows = read_like(spec, "t.csv", (1,))
    assert rows.index["row"].tolist() == [0, 2, 3]
    write_back(rows, rows.values, in_tmp / "o.csv", provenance)
    assert pd.read_csv("o.csv")["id"].tolist() == ["r0", "r2", "r3"]


def test_missing_values_stay_nan_where_the_mean_fills_them(in_tmp: Path) -> None:
    (in_tmp / "t.csv").write_text("a,b\n1,2\n,3\n4,NA\n")
    rows, _ = read_to_train(DataSpec(path="t.csv", missing="mean"))
    assert np.isnan(rows.values).tolist() == [[False, False], [True, False], [False, True]]


def test_parquet_results_name_their_pair_in_the_metadata(
    in_tmp: Path, provenance: Provenance
) -> None:
    pd.DataFrame({"a": [1.0, 2.0, 3.0]}).to_parquet("t.parquet")
    rows, _ = read_to_train(DataSpec(path="t.parquet"))
    write_back(rows, rows.values, in_tmp / "o.parquet", provenance)
    metadata = pq.read_schema("o.parquet").metadata
    assert json.loads(metadata[b"isthmus.pair"])["model"] == "digits/3"
    assert pq.read_schema("o.parquet").field("a").type == "double"


def test_a_csv_goes_to_parquet_or_npz_by_the_ending(in_tmp: Path, provenance: Provenance) -> None:
    (in_tmp / "t.csv").write_text(CSV)
    rows, _ = read_to_train(DataSpec(path="t.csv", columns=("a", "b")))
    write_back(rows, rows.values, in_tmp / "o.parquet", provenance)
    assert pd.read_parquet("o.parquet")["id"].tolist() == ["r", "s", "t"]
    write_back(rows, rows.values, in_tmp / "o.npz", provenance)
    with np.load("o.npz") as archive:
        assert np.array_equal(archive["x"], rows.values)
        assert archive["columns"].tolist() == ["a", "b"]


def test_a_constant_column_is_named_in_the_log(
    in_tmp: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (in_tmp / "t.csv").write_text("a,flat\n1,5\n2,5\n3,5\n")
    with caplog.at_level(logging.WARNING):
        read_to_train(DataSpec(path="t.csv"))
    assert "constant columns, scaled to 0: flat" in caplog.text


def test_an_index_that_pandas_wrote_is_no_feature(in_tmp: Path) -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0, 4.0]}, index=[5, 3, 9, 7])
    frame.to_csv("t.csv")
    frame.to_parquet("t.parquet")
    for name in ("t.csv", "t.parquet"):
        rows, spec = read_to_train(DataSpec(path=name))
        assert spec.columns == ("a",)
        assert rows.values.shape == (4, 1)


def test_a_model_of_an_array_takes_the_numeric_columns_of_a_csv(in_tmp: Path) -> None:
    np.save("x.npy", np.random.default_rng(0).normal(size=(9, 2)))
    _, spec = read_to_train(DataSpec(path="x.npy"))
    (in_tmp / "t.csv").write_text(CSV)
    assert read_like(spec, "t.csv", (2,)).values[0].tolist() == [1.5, 4]
