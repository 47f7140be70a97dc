"""Columns of categories: a feature for each value, and back to the value in what is written."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from isthmus.data import Provenance, fit_scaling
from isthmus.errors import DataError
from isthmus.spec import DataSpec
from isthmus.types import DataKind, ScalingMode
from tests.reading import read_like, read_to_train, write_back

FRAME = pd.DataFrame(
    {
        "size": ["S", "L", "M", "L", "S", ""],
        "price": [1.0, 3.0, 2.0, 3.5, 1.5, 2.5],
        "shop": [7, 12, 7, 7, 12, 7],
        "note": list("abcdef"),
    }
)


@pytest.fixture(params=["csv", "parquet"])
def table(request: pytest.FixtureRequest, in_tmp: Path) -> Path:
    path = in_tmp / f"t.{request.param}"
    if path.suffix == ".csv":
        FRAME.to_csv(path, index=False)
    else:
        FRAME.to_parquet(path)
    return path


def spec_of(table: Path, **options: object) -> DataSpec:
    options = {"exclude": ("note",), "categories": ("size", "shop"), **options}
    return DataSpec.model_validate({"path": str(table), **options})


def test_each_value_becomes_a_feature_in_the_columns_order(table: Path) -> None:
    rows, spec = read_to_train(spec_of(table))
    names = ("size=", "size=L", "size=M", "size=S", "price", "shop=12", "shop=7")
    assert spec.feature_names == names
    assert rows.values[0].tolist() == [0, 0, 0, 1, 1.0, 0, 1]
    assert rows.values[5].tolist() == [1, 0, 0, 0, 2.5, 0, 1]
    assert spec.indicators == (True, True, True, True, False, True, True)


def test_values_given_in_the_job_file_order_the_features_and_may_be_fewer(table: Path) -> None:
    _, spec = read_to_train(spec_of(table, categories={"size": ["S", "M", "L"], "shop": ["7"]}))
    assert spec.feature_names == ("size=S", "size=M", "size=L", "price", "shop=7")


def test_a_new_file_gets_the_training_files_features(
    table: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows, spec = read_to_train(spec_of(table))
    FRAME.iloc[[1]].assign(size="XXL")[["price", "shop", "size"]].to_csv("new.csv", index=False)
    with caplog.at_level(logging.WARNING):
        new = read_like(spec, "new.csv", rows.values.shape[1:])
    assert new.values.tolist() == [[0, 0, 0, 0, 3.0, 1, 0]]
    assert '"XXL"' in caplog.text


def test_what_is_written_names_the_likeliest_value(table: Path) -> None:
    rows, spec = read_to_train(spec_of(table))
    noisy = rows.values + np.random.default_rng(0).normal(0, 0.1, rows.values.shape)
    output = table.with_name(f"out{table.suffix}")
    provenance = Provenance(pair_id="0", model="a/1", created="2026-01-01")
    write_back(rows, noisy.astype(np.float32), output, provenance)
    is_csv = table.suffix == ".csv"
    read = pd.read_csv(output, dtype={"shop": str}) if is_csv else pd.read_parquet(output)
    assert read["size"].fillna("").tolist() == FRAME["size"].tolist()
    assert read["shop"].tolist() == [str(shop) for shop in FRAME["shop"]]
    assert read["note"].tolist() == FRAME["note"].tolist()
    assert spec.columns == ("size", "price", "shop")


def test_scaling_leaves_indicators_as_they_are(table: Path) -> None:
    rows, spec = read_to_train(spec_of(table))
    found = fit_scaling(rows.values, ScalingMode.STANDARD, DataKind.TABULAR, spec.indicators)
    assert found.offset.tolist()[:4] == [0, 0, 0, 0]
    assert found.scale.tolist()[:4] == [1, 1, 1, 1]
    assert found.offset[4] == pytest.approx(FRAME["price"].mean())


@pytest.mark.parametrize(
    ("categories", "said"),
    [(("siez",), "data.categories names"), (("note",), "data.categories names")],
)
def test_a_category_that_is_no_column_is_refused(
    table: Path, categories: tuple[str, ...], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        read_to_train(spec_of(table, categories=categories))


def test_an_identifier_is_no_category(in_tmp: Path) -> None:
    path = in_tmp / "t.csv"
    pd.DataFrame({"id": [f"r{i}" for i in range(400)], "a": range(400)}).to_csv(path, index=False)
    with pytest.raises(DataError, match="400 different values"):
        read_to_train(DataSpec(path=str(path), categories=("id",)))


def test_an_array_has_no_categories(in_tmp: Path) -> None:
    np.save(in_tmp / "a.npy", np.random.default_rng(0).normal(size=(9, 3)))
    with pytest.raises(DataError, match="use a csv or parquet"):
        read_to_train(DataSpec(path="a.npy", categories=("a",)))


# -- truth values -----------------------------------------------------------------------------

TRUTHS = pd.DataFrame({"on": [True, False, True, True, False, True], "x": np.arange(6.0)})


def write_truths(name: str) -> None:
    match name.rpartition(".")[2]:
        case "csv":
            TRUTHS.to_csv(name, index=False)
        case "parquet":
            TRUTHS.to_parquet(name)
        case "jsonl":
            TRUTHS.to_json(name, orient="records", lines=True)
        case "tsv":  # as R writes them
            written = TRUTHS.assign(on=TRUTHS["on"].map(str).str.upper())
            written.to_csv(name, sep="\t", index=False)


FORMS = ["t.csv", "t.parquet", "t.jsonl", "t.tsv"]


@pytest.mark.parametrize("used", FORMS)
@pytest.mark.parametrize("trained", FORMS)
def test_true_and_false_are_the_same_values_however_a_format_writes_them(
    trained: str, used: str, in_tmp: Path
) -> None:
    for name in FORMS:
        write_truths(name)
    rows, spec = read_to_train(DataSpec(path=trained, categories=("on",)))
    again = read_like(spec, used, rows.values.shape[1:])
    assert again.values.tolist() == rows.values.tolist()
    assert rows.values[:, :2].tolist() == [[not on, on] for on in TRUTHS["on"]]


@pytest.mark.parametrize("used", FORMS)
@pytest.mark.parametrize("known", [("False", "True"), ("false", "true")], ids=["True", "true"])
def test_a_pair_that_knows_truth_values_as_a_file_wrote_them_takes_all_forms(
    known: tuple[str, str], used: str, in_tmp: Path
) -> None:
    write_truths(used)
    stored = DataSpec(path=used, kind="tabular", columns=("on", "x"), categories={"on": known})
    values = read_like(stored, used, (3,)).values
    assert values[:, :2].tolist() == [[not on, on] for on in TRUTHS["on"]]


def test_a_pair_that_knows_two_forms_of_true_apart_goes_on_to_do_so(in_tmp: Path) -> None:
    (in_tmp / "t.csv").write_text("on,x\ntrue,1\nTrue,2\nFALSE,3\n")
    known = ("True", "False", "true")
    stored = DataSpec(path="t.csv", kind="tabular", columns=("on", "x"), categories={"on": known})
    assert read_like(stored, "t.csv", (4,)).values[:, :3].tolist() == [
        [0, 0, 1],
        [1, 0, 0],
        [0, 1, 0],
    ]


@pytest.mark.parametrize("keep", ["true", "True"])
@pytest.mark.parametrize("name", FORMS)
def test_rows_are_kept_by_a_truth_value_in_any_form(name: str, keep: str, in_tmp: Path) -> None:
    write_truths(name)
    rows, _ = read_to_train(DataSpec(path=name, labels="on", keep_labels=(keep,)))
    assert rows.values[:, 0].tolist() == [0, 2, 3, 5]
