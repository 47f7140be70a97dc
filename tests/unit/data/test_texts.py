"""How numbers are written in a csv: headers, delimiters, decimal signs, missing values."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from isthmus.data import Provenance, UseOptions, open_input
from isthmus.data import rows as rows_module
from isthmus.data.columns.refusals import ColumnsRefused
from isthmus.data.tables import _csv_blocks
from isthmus.data.tables import csv as csv_module
from isthmus.errors import DataError
from isthmus.spec import DataSpec
from tests.reading import read_like, read_to_train, schema_of, write_back


def read(text: str, **fields: Any) -> Any:
    Path("t.csv").write_text(text, encoding=fields.get("encoding", "utf-8"))
    return read_to_train(DataSpec(path="t.csv", **fields))


@pytest.mark.usefixtures("in_tmp")
def test_a_first_line_of_numbers_is_no_header() -> None:
    text = "1.5,2,3\n4,5,7\n7,8,9\n1,0,1\n"
    with pytest.raises(DataError, match=r"holds only numbers \(1\.5, 2, 3\).*data\.header: none"):
        read(text)
    rows, spec = read(text, header="none")
    assert rows.values[0].tolist() == [1.5, 2, 3]
    assert spec.columns == ("f0", "f1", "f2")


@pytest.mark.usefixtures("in_tmp")
@pytest.mark.parametrize(
    ("first", "rest"),
    [
        ("10.5,,11.2", "9.5,8,10.1"),
        ("10.5,NA,11.2", "9.5,8,10.1"),
        ("10.5;?;11,2", "9.5;8;10,1"),
        ("8,60;12,68;11,16", "7,60;11,68;10,16"),
        ('"10,251","1.97%","-"', '"11,300","2.01%",3'),
    ],
)
def test_a_first_line_of_numbers_and_missing_ones_is_no_header(first: str, rest: str) -> None:
    with pytest.raises(DataError, match=r"holds only numbers .*data\.header: none"):
        read("\n".join([first, *[rest] * 5]))


@pytest.mark.usefixtures("in_tmp")
def test_a_header_of_counted_columns_behind_the_index_of_pandas_is_a_header() -> None:
    pd.DataFrame(np.random.default_rng(0).normal(size=(9, 3))).to_csv("p.csv")
    rows, spec = read_to_train(DataSpec(path="p.csv"))
    assert spec.columns == ("0", "1", "2")
    assert len(rows.values) == 9


@pytest.mark.usefixtures("in_tmp")
@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_decimal_commas_are_not_taken_for_delimiters(delimiter: str) -> None:
    lines = ["8,60;12,68;11,16", "7,5;11,2;9,1", "5,1;1,25;2,0"]
    text = "\n".join(lines).replace(";", delimiter)
    with pytest.raises(ColumnsRefused, match="\n    decimal: ','"):
        read(text, header="none")
    rows, spec = read(text, header="none", decimal=",")
    assert spec.columns == ("f0", "f1", "f2")
    assert rows.values[0].tolist() == pytest.approx([8.6, 12.68, 11.16])


@pytest.mark.usefixtures("in_tmp")
def test_a_table_without_a_header_names_the_row_of_a_text() -> None:
    with pytest.raises(DataError, match=r'column "f1" is not numeric \(for example "x", in row 2'):
        read("1,2\n3,4\n5,x\n", header="none")


@pytest.mark.usefixtures("in_tmp")
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_a_delimiter_within_quotes_does_not_count(delimiter: str) -> None:
    others = ",;|".replace(delimiter, "")
    header = delimiter.join([f'"flow{others} l/s"', f'"level{others} m"'])
    lines = [delimiter.join([str(row), str(row % 5)]) for row in range(20)]
    rows, spec = read("\n".join([header, *lines]))
    assert spec.columns == (f"flow{others} l/s", f"level{others} m")
    assert rows.values[7].tolist() == [7, 2]


@pytest.mark.usefixtures("in_tmp")
@pytest.mark.parametrize(
    ("cells", "advice", "fields", "expected"),
    [
        (("1,97", "3,5"), r"set data\.decimal: ','", {"decimal": ","}, [1.97, 3.5]),
        (("10,872", "1,500.5"), r"set data\.thousands: ','", {"thousands": ","}, [10872, 1500.5]),
        (
            ("1.234,5", "12.000"), r"data\.decimal: ',' and data\.thousands: '\.'",
            {"decimal": ",", "thousands": "."}, [1234.5, 12000],
        ),
        (("?", "2"), r"missing_values: \['\?'\]", {"missing_values": ["?"]}, [np.nan, 2]),
        (("-", "2"), r"missing_values: \['-'\]", {"missing_values": ["-"]}, [np.nan, 2]),
        (("1.97%", "2"), "without the sign %", None, None),
    ],
)  # fmt: skip
def test_how_numbers_are_written_is_recognised(
    cells: tuple[str, str], advice: str, fields: dict[str, Any] | None, expected: list[float] | None
) -> None:
    text = "\n".join(["a;b", *[f"{i};{i % 3}" for i in range(9)], f"{cells[0]};1", f"{cells[1]};2"])
    with pytest.raises(DataError, match=advice) as caught:
        read(text)
    assert f'(for example "{cells[0]}", in row 9' in str(caught.value)
    if fields is not None and expected is not None:
        rows, _ = read(text, missing="mean", **fields)
        np.testing.assert_allclose(rows.values[-2:, 0], expected, rtol=1e-6)


@pytest.mark.parametrize("output", ["o.csv", "o.tsv", "o.csv.gz"])
@pytest.mark.parametrize(
    "fields",
    [
        {"decimal": ","},
        {"decimal": ",", "thousands": "."},
        {"decimal": ",", "delimiter": ";"},
        {"header": "none"},
        {"encoding": "utf-16"},
        {"encoding": "latin-1", "header": "none", "decimal": ","},
    ],
    ids=str,
)
def test_a_pair_reads_the_csv_that_it_denoised(
    fields: dict[str, Any], output: str, in_tmp: Path, provenance: Provenance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(rows_module, "_NUMBERS_IN_A_BLOCK", 20)
    header = [] if "header" in fields else ["größe;b;note"]
    sign = fields.get("decimal", ".")
    lines = [f"{i}.25;{i % 3}.5;ö".replace(".", sign) for i in range(30)]
    columns = ("f0", "f1") if "header" in fields else ("größe", "b")
    rows, spec = read("\n".join([*header, *lines, ""]), columns=columns, **fields)
    values = rows.values * np.array([1234.5, 1e-7], dtype=np.float32)
    write_back(rows, values, in_tmp / output, provenance)
    again = read_like(spec, output, (2,))
    np.testing.assert_allclose(again.values, values, rtol=1e-6)
    assert again.schema.features == columns


@pytest.mark.usefixtures("in_tmp")
def test_the_decimal_sign_is_not_taken_for_the_delimiter() -> None:
    rows, spec = read("1,5;2,5;0,5\n2,5;3,5;1,5\n4,5;7,5;0,5\n", header="none", decimal=",")
    assert spec.columns == ("f0", "f1", "f2")
    assert rows.values[1].tolist() == [2.5, 3.5, 1.5]


def test_a_decimal_sign_that_is_the_delimiter_too_is_quoted(
    in_tmp: Path, provenance: Provenance
) -> None:
    values = pd.DataFrame({"a": [1.5, 2.5, 4.5], "b": [7.25, 5.5, 6.5]})
    values.to_csv("t.csv", index=False, decimal=",", sep=";")
    values.to_parquet("t.parquet")
    _, spec = read_to_train(DataSpec(path="t.csv", decimal=","))
    rows = read_like(spec, "t.parquet", (2,))
    write_back(rows, rows.values, in_tmp / "o.csv", provenance)
    assert Path("o.csv").read_text().splitlines()[1] == '"1,5","7,25"'
    assert np.array_equal(read_like(spec, "o.csv", (2,)).values, values.to_numpy())


def test_a_text_that_the_encoding_of_the_results_lacks_is_named(
    in_tmp: Path, provenance: Provenance
) -> None:
    _, spec = read("a;b\n1;2\n3;4\n5;7\n", encoding="latin-1")
    pd.DataFrame({"a": [1.5, 2.5], "b": [7.25, 5.5], "n": ["x", "€"]}).to_parquet("t.parquet")
    rows = read_like(spec, "t.parquet", (2,))
    with pytest.raises(DataError, match=r'data\.encoding=latin-1 has no "€"'):
        write_back(rows, rows.values, in_tmp / "o.csv", provenance)
    assert not Path("o.csv").exists()


@pytest.mark.usefixtures("in_tmp")
def test_texts_of_another_encoding_are_read_if_it_is_named() -> None:
    text = "größe,b\n1,2\n3,4\n5,7\n"
    Path("t.csv").write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match=r"not UTF-8 text.*set data\.encoding \(latin-1"):
        read_to_train(DataSpec(path="t.csv"))
    assert read(text, encoding="latin-1")[1].columns == ("größe", "b")


def test_an_encoding_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match='no encoding "klingon"; use utf-8'):
        DataSpec(path="t.csv", encoding="klingon")


@pytest.mark.usefixtures("in_tmp")
def test_an_index_that_was_written_twice_is_no_feature(caplog: pytest.LogCaptureFixture) -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0, 4.0, 8.0], "b": [1.0, 3.0, 2.0, 5.0]})
    frame.to_csv("once.csv")
    pd.read_csv("once.csv").to_csv("twice.csv")
    pd.read_csv("twice.csv").to_csv("thrice.csv")
    rows, spec = read_to_train(DataSpec(path="thrice.csv"))
    assert spec.columns == ("a", "b")
    assert '"Unnamed: 0.1", an index, is left out' in caplog.text
    frame.set_index("a").to_parquet("t.parquet")
    rows, spec = read_to_train(DataSpec(path="t.parquet"))
    assert spec.columns == ("b",)
    assert json.loads(pq.read_schema("t.parquet").metadata[b"pandas"])["index_columns"] == ["a"]
    assert len(rows) == 4


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".npy"])
@pytest.mark.parametrize("level", [2e7, 1e8])
def test_large_values_that_vary_little_are_told_apart(
    ending: str, level: float, in_tmp: Path, provenance: Provenance, caplog: Any
) -> None:
    values = level + np.random.default_rng(0).normal(scale=1.4, size=(500, 2))
    values[:, 1] -= level
    frame = pd.DataFrame(values, columns=["pressure", "rest"])
    match ending:
        case ".csv":
            frame.to_csv("t.csv", index=False)
        case ".parquet":
            frame.to_parquet("t.parquet")
        case _:
            np.save("t.npy", values)
    rows, _ = read_to_train(DataSpec(path=f"t{ending}"))
    assert len(np.unique(rows.values[:, 0])) == 500
    assert "values are large and vary little" in caplog.text
    assert rows.schema.centre is not None
    assert rows.schema.centre[1] == 0
    np.testing.assert_allclose(rows.values[:, 0] + rows.schema.centre[0], values[:, 0], atol=1e-5)
    write_back(rows, rows.values, in_tmp / f"o{ending}", provenance)
    read = {".csv": pd.read_csv, ".parquet": pd.read_parquet, ".npy": np.load}[ending]
    np.testing.assert_allclose(np.asarray(read(f"o{ending}")), values, rtol=1e-12, atol=1e-6)


@pytest.mark.parametrize("header", ["t,a", '"t","a"'], ids=["plain", "in quotes"])
@pytest.mark.parametrize("ending", [".csv", ".csv.gz"])
def test_line_breaks_in_quotes_survive_where_one_block_ends_and_the_next_begins(
    ending: str, header: str, in_tmp: Path, monkeypatch: pytest.MonkeyPatch, provenance: Provenance
) -> None:
    monkeypatch.setattr(csv_module, "_BLOCK_BYTES", 1000)
    texts = [f"first line\nsecond line\nof {row}" for row in range(200)]
    cells = [f'"{text}",{row}' for row, text in enumerate(texts)]
    content = "\n".join([header, *cells]) + "\n"
    (in_tmp / f"t{ending}").write_bytes(packed(content, ending))
    rows, _ = read_to_train(DataSpec(path=f"t{ending}", columns=("a",)))
    assert rows.values.ravel().tolist() == list(range(200))
    write_back(rows, rows.values, in_tmp / "o.csv", provenance)
    assert pd.read_csv("o.csv")["t"].tolist() == texts


@pytest.mark.parametrize("ending", [".csv", ".csv.gz"])
def test_a_line_break_in_the_name_of_a_column_survives(ending: str, in_tmp: Path) -> None:
    content = '"flow\nl/s","b"\n' + "".join(f"{row},{row % 3}\n" for row in range(9))
    (in_tmp / f"t{ending}").write_bytes(packed(content, ending))
    rows, spec = read_to_train(DataSpec(path=f"t{ending}", columns=("flow\nl/s",)))
    assert spec.columns == ("flow\nl/s",)
    assert rows.values.ravel().tolist() == list(range(9))


def test_rows_that_are_longer_than_a_block_in_the_cache_are_read(
    in_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_csv_blocks, "_CACHED_BYTES", 100)
    values = np.arange(120.0).reshape(3, 40) ** 2
    pd.DataFrame(values, columns=[f"sensor_{n}" for n in range(40)]).to_csv("t.csv", index=False)
    rows, _ = read_to_train(DataSpec(path="t.csv"))
    assert rows.values.tolist() == values.tolist()


def test_a_row_that_is_much_longer_than_the_first_ones_is_read_with_the_rows_around_it(
    in_tmp: Path,
) -> None:
    note = {100_000: "x" * (5 << 19)}
    lines = [f"{row},{note.get(row, 'short')}" for row in range(200_000)]
    (in_tmp / "t.csv").write_text("\n".join(["a,note", *lines]) + "\n", encoding="utf-8")
    rows, _ = read_to_train(DataSpec(path="t.csv", columns=("a",)))
    assert rows.values.ravel().tolist() == list(range(200_000))


@pytest.mark.parametrize("ending", [".csv", ".csv.gz"])
def test_a_row_that_is_too_long_for_a_csv_is_named_by_its_line(ending: str, in_tmp: Path) -> None:
    content = f"a,note\n1,short\n2,{'x' * (9 << 20)}\n3,short\n"
    (in_tmp / f"t{ending}").write_bytes(packed(content, ending))
    with pytest.raises(DataError) as refused:
        read_to_train(DataSpec(path=f"t{ending}", columns=("a",)))
    assert str(refused.value) == (
        f"t{ending}: line 3 has more than 4 MiB, which is too long for a row of a csv; shorten its "
        "texts, or convert the file to parquet"
    )


def test_a_quote_that_is_not_closed_is_told_where_it_makes_a_row_of_all_lines(in_tmp: Path) -> None:
    rest = "2,short\n" * (9 << 17)
    (in_tmp / "t.csv").write_text(f'a,note\n1,"never closed\n{rest}', encoding="utf-8")
    with pytest.raises(DataError, match="of several lines has more than 4 MiB; close the quote"):
        read_to_train(DataSpec(path="t.csv", columns=("a",)))


def packed(content: str, ending: str) -> bytes:
    return gzip.compress(content.encode()) if ending.endswith(".gz") else content.encode()


HEADLESS = "".join(f"{row},{row % 5},{row % 3}\n" for row in range(20))


def spec_without_header() -> DataSpec:
    Path("t.csv").write_text(HEADLESS)
    return read_to_train(DataSpec(path="t.csv", header="none"))[1]


@pytest.mark.usefixtures("in_tmp")
@pytest.mark.parametrize("header", ["c,b,a", '"c","b","a"', "f2,f1,f0"])
def test_a_header_is_refused_where_columns_are_told_by_their_place(header: str) -> None:
    spec = spec_without_header()
    Path("new.csv").write_text(f"{header}\n1,2,3\n4,5,6\n")
    options = UseOptions(set_aside=True)
    schema = schema_of(spec, (3,))
    with pytest.raises(
        DataError, match=r"^new\.csv: the first line looks like a header \("
    ) as told:
        list(open_input(spec, "new.csv", schema, options).blocks())
    assert "\n" not in str(told.value)
    with pytest.raises(DataError, match="looks like a header"):
        read_to_train(DataSpec(path="new.csv", header="none"))


@pytest.mark.usefixtures("in_tmp")
@pytest.mark.parametrize(
    "first",
    ["1,x,3", "flow l/s,level m,-", "error,error,error", "?,x,y", "a,b,c,d", "1.2.3,4.5.6,7.8.9"],
)
def test_a_first_row_that_cannot_be_read_is_set_aside_and_is_no_header(first: str) -> None:
    spec = spec_without_header().model_copy(update={"columns": ("f0", "f1", "f2")})
    Path("new.csv").write_text(
        f"7,8,9\n{first}\n4,5,6\n" if first == "a,b,c,d" else f"{first}\n1,2,3\n4,5,6\n"
    )
    source = open_input(spec, "new.csv", schema_of(spec, (3,)), UseOptions(set_aside=True))
    blocks = list(source.blocks())
    assert sum(len(block.values) for block in blocks) == 2
    assert [each.row for block in blocks for each in block.rejected] == [int(first == "a,b,c,d")]


@pytest.mark.usefixtures("in_tmp")
def test_a_table_without_a_header_may_have_a_long_text_in_a_column_that_is_left_out() -> None:
    lines = [f"{row},{row % 5},{'y' * (200_000 if row == 1 else 5)}\n" for row in range(20)]
    Path("t.csv").write_text("".join(lines))
    rows, _ = read_to_train(DataSpec(path="t.csv", header="none", exclude=("f2",)))
    assert rows.values.shape == (20, 2)
