"""The fields that say how numbers and missing values are written are for tables of any format."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather as feather
import pytest

from isthmus.data import UseOptions, open_input
from isthmus.data.columns.refusals import ColumnsRefused
from isthmus.errors import DataError
from isthmus.spec import DataSpec
from tests.reading import read_like, read_to_train

FORMATS = ["csv", "parquet", "feather", "jsonl", "sqlite"]


def saved(frame: pd.DataFrame, form: str) -> dict[str, Any]:
    """Writes a table, and returns the fields of the data section that name it."""
    match form:
        case "csv":
            frame.to_csv("t.csv", index=False, sep=";")
        case "parquet":
            frame.to_parquet("t.parquet")
        case "feather":
            feather.write_feather(pa.Table.from_pandas(frame), "t.feather")
        case "jsonl":
            lines = frame.to_dict("records")
            Path("t.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        case "sqlite":
            with sqlite3.connect("t.db") as database:
                frame.to_sql("t", database, index=False, if_exists="replace")
            return {"path": "sqlite:///t.db", "query": "SELECT * FROM t"}
    return {"path": f"t.{form}"}


@pytest.mark.usefixtures("in_tmp")
@pytest.mark.parametrize(
    ("cells", "advice", "fields", "expected"),
    [
        (("1,97", "3,5"), r"set data\.decimal: ','", {"decimal": ","}, [1.97, 3.5]),
        (("10,872", "1,500.5"), r"set data\.thousands: ','", {"thousands": ","}, [10872, 1500.5]),
        (("?", "2"), r"missing_values: \['\?'\]", {"missing_values": ["?"]}, [np.nan, 2]),
    ],
    ids=["decimal", "thousands", "missing_values"],
)
@pytest.mark.parametrize("form", FORMATS)
def test_the_field_that_is_advised_lets_texts_of_every_format_be_read(
    form: str,
    cells: tuple[str, str],
    advice: str,
    fields: dict[str, Any],
    expected: list[float],
) -> None:
    column = [*map(str, range(9)), *cells]
    where = saved(pd.DataFrame({"a": column, "b": np.arange(11) % 3}), form)
    with pytest.raises(DataError, match=advice) as caught:
        read_to_train(DataSpec(**where))
    assert f'(for example "{cells[0]}", in row 9, counted from 0)' in str(caught.value)
    rows, resolved = read_to_train(DataSpec(missing="mean", **where, **fields))
    np.testing.assert_allclose(rows.values[-2:, 0], expected, rtol=1e-6)
    again = read_like(resolved, where["path"], (2,))
    np.testing.assert_array_equal(again.values, rows.values)


@pytest.mark.usefixtures("in_tmp")
@pytest.mark.parametrize("values", [[1, 2.5, "?", 4], ["?", 1, 2.5, 4]], ids=["later", "first"])
def test_numbers_and_signs_of_missing_ones_may_stand_side_by_side_in_json_lines(
    values: list[object],
) -> None:
    lines = [{"a": each, "b": place, "id": place} for place, each in enumerate(values)]
    Path("t.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    with pytest.raises(DataError, match=r"data\.missing_values: \['\?'\]"):
        read_to_train(DataSpec(path="t.jsonl", exclude=("id",)))
    fields = {"missing_values": ["?"], "missing": "mean", "exclude": ["id"]}
    rows, resolved = read_to_train(DataSpec(path="t.jsonl", **fields))
    expected = [np.nan if each == "?" else each for each in values]
    np.testing.assert_array_equal(rows.values[:, 0], expected)
    source = open_input(resolved, "t.jsonl", rows.schema, UseOptions())
    (block,) = source.blocks(carry=True)
    assert block.carried is not None
    assert block.carried["id"].to_pylist() == [0, 1, 2, 3]


@pytest.mark.usefixtures("in_tmp")
@pytest.mark.parametrize("form", FORMATS)
def test_a_text_that_no_field_reads_is_told_with_its_row(form: str) -> None:
    column = [*map(str, range(7)), "?", "blue"]
    where = saved(pd.DataFrame({"a": column, "b": np.arange(9.0) % 4}), form)
    with pytest.raises(
        DataError, match=r'"a" is not numeric .for example "blue", in row 8, counted'
    ):
        read_to_train(DataSpec(missing_values=("?",), missing="mean", **where))


@pytest.mark.usefixtures("in_tmp")
@pytest.mark.parametrize("sign", ["-999", "-999.0", " -9.99e2"])
@pytest.mark.parametrize("form", FORMATS)
def test_a_number_that_means_a_missing_value_does_in_every_writing(form: str, sign: str) -> None:
    table = {"a": [1.5, -999.0, 3, 4], "b": [1, 2, -999, 4], "c": [5, 6, 7, 999]}
    where = saved(pd.DataFrame(table), form)
    rows, _ = read_to_train(DataSpec(missing_values=(sign,), missing="mean", **where))
    nan = np.nan
    expected = [[1.5, 1, 5], [nan, 2, 6], [3, nan, 7], [4, 4, 999]]
    np.testing.assert_array_equal(rows.values, expected)


@pytest.mark.usefixtures("in_tmp")
def test_a_fraction_means_a_missing_value_in_a_column_of_float32_too() -> None:
    frame = pd.DataFrame({"a": np.array([1.5, -99.9, 3], np.float32), "b": [1.0, 2.0, 3.0]})
    frame.to_parquet("t.parquet")
    spec = DataSpec(path="t.parquet", missing_values=("-99.9",), missing="mean")
    assert np.isnan(read_to_train(spec)[0].values[:, 0]).tolist() == [False, True, False]


@pytest.mark.usefixtures("in_tmp")
@pytest.mark.parametrize("form", FORMATS)
def test_a_category_that_means_a_missing_value_is_an_empty_one(form: str) -> None:
    table = {"c": ["x", "?", "y", "x"], "n": [7, -1, 7, 8], "b": [1.0, 2.0, 3.0, 4.0]}
    where = saved(pd.DataFrame(table), form)
    fields = {"categories": ("c", "n"), "missing_values": ("?", "-1")}
    rows, resolved = read_to_train(DataSpec(**where, **fields))
    assert resolved.categories == {"c": ("", "x", "y"), "n": ("", "7", "8")}
    assert rows.values[1].tolist() == [1, 0, 0, 1, 0, 0, 2]
    assert read_like(resolved, where["path"], (7,)).values.tolist() == rows.values.tolist()


@pytest.mark.usefixtures("in_tmp")
def test_a_pair_that_knows_such_a_sign_as_a_category_goes_on_to_do_so() -> None:
    where = saved(pd.DataFrame({"c": ["x", "?"], "b": [1.0, 2.0]}), "csv")
    fields = {"columns": ("c", "b"), "categories": {"c": ("?", "x")}, "missing_values": ("?",)}
    stored = DataSpec(kind="tabular", **where, **fields)
    assert read_like(stored, where["path"], (3,)).values.tolist() == [[0, 1, 1], [1, 0, 2]]


@pytest.mark.usefixtures("in_tmp")
@pytest.mark.parametrize("form", [each for each in FORMATS if each != "csv"])
@pytest.mark.parametrize(
    ("field", "value"), [("delimiter", ";"), ("header", "none"), ("encoding", "latin-1")]
)
def test_fields_about_a_csv_are_refused_where_there_is_none(
    form: str, field: str, value: str
) -> None:
    where = saved(pd.DataFrame({"a": [1.0, 2, 3], "b": [1.0, 3, 2]}), form)
    with pytest.raises(DataError, match=rf"data\.{field} is for \.csv, .*; leave it out") as caught:
        read_to_train(DataSpec(**where, **{field: value}))
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("in_tmp")
def test_a_folder_of_csv_and_parquet_takes_the_fields_about_a_csv() -> None:
    Path("t").mkdir()
    frame = pd.DataFrame({"a": [1.0, 2, 3], "b": [1.0, 3, 2]})
    frame.to_csv("t/1.csv", index=False, sep="|")
    frame.to_parquet("t/2.parquet")
    assert len(read_to_train(DataSpec(path="t", delimiter="|"))[0]) == 6


@pytest.mark.usefixtures("in_tmp")
@pytest.mark.parametrize("form", FORMATS)
def test_the_fields_that_are_advised_for_several_columns_let_them_be_read(form: str) -> None:
    texts = [f"{n},5" for n in range(9)]
    table = {"a": [*texts, "?"], "b": [*texts[::-1], "4,0"], "c": np.arange(10.0)}
    where = saved(pd.DataFrame(table).astype({"c": int}), form)
    with pytest.raises(ColumnsRefused) as caught:
        read_to_train(DataSpec(**where))
    changes = dict(caught.value.changes)
    rows, _ = read_to_train(DataSpec(**{**where, **changes}))
    assert rows.values.shape[1] in (2, 3)
    assert rows.values[0, -2:].tolist() == [8.5, 0]


@pytest.mark.usefixtures("in_tmp")
@pytest.mark.parametrize("text", ["1_000", "\u0661"], ids=["underscore", "Arabic digit"])
@pytest.mark.parametrize("form", FORMATS)
def test_what_only_python_takes_for_a_number_is_told_with_its_row(form: str, text: str) -> None:
    where = saved(pd.DataFrame({"a": ["0", "1", "2", text], "b": range(4)}), form)
    with pytest.raises(DataError) as caught:
        read_to_train(DataSpec(missing_values=["?"], **where))
    assert f'"a" is not numeric (for example "{text}", in row 3, counted' in str(caught.value)


@pytest.mark.usefixtures("in_tmp")
@pytest.mark.parametrize(
    ("fields", "said"),
    [({"missing_values": ["-"]}, "missing"), ({"decimal": ","}, 'for example "-", in row 3')],
    ids=["missing", "no number"],
)
@pytest.mark.parametrize("kind", ["tabular", "series"])
def test_a_sign_below_the_numbers_of_json_lines_is_refused_as_what_it_is(
    kind: str, fields: dict[str, Any], said: str
) -> None:
    lines = [{"a": each, "b": 0.5} for each in (0.5, 1.5, 2.5, "-", 4.5)]
    Path("t.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    window = {"window": 4} if kind == "series" else {}
    with pytest.raises(DataError, match=said) as caught:
        read_to_train(DataSpec(path="t.jsonl", kind=kind, **window, **fields))
    assert "row 3" in str(caught.value)
    assert '"a"' in str(caught.value)
