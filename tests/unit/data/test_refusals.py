"""All that is wrong with the columns of a table is told at once, with YAML that mends it."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
import yaml

from isthmus.data.columns.refusals import ColumnsRefused
from isthmus.errors import DataError
from isthmus.spec import DataSpec
from tests.reading import read_to_train

pytestmark = pytest.mark.usefixtures("in_tmp")
ROWS = 60


def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "order": [f"a-{number * 37 % 1009}" for number in range(ROWS)],
            "taken": pd.date_range("2024-01-01", periods=ROWS).strftime("%Y-%m-%d"),
            "colour": rng.choice(["red", "green"], ROWS),
            "flow": rng.normal(size=ROWS),
            "heat": np.where(np.arange(ROWS) == 7, np.nan, rng.normal(size=ROWS)),
        }
    )


def refused(**fields: object) -> ColumnsRefused:
    with pytest.raises(DataError) as caught:
        read_to_train(DataSpec.model_validate({"path": "t.csv", **fields}))
    assert isinstance(caught.value, ColumnsRefused), caught.value
    return caught.value


def pasted(error: ColumnsRefused) -> dict[str, object]:
    """The lines of YAML at the end of the message."""
    return yaml.safe_load(str(error).partition("\n  data:\n")[2])


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl"])
def test_all_columns_that_are_refused_are_told_at_once_and_the_pasted_lines_mend_them(ending):
    save = {"csv": "to_csv", "parquet": "to_parquet", "jsonl": "to_json"}[ending]
    options = {"orient": "records", "lines": True} if ending == "jsonl" else {"index": False}
    getattr(frame(), save)(f"t.{ending}", **options)
    error = refused(path=f"t.{ending}")
    message = str(error)
    for column in ("order", "taken", "colour", "heat"):
        assert f'"{column}" ' in message
    assert '"flow"' not in message
    assert pasted(error) == {
        "exclude": ["order", "taken"],
        "categories": ["colour"],
        "missing": "mean",
    }
    rows, _ = read_to_train(DataSpec(path=f"t.{ending}", **pasted(error)))
    assert rows.schema.features == ("colour=green", "colour=red", "flow", "heat")


def test_the_pasted_lists_keep_what_the_job_file_has_already():
    frame().to_csv("t.csv", index=False)
    error = refused(exclude=["flow"], missing="drop")
    assert pasted(error) == {"exclude": ["flow", "order", "taken"], "categories": ["colour"]}


def test_signs_for_missing_values_and_decimal_commas_are_told_by_the_fields_that_read_them():
    table = pd.DataFrame(
        {"a": ["1", "?", *map(str, range(2, ROWS))], "b": [f"{each},5" for each in range(ROWS)]}
    )
    table.to_csv("t.csv", index=False, sep=";")
    error = refused()
    assert pasted(error) == {"decimal": ",", "missing_values": ["?"], "missing": "mean"}
    read_to_train(DataSpec(path="t.csv", **pasted(error)))


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["10,251", "9,460", "812"], {"thousands": ","}),
        (["10,251,460", "9,460,000.5", "12"], {"thousands": ","}),
        (["10.251,5", "9.460", "12,5"], {"decimal": ",", "thousands": "."}),
        (["1,97", "10,251", "3"], {"decimal": ","}),
    ],
    ids=["thousands", "millions", "points between thousands", "decimals"],
)
def test_several_columns_of_numbers_are_told_by_the_fields_that_read_them(cells, expected):
    pd.DataFrame({"a": cells, "b": cells[::-1], "n": range(3)}).to_csv("t.csv", index=False)
    error = refused()
    assert pasted(error) == expected
    rows, _ = read_to_train(DataSpec(path="t.csv", **pasted(error)))
    assert rows.schema.features == ("a", "b", "n")


def test_an_ambiguous_comma_is_the_decimal_sign_where_another_column_shows_it():
    table = pd.DataFrame({"a": ["10,251", "9,460"], "b": ["1,97", "2,5"], "n": [1, 2]})
    table.to_csv("t.csv", index=False)
    assert pasted(refused()) == {"decimal": ","}


def test_percentages_are_told_what_to_do_with_their_signs():
    table = pd.DataFrame({"a": ["1.97%", "2%"], "b": ["5%", "3.5%"], "n": [1, 2]})
    table.to_csv("t.csv", index=False)
    error = refused()
    assert str(error).count("write its numbers without the sign %") == 2
    assert pasted(error) == {"exclude": ["a", "b"]}


def test_a_series_is_offered_no_categories():
    frame().to_csv("t.csv", index=False)
    assert "categories" not in pasted(refused(window=8))


def test_names_that_yaml_would_misread_can_be_pasted_too():
    names = ["on", "1", "a: b", "ü #"]
    pd.DataFrame({**{name: list("xyxyxz") for name in names}, "n": range(6)}).to_csv(
        "t.csv", index=False
    )
    error = refused()
    found = pasted(error)
    assert sorted([*found.get("exclude", []), *found.get("categories", [])]) == sorted(names)


def test_all_absent_columns_are_told_at_once():
    frame().to_csv("t.csv", index=False)
    with pytest.raises(DataError, match=r'no column "heats" \(data.exclude\) and "kind" \(data.la'):
        read_to_train(DataSpec(path="t.csv", exclude=("heats",), labels="kind"))


def test_the_error_travels_between_processes():
    frame().to_csv("t.csv", index=False)
    error = refused()
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
