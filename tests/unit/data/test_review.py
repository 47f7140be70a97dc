"""Rows whose meaning was once lost without a word, each found by a reviewer."""

from __future__ import annotations

import gzip
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from isthmus.data import collect, split_rows
from isthmus.data.storage.files import find_files
from isthmus.errors import DataError
from isthmus.spec import DataSpec
from isthmus.spec.secrets import with_password, without_password
from tests.reading import open_like, read_like, read_to_train

RNG = np.random.default_rng(0)


@pytest.mark.usefixtures("in_tmp")
@pytest.mark.parametrize("keep", [(1,), ("1",), ("1.0",)])
def test_one_empty_label_loses_no_other_row(keep: tuple[Any, ...]) -> None:
    rows = 300_000
    frame = pd.DataFrame({"a": RNG.normal(size=rows), "y": np.arange(rows) % 2.0})
    frame.loc[200_000, "y"] = np.nan
    frame.to_csv("t.csv", index=False)
    spec = DataSpec(path="t.csv", labels="y", keep_labels=keep)
    assert len(read_to_train(spec)[0]) == rows // 2


@pytest.mark.usefixtures("in_tmp")
def test_a_row_of_large_values_stays_in_its_part_when_rows_are_added() -> None:
    old = 2e7 + RNG.normal(scale=1.4, size=(2000, 2))
    np.save("old.npy", old)
    np.save("new.npy", np.concatenate([2e7 + 1 + RNG.normal(scale=1.5, size=(900, 2)), old]))
    before, spec = read_to_train(DataSpec(path="old.npy"))
    after, _ = read_to_train(DataSpec(path="new.npy"))
    parts = [split_rows(rows, spec, 0) for rows in (before, after)]
    assert set(parts[0].test + 900) <= set(parts[1].test)


@pytest.mark.usefixtures("in_tmp")
@pytest.mark.parametrize("fields", [{"categories": ("c",)}, {"thousands": ","}])
def test_large_values_are_told_apart_beside_categories_and_signs(fields: dict[str, Any]) -> None:
    frame = pd.DataFrame({"p": 2e7 + RNG.normal(scale=1.4, size=500), "c": [1, 2] * 250})
    frame.to_csv("t.csv", index=False)
    rows, _ = read_to_train(DataSpec(path="t.csv", **fields))
    assert len(np.unique(rows.values[:, 0])) == 500


@pytest.mark.usefixtures("in_tmp")
@pytest.mark.parametrize("ending", [".h5", ".zarr", ".npz"])
def test_the_array_that_was_trained_on_is_the_one_that_is_scored(ending: str) -> None:
    arrays = {"x": RNG.normal(size=(20, 2)), "clean": RNG.normal(100, 1, size=(20, 2))}
    path = f"t{ending}"
    if ending == ".h5":
        with pytest.importorskip("h5py").File(path, "w") as file:
            for name, array in arrays.items():
                file[name] = array
    elif ending == ".zarr":
        group = pytest.importorskip("zarr").open_group(path, mode="w")
        for name, array in arrays.items():
            group.create_array(name, data=array)
    else:
        np.savez(path, **arrays)
    trained, spec = read_to_train(DataSpec(path=path, key="clean"))
    assert np.array_equal(read_like(spec, path, (2,)).values, trained.values)


@pytest.mark.usefixtures("in_tmp")
@pytest.mark.parametrize("cell", ["1,5", "3,25", "1,2345", "12,34,567"])
def test_a_sign_that_does_not_stand_before_three_digits_is_no_thousand(cell: str) -> None:
    Path("t.csv").write_text(f'a;b\n1,000;1\n2;2\n"{cell}";3\n')
    with pytest.raises(DataError, match=rf'for example "{cell}", in row 2'):
        read_to_train(DataSpec(path="t.csv", thousands=",", delimiter=";"))


def test_one_sign_cannot_be_both() -> None:
    with pytest.raises(ValueError, match='thousands and decimal are both ","'):
        DataSpec(path="t.csv", thousands=",", decimal=",")


@pytest.mark.usefixtures("in_tmp")
def test_arrays_of_two_depths_have_one_white() -> None:
    Path("f").mkdir()
    pixels = RNG.integers(0, 256, size=(30, 8, 8))
    np.save("f/a.npy", pixels.astype(np.uint8))
    np.save("f/b.npy", (pixels * 257).astype(np.uint16))
    rows, _ = read_to_train(DataSpec(path="f"))
    assert rows.schema.white == 65535
    np.testing.assert_allclose(rows.values[:30], rows.values[30:])


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("postgresql://u:se/cret@h/db", "cret"),
        ("postgresql://u:sec@ret@h/db", "ret@"),
        ("postgresql://u:se?cret@h/db", "cret"),
        ("postgresql://u:secret@?cret@h/db", "cret"),
        ("postgresql://h/db?user=u&password=secret&sslmode=require", "secret"),
        ("postgresql://h/db?password=secret", "secret"),
        ("postgresql+psycopg2://u:secret@h:5432/db", "secret"),
    ],
)
def test_no_password_of_any_form_is_kept(url: str, secret: str) -> None:
    bare = without_password(url)
    assert secret not in bare
    assert with_password(bare) == url
    spec = DataSpec(path="t.csv", paired_path=url)
    assert secret not in spec.model_dump_json()
    assert without_password("s3://bucket/a:b@c.csv") == "s3://bucket/a:b@c.csv"


@pytest.mark.usefixtures("in_tmp")
def test_any_damage_of_a_compressed_csv_is_one_line() -> None:
    content = gzip.compress(
        pd.DataFrame(RNG.normal(size=(500, 3)), columns=list("abc")).to_csv(index=False).encode()
    )
    for trial in range(40):
        damaged = bytearray(content)
        for place in np.random.default_rng(trial).integers(12, len(content), size=3):
            damaged[place] ^= 0x55
        Path("t.csv.gz").write_bytes(damaged)
        with pytest.raises(DataError) as caught:
            read_to_train(DataSpec(path="t.csv.gz"))
        assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("in_tmp")
def test_a_list_may_mix_absolute_and_relative_paths() -> None:
    for name in ("a.csv", "b.csv"):
        Path(name).write_text("a\n1\n2\n")
    files = find_files([str(Path("a.csv").absolute()), "b.csv"], [".csv"])
    assert files.names == ("a.csv", "b.csv")


@pytest.mark.usefixtures("in_tmp")
def test_a_partition_without_a_value_is_missing_and_others_are_decoded() -> None:
    for year, place in (("2023", "a%20b"), ("__HIVE_DEFAULT_PARTITION__", "c")):
        folder = Path("t") / f"year={year}" / f"place={place}"
        folder.mkdir(parents=True)
        pd.DataFrame({"a": RNG.normal(size=5)}).to_parquet(folder / "x.parquet")
    rows, spec = read_to_train(DataSpec(path="t", partitions=True, missing="mean"))
    assert rows.schema.features == ("a", "year", "place=a b", "place=c")
    assert np.isnan(rows.values[:, 1]).sum() == 5
    Path("u/year=soon/place=c").mkdir(parents=True)
    pd.DataFrame({"a": [1.0]}).to_parquet("u/year=soon/place=c/x.parquet")
    with pytest.raises(DataError, match='folder year=soon, and "year" is a number'):
        collect(open_like(spec, "u", rows.schema.shape))


@pytest.mark.usefixtures("in_tmp")
@pytest.mark.parametrize(
    "query",
    [
        "SELECT a, b FROM r WHERE name = ':x'",
        "SELECT a, b FROM r WHERE name LIKE ':%'",
        "SELECT a, b FROM r -- all rows",
        "WITH kept AS (SELECT * FROM r) SELECT a, b FROM kept;",
    ],
)
def test_a_query_is_run_as_it_is_written(query: str) -> None:
    with sqlite3.connect("a#b 1.db") as database:
        pd.DataFrame({"a": range(9), "b": 1.5, "name": ":x"}).to_sql("r", database, index=False)
    assert len(read_to_train(DataSpec(path="sqlite:///a#b 1.db", query=query))[0]) == 9


@pytest.mark.usefixtures("in_tmp")
def test_a_query_names_the_first_value_that_is_no_number() -> None:
    with sqlite3.connect("t.db") as database:
        database.execute("CREATE TABLE r (a)")
        database.executemany("INSERT INTO r VALUES (?)", [(i,) for i in range(20)])
        database.execute("INSERT INTO r VALUES ('oops')")
    with pytest.raises(DataError, match=r'column "a" is not numeric \(for example "oops"'):
        read_to_train(DataSpec(path="sqlite:///t.db", query="SELECT a FROM r"))


@pytest.mark.parametrize("ending", ["npy", "npz", "h5"])
def test_a_folder_may_hold_more_files_than_may_be_open(ending: str, in_tmp: Path) -> None:
    Path("f").mkdir()
    for number in range(120):
        array = RNG.normal(size=(3, 2))
        path = f"f/{number}.{ending}"
        if ending == "h5":
            with pytest.importorskip("h5py").File(path, "w") as file:
                file["x"] = array
        elif ending == "npz":
            np.savez(path, x=array)
        else:
            np.save(path, array)
    program = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))\n"
        "from isthmus.data import read_rows; from isthmus.spec import DataSpec\n"
        "print(len(read_rows(DataSpec(path='f'))[0]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env=os.environ
    )
    assert done.stdout.strip() == "360", done.stderr


@pytest.mark.usefixtures("in_tmp")
def test_one_file_without_whole_rows_does_not_refuse_the_others() -> None:
    Path("f").mkdir()
    pd.DataFrame({"a": RNG.normal(size=20), "b": 1.0 * np.arange(20)}).to_csv(
        "f/a.csv", index=False
    )
    pd.DataFrame({"a": [np.nan] * 5, "b": 1.0}).to_csv("f/b.csv", index=False)
    assert len(read_to_train(DataSpec(path="f", missing="drop"))[0]) == 20


@pytest.mark.usefixtures("in_tmp")
def test_an_empty_line_of_a_table_of_one_column_is_a_missing_value() -> None:
    Path("t.csv").write_text("a\n1\n\n3\n4\n")
    with pytest.raises(DataError, match=r'column "a" has missing values, first in row 1'):
        read_to_train(DataSpec(path="t.csv"))


@pytest.mark.usefixtures("in_tmp")
def test_a_whole_number_is_one_category_however_it_is_written() -> None:
    frame = pd.DataFrame({"a": RNG.normal(size=60), "c": [1.0, 2.0, np.nan] * 20})
    frame.to_parquet("t.parquet")
    frame.to_csv("t.csv", index=False)
    rows, spec = read_to_train(DataSpec(path="t.parquet", categories=("c",)))
    again = read_like(spec, "t.csv", rows.schema.shape)
    np.testing.assert_allclose(again.values, rows.values, rtol=1e-6)
    assert again.values[:, 1:].any(axis=1).all()
