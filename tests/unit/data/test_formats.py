"""Every way in which the same rows may come: formats, compressions, lists, globs, partitions."""

from __future__ import annotations

import bz2
import gzip
import json
import logging
import sqlite3
import zipfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather as feather
import pytest

from isthmus.data import Provenance, collect, open_files
from isthmus.data.opening import locate
from isthmus.errors import DataError
from isthmus.spec import DataSpec
from tests.reading import open_like, read_like, read_to_train, write_back

RNG = np.random.default_rng(0)
VALUES = RNG.normal(size=(60, 3)).astype(np.float32)
FRAME = pd.DataFrame(VALUES, columns=list("abc"))
TEXT = FRAME.to_csv(index=False).encode()


def values_of(**fields: Any) -> np.ndarray[Any, Any]:
    return read_to_train(DataSpec(**fields))[0].values


def compressed(name: str) -> None:
    compress = {"gz": gzip.compress, "bz2": bz2.compress}.get(name.rpartition(".")[2])
    content = compress(TEXT) if compress else pa.compress(TEXT, codec="zstd", asbytes=True)
    Path(name).write_bytes(content)


@pytest.mark.parametrize(
    "name",
    ["t.csv", "t.csv.gz", "t.csv.bz2", "t.csv.zst", "t.parquet", "t.feather", "t.jsonl", "t.h5",
     "t.zarr", "t.npy", "t.npz"],
)  # fmt: skip
def test_the_same_rows_come_from_every_format(name: str, in_tmp: Path) -> None:
    match name.partition(".")[2]:
        case "csv":
            Path(name).write_bytes(TEXT)
        case "parquet":
            FRAME.to_parquet(name)
        case "feather":
            feather.write_feather(FRAME, name)
        case "jsonl":
            FRAME.to_json(name, orient="records", lines=True, double_precision=15)
        case "h5":
            h5py = pytest.importorskip("h5py")
            with h5py.File(name, "w") as file:
                file["group/x"] = VALUES
        case "zarr":
            pytest.importorskip("zarr").save(name, VALUES)
        case "npy":
            np.save(name, VALUES)
        case "npz":
            np.savez_compressed(name, x=VALUES)
        case _:
            compressed(name)
    np.testing.assert_allclose(values_of(path=name), VALUES, rtol=1e-6)


@pytest.mark.parametrize("ending", [".csv.gz", ".feather", ".parquet"])
def test_results_are_written_in_the_form_of_the_input(
    ending: str, in_tmp: Path, provenance: Provenance
) -> None:
    if ending == ".csv.gz":
        compressed("t.csv.gz")
    elif ending == ".feather":
        feather.write_feather(FRAME, "t.feather")
    else:
        FRAME.to_parquet("t.parquet")
    rows, _ = read_to_train(DataSpec(path=f"t{ending}"))
    write_back(rows, rows.values + 1, in_tmp / f"o{ending}", provenance)
    read = {".csv.gz": pd.read_csv, ".feather": feather.read_feather, ".parquet": pd.read_parquet}
    np.testing.assert_allclose(read[ending](f"o{ending}").to_numpy(), VALUES + 1, rtol=1e-5)


# More rows than the first block of a file holds, by which pyarrow tells the types.
LATER = 60_000


def write_jsonl(first: dict[str, Any], then: dict[str, Any], name: str = "t.jsonl") -> None:
    text = f"{json.dumps(first)}\n" * LATER + f"{json.dumps(then)}\n"
    content = text.encode()
    Path(name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)


@pytest.mark.parametrize("name", ["t.jsonl", "t.jsonl.gz"])
def test_numbers_of_json_lines_may_be_whole_or_absent_at_first(name: str, in_tmp: Path) -> None:
    write_jsonl({"a": 1, "b": None, "c": 2.5}, {"a": 0.5, "b": 7, "c": 3}, name)
    values = values_of(path=name, missing="mean")
    assert len(values) == LATER + 1
    assert values[-1].tolist() == [0.5, 7, 3]
    assert values[0, 0] == 1
    assert np.isnan(values[0, 1])


@pytest.mark.parametrize("value", ["x", 1, 2.5])
def test_labels_of_json_lines_may_be_absent_at_first(value: object, in_tmp: Path) -> None:
    write_jsonl({"a": 1.5, "label": None}, {"a": 2.5, "label": value})
    rows, _ = read_to_train(DataSpec(path="t.jsonl", labels="label"))
    assert rows.labels is not None
    assert rows.labels[-1] == value


def test_dates_of_json_lines_are_carried_as_they_are_written(in_tmp: Path) -> None:
    write_jsonl({"a": 1.5, "t": "2024-01-01T00:00:00"}, {"a": 2, "t": "n/a"})
    source = open_like(DataSpec(path="t.jsonl", kind="tabular", columns=("a",)), "t.jsonl", (1,))
    carried = [block.carried for block in source.blocks(carry=True)]
    assert carried[0] is not None
    assert carried[-1] is not None
    assert carried[0]["t"][0].as_py() == "2024-01-01T00:00:00"
    assert carried[-1]["t"][-1].as_py() == "n/a"


@pytest.mark.parametrize("rows_before", [1, LATER], ids=["first block", "later block"])
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"a": "12,5", "b": 1}', '"a" is not numeric .for example "12,5", in row {row}, counted'),
        ('{"a": true, "b": 1}', '"a" holds numbers and then true in row {row}, counted from 0'),
        ('{"a": 1, "b": [1]}', r'"b" holds numbers and then \[1\] in row {row}, counted from 0'),
        ('{"a": 1, "b": ', "is damaged or no jsonl file .no object in row {row}, counted from 0"),
    ],
    ids=["text", "truth", "list", "torn"],
)
def test_the_first_bad_value_of_json_lines_is_told_with_its_row_and_column(
    line: str, message: str, rows_before: int, in_tmp: Path
) -> None:
    Path("t.jsonl").write_text('{"a": 1, "b": 2}\n' * rows_before + f"{line}\n")
    with pytest.raises(DataError, match=message.replace("{row}", str(rows_before))) as caught:
        values_of(path="t.jsonl")
    assert "\n" not in str(caught.value)


def test_a_name_of_json_lines_that_is_not_utf_8_is_told_in_one_line(in_tmp: Path) -> None:
    Path("t.jsonl").write_bytes(b'{"a": 1, "b\x9e": 2}\n{"a": 2, "b\x9e": 3}\n')
    with pytest.raises(
        DataError, match=r"^t\.jsonl: has a name or a text that is not UTF-8; write"
    ):
        values_of(path="t.jsonl")


def test_whole_numbers_that_are_read_as_texts_stay_whole(in_tmp: Path) -> None:
    write_jsonl({"a": 1.5, "id": 2**60 + 1}, {"a": 2, "id": 0.5})
    spec = DataSpec(path="t.jsonl", kind="tabular", columns=("a",))
    blocks = open_like(spec, "t.jsonl", (1,)).blocks(carry=True)
    with pytest.raises(DataError, match=f'"id" holds whole numbers and then 0.5 in row {LATER}'):
        list(blocks)


@pytest.fixture
def folder(in_tmp: Path) -> Path:
    """The same rows in four files of two years."""
    for number in range(4):
        part = FRAME.iloc[15 * number : 15 * (number + 1)]
        place = in_tmp / "t" / f"year={2023 + number // 2}"
        place.mkdir(parents=True, exist_ok=True)
        part.to_parquet(place / f"part-{number}.parquet", index=False)
    return in_tmp / "t"


def test_a_folder_a_glob_and_a_list_are_one_table(folder: Path) -> None:
    assert np.array_equal(values_of(path="t"), VALUES)
    assert np.array_equal(values_of(path="t/year=2023/*.parquet"), VALUES[:30])
    files = sorted(str(path) for path in folder.rglob("*.parquet"))
    assert np.array_equal(values_of(path=files[::-1]), np.concatenate([
        VALUES[45:], VALUES[30:45], VALUES[15:30], VALUES[:15]
    ]))  # fmt: skip


@pytest.mark.usefixtures("folder")
def test_the_folders_of_a_partitioned_table_are_columns_if_asked_for() -> None:
    rows, spec = read_to_train(DataSpec(path="t", partitions=True))
    assert spec.columns == ("a", "b", "c", "year")
    assert rows.values[:, 3].tolist() == [2023] * 30 + [2024] * 30
    rows, spec = read_to_train(DataSpec(path="t", partitions=True, categories=("year",)))
    assert rows.schema.features == ("a", "b", "c", "year=2023", "year=2024")


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("has_categories", [False, True], ids=["number", "category"])
@pytest.mark.parametrize(
    ("path", "rows"),
    [
        ("t", slice(None)),
        ("t/year=2024", slice(30, None)),
        ("t/year=2024/part-3.parquet", slice(45, None)),
        ("t/year=2024/*.parquet", slice(30, None)),
        (("t/year=2023/part-1.parquet", "t/year=2024"), slice(15, None)),
        (("t/year=2024/part-2.parquet", "t/year=2024/part-3.parquet"), slice(30, None)),
    ],
    ids=["tree", "folder", "file", "glob", "list", "list of one partition"],
)
def test_a_partition_is_read_alone_for_a_pair_that_was_trained_on_all(
    path: str | tuple[str, ...], rows: slice, has_categories: bool
) -> None:
    categories = ("year",) if has_categories else ()
    trained, spec = read_to_train(DataSpec(path="t", partitions=True, categories=categories))
    source = open_files(spec, locate(path), trained.schema)
    assert np.array_equal(collect(source).values, trained.values[rows])


@pytest.mark.usefixtures("folder")
def test_a_single_file_of_a_partitioned_table_is_trained_on_with_the_keys_above_it() -> None:
    rows, spec = read_to_train(DataSpec(path="t/year=2024/part-3.parquet", partitions=True))
    assert spec.columns == ("a", "b", "c", "year")
    assert rows.values[:, 3].tolist() == [2024] * 15


def test_a_folder_above_the_table_is_no_key_and_a_flat_file_is_told_so(folder: Path) -> None:
    runs = folder.parent / "run=5"
    runs.mkdir()
    folder.rename(runs / "t")
    _, spec = read_to_train(DataSpec(path="run=5/t", partitions=True))
    assert spec.columns == ("a", "b", "c", "year")
    _, spec = read_to_train(DataSpec(path="run=5/t/year=2024/part-3.parquet", partitions=True))
    assert spec.columns == ("a", "b", "c", "year")
    FRAME.to_parquet("flat.parquet")
    with pytest.raises(DataError, match="lies in no folder such as year=2024; leave out"):
        read_to_train(DataSpec(path="flat.parquet", partitions=True))
    with pytest.raises(DataError, match='no column "year", which the model was trained on'):
        open_like(spec, "flat.parquet", (4,))
    FRAME.assign(year=2025).to_parquet("flat.parquet")
    assert read_like(spec, "flat.parquet", (4,)).values[0, 3] == 2025


@pytest.mark.usefixtures("folder")
def test_results_of_a_folder_are_a_folder_of_the_same_files(
    in_tmp: Path, provenance: Provenance
) -> None:
    rows, _ = read_to_train(DataSpec(path="t"))
    assert rows.index["file"][0] == "year=2023/part-0.parquet"
    write_back(rows, rows.values * 2, in_tmp / "o", provenance)
    again = values_of(path="o")
    assert np.array_equal(again, VALUES * 2)
    assert (in_tmp / "o" / "pair.json").exists()


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".ndjson", ".pq", ".arrow", ".csv.gz"])
def test_each_file_of_a_folder_is_written_in_its_own_format(
    ending: str, in_tmp: Path, provenance: Provenance
) -> None:
    (in_tmp / "t").mkdir()
    for number in range(2):
        frame = FRAME.iloc[30 * number : 30 * (number + 1)].assign(note="ä, b", n=range(30))
        place = f"t/{number}{ending}"
        match ending.split(".")[1]:
            case "jsonl" | "ndjson":
                frame.to_json(place, orient="records", lines=True, double_precision=15)
            case "csv":
                frame.to_csv(place, index=False)
            case "pq":
                frame.to_parquet(place)
            case _:
                feather.write_feather(frame, place)
    rows, spec = read_to_train(DataSpec(path="t", columns=("a", "b", "c")))
    write_back(rows, rows.values * 2, in_tmp / "o", provenance)
    again, _ = read_to_train(spec.model_copy(update={"path": "o"}))
    np.testing.assert_allclose(again.values, VALUES * 2, rtol=1e-6)
    if "json" in ending:
        found = pd.read_json(f"o/1{ending}", lines=True)
        assert found["note"].tolist() == ["ä, b"] * 30
        assert found["n"].tolist() == list(range(30))
        assert sorted(
            path.name for path in (in_tmp / "o").iterdir() if "pair" not in path.name
        ) == [f"0{ending}", f"1{ending}"]


@pytest.mark.parametrize(
    "path",
    ["z", "z/*.zarr", "z/**", "*/?.zarr", ["z/a.zarr", "z/b.zarr"]],
    ids=["folder", "glob", "all below", "glob of folders", "list"],
)
def test_folders_that_are_arrays_are_found_as_files_are(
    path: str | list[str], in_tmp: Path
) -> None:
    zarr = pytest.importorskip("zarr")
    for name, part in (("a", VALUES[:30]), ("b", VALUES[30:])):
        zarr.open_group(f"z/{name}.zarr", mode="w").create_array("x", data=part)
    assert np.array_equal(values_of(path=path), VALUES)


@pytest.mark.parametrize("path", ["t.parquet", "f", "*.parquet/*", "f/*/*.parquet"])
def test_a_folder_of_files_may_be_called_as_a_file(path: str, in_tmp: Path) -> None:
    for folder in ("t.parquet", "f/t.parquet"):
        (in_tmp / folder).mkdir(parents=True)
        for number in range(2):
            part = FRAME.iloc[30 * number : 30 * (number + 1)]
            part.to_parquet(f"{folder}/part-{number}.parquet", index=False)
    assert np.array_equal(values_of(path=path), VALUES)


@pytest.mark.parametrize("path", ["s/t.parquet", "s", "s/*.parquet", "s/**/*.parquet", "s/*"])
def test_a_partitioned_folder_may_be_called_as_a_file(path: str, in_tmp: Path) -> None:
    for number in range(2):
        folder = in_tmp / f"s/t.parquet/year={2023 + number}"
        folder.mkdir(parents=True)
        part = FRAME.iloc[30 * number : 30 * (number + 1)]
        part.to_parquet(folder / "part-0.parquet", index=False)
    rows = values_of(path=path, partitions=True)
    assert np.array_equal(rows[:, :3], VALUES)
    assert np.array_equal(np.unique(rows[:, 3]), [2023, 2024])


def test_a_glob_that_matches_files_passes_over_folders_with_other_names(in_tmp: Path) -> None:
    (in_tmp / "t/old").mkdir(parents=True)
    for name in ("t/a.parquet", "t/old/b.parquet"):
        FRAME.to_parquet(name, index=False)
    assert np.array_equal(values_of(path="t/*"), VALUES)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("path", ["g.zarr", "*.zarr"])
def test_an_array_that_is_a_folder_is_one_whatever_lies_in_it(
    version: Literal[2, 3], path: str, in_tmp: Path
) -> None:
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group("g.zarr", mode="w", zarr_format=version)
    group.create_array("x.npy", data=VALUES)
    Path("g.zarr/preview.png").write_bytes(b"x")
    assert np.array_equal(values_of(path=path), VALUES)


def test_a_missing_value_is_null_in_jsonl(in_tmp: Path, provenance: Provenance) -> None:
    FRAME.assign(a=np.where(FRAME.index % 7 == 3, np.nan, FRAME["a"])).to_json(
        "t.jsonl", orient="records", lines=True
    )
    rows, _ = read_to_train(DataSpec(path="t.jsonl", missing="mean"))
    write_back(rows, rows.values, in_tmp / "o.jsonl", provenance)
    lines = [json.loads(line) for line in Path("o.jsonl").read_text().splitlines()]
    assert [line["a"] is None for line in lines] == [i % 7 == 3 for i in range(60)]
    assert "NaN" not in Path("o.jsonl").read_text()


def test_a_folder_of_what_cannot_be_written_is_refused_before_the_work(
    in_tmp: Path, provenance: Provenance
) -> None:
    h5py = pytest.importorskip("h5py")
    (in_tmp / "t").mkdir()
    for number in range(2):
        with h5py.File(f"t/{number}.h5", "w") as file:
            file["x"] = VALUES
    rows, _ = read_to_train(DataSpec(path="t"))
    assert rows.source is not None
    with pytest.raises(DataError, match=r'^o/1\.h5: ending "\.h5"; .* can be written as \.npz'):
        rows.source.check_output(Path("o"))


def test_folders_that_a_link_leads_to_are_read_once(folder: Path, in_tmp: Path) -> None:
    elsewhere = in_tmp / "elsewhere"
    (folder / "year=2023").rename(elsewhere)
    (folder / "year=2023").symlink_to(elsewhere)
    (folder / "again").symlink_to(folder / "year=2024")  # in the folder under its own name
    (elsewhere / "round").symlink_to(folder)  # and so on for ever
    rows, _ = read_to_train(DataSpec(path="t"))
    assert np.array_equal(rows.values, VALUES)
    assert set(rows.index["file"]) == {
        f"year={2023 + number // 2}/part-{number}.parquet" for number in range(4)
    }


def test_files_that_are_not_read_are_counted_in_one_warning(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "notes.txt").write_text("hello")
    (folder / "scan.dcm").write_text("hello")
    (folder / "other.txt").write_text("hello")
    with caplog.at_level(logging.WARNING):
        values_of(path="t")
    (line,) = [message for message in caplog.messages if "left out" in message]
    assert line == "t: 3 file(s) are left out, which are not read (2 .txt, 1 .dcm)"


def test_a_folder_of_hugging_face_s_datasets_is_a_table(
    in_tmp: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Path("t").mkdir()
    for number in range(2):
        table = pa.Table.from_pandas(FRAME.iloc[30 * number : 30 * (number + 1)])
        with (
            pa.OSFile(f"t/data-{number:05}-of-00002.arrow", "wb") as file,
            pa.ipc.new_stream(file, table.schema) as stream,
        ):
            stream.write_table(table)
    Path("t/dataset_info.json").write_text("{}")
    Path("t/state.json").write_text("{}")
    assert np.array_equal(values_of(path="t"), VALUES)
    assert "left out, which" not in caplog.text


def test_a_query_to_a_database_is_a_table(in_tmp: Path) -> None:
    with sqlite3.connect("plant.db") as database:
        FRAME.to_sql("readings", database, index=False)
    spec = DataSpec(path="sqlite:///plant.db", query="SELECT c, a FROM readings WHERE b > 0")
    rows, settled = read_to_train(spec)
    kept = VALUES[VALUES[:, 1] > 0]
    np.testing.assert_allclose(rows.values, kept[:, [2, 0]], rtol=1e-6)
    assert settled.columns == ("c", "a")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "say what to read with data.query: SELECT"),
        ({"query": "SELECT * FROM elsewhere"}, "the database says: no such table: elsewhere"),
        ({"query": "DELETE FROM readings"}, "starts with SELECT, .* it starts with DELETE"),
        (
            {"query": "WITH b AS (SELECT 1) DELETE FROM readings"},
            "the database says: attempt to write a readonly",
        ),
        ({"query": "SELECT a, b FROM readings; DELETE FROM readings"}, "takes one statement"),
        ({"query": "VACUUM INTO 'copy.db'"}, "it starts with VACUUM"),
    ],
)
def test_what_a_database_refuses_is_one_line_and_nothing_is_changed(
    fields: dict[str, str], message: str, in_tmp: Path
) -> None:
    with sqlite3.connect("plant.db") as database:
        FRAME.to_sql("readings", database, index=False)
    with pytest.raises(DataError, match=message) as caught:
        read_to_train(DataSpec(path="sqlite:///plant.db", **fields))
    assert "\n" not in str(caught.value)
    assert sqlite3.connect("plant.db").execute("SELECT COUNT(*) FROM readings").fetchone() == (60,)


def test_a_database_that_is_not_there_is_not_made(in_tmp: Path) -> None:
    with pytest.raises(DataError, match=r"no such file: none\.db"):
        read_to_train(DataSpec(path="sqlite:///none.db", query="SELECT 1"))
    assert not Path("none.db").exists()


@pytest.mark.parametrize(
    "password", ["sec/r@et", "sec@ret", "sec?ret", "a?b@c", "@?secret", "secret@"], ids=str
)
def test_a_password_that_is_not_encoded_is_refused_and_no_part_of_it_is_shown(
    password: str,
) -> None:
    path = f"postgresql://u:{password}@127.0.0.1:1/x"
    with pytest.raises(DataError, match="@ as %40") as caught:
        read_to_train(DataSpec(path=path, query="SELECT 1"))
    for part in (password, "sec", "ret", "et@", "127.0.0.1"):
        assert part not in str(caught.value).replace("percent-encoded", "")


def test_a_password_with_encoded_characters_goes_to_the_server() -> None:
    path = "postgresql://u:sec%2Fr%40et%3F@127.0.0.1:1/x"
    with pytest.raises(DataError, match=r"127\.0\.0\.1.*refused") as caught:
        read_to_train(DataSpec(path=path, query="SELECT 1"))
    assert "sec" not in str(caught.value)


def test_the_password_of_a_database_is_in_no_spec() -> None:
    from isthmus.spec.secrets import with_password

    spec = DataSpec(path="postgresql://ann:s3cret@db.example/plant", query="SELECT 1")
    assert "s3cret" not in repr(spec)
    assert "s3cret" not in spec.model_dump_json()
    assert with_password(str(spec.path)) == "postgresql://ann:s3cret@db.example/plant"


# -- files that are not what they seem -------------------------------------------------------------


def test_a_zip_bomb_is_read_a_block_at_a_time(in_tmp: Path) -> None:
    with (
        zipfile.ZipFile("bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("x.npy", "w", force_zip64=True) as member,
    ):
        header = {"descr": "<f4", "fortran_order": False, "shape": (1 << 20, 64)}
        np.lib.format.write_array_header_1_0(member, header)
        for _ in range(64):
            member.write(bytes(4 << 20))
    source = read_source("bomb.npz", (64,))
    blocks = [len(block.values) for block in source.blocks()]
    assert sum(blocks) == 1 << 20
    assert max(blocks) * 64 * 4 <= 8 << 20


def read_source(path: str, shape: tuple[int, ...]) -> Any:
    from tests.reading import open_like

    return open_like(DataSpec(path=path, kind="tabular"), path, shape)


def test_an_npz_whose_header_lies_is_one_line(in_tmp: Path) -> None:
    with zipfile.ZipFile("t.npz", "w") as archive, archive.open("x.npy", "w") as member:
        header = {"descr": "<f4", "fortran_order": False, "shape": (1 << 40, 3)}
        np.lib.format.write_array_header_1_0(member, header)
        member.write(VALUES.tobytes())
    with pytest.raises(DataError, match=r"its header says 13,194,139,533,312 bytes and the file"):
        values_of(path="t.npz")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (gzip.compress(TEXT, mtime=0), r"is gzip data; call it \.csv\.gz"),
        (b"PK\x03\x04" + bytes(50), "is a zip or an xlsx; save it as csv"),
        ("a,b\n1,2\n".encode("utf-16"), "is UTF-16 text; save it as UTF-8, or set data.encoding"),
    ],
    ids=["gzip", "xlsx", "utf-16"],
)
def test_a_file_that_is_called_a_csv_and_is_none_is_named_for_what_it_is(
    content: bytes, what: str, in_tmp: Path
) -> None:
    Path("t.csv").write_bytes(content)
    with pytest.raises(DataError, match=what):
        values_of(path="t.csv")


PNG = b"\x89PNG\r\n\x1a\n" + bytes(60)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.csv", PNG, r"t\.csv: is a png image, and no table"),
        ("t.parquet", PNG, r"t\.parquet: is a png image, and no table"),
        ("t.jsonl", PNG, r"t\.jsonl: is a png image, and no table"),
        (
            "t.parquet",
            TEXT,
            r"is damaged or no parquet file, for it begins as a text; call it \.csv",
        ),
        (
            "t.feather",
            TEXT,
            r"is damaged or no feather file, for it begins as a text; call it \.csv",
        ),
        ("t.csv.gz", TEXT, r"t\.csv\.gz: is not compressed; call it \.csv"),
        ("t.jsonl.zst", TEXT, r"t\.jsonl\.zst: is not compressed; call it \.jsonl"),
        ("t.parquet", gzip.compress(TEXT, mtime=0), r"t\.parquet: is gzip data; unpack it"),
        ("t.parquet", b"PAR1" + bytes(60), r"t\.parquet: is damaged or no parquet file \([^.]+\)"),
    ],
)
def test_a_wrong_ending_is_told_in_one_sentence_by_what_the_file_is(
    name: str, content: bytes, said: str, in_tmp: Path
) -> None:
    Path(name).write_bytes(content)
    with pytest.raises(DataError, match=f"^{said}$|^{name}: {said} or \\.jsonl if it is a table$"):
        values_of(path=name)


def test_a_csv_whose_header_begins_like_a_format_is_a_csv(in_tmp: Path) -> None:
    Path("t.csv").write_text("PAR1,PAR2\n1,2\n3,4\n5,7\n")
    assert values_of(path="t.csv").shape == (3, 2)


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl"])
def test_a_query_of_a_file_is_refused(ending: str, in_tmp: Path) -> None:
    Path(f"t.{ending}").write_bytes(TEXT)
    with pytest.raises(DataError, match=r"is no database, and data\.query is for data"):
        values_of(path=f"t.{ending}", query="SELECT 1")


def test_a_list_of_tables_and_arrays_is_refused_by_what_it_mixes(in_tmp: Path) -> None:
    Path("t.csv").write_bytes(TEXT)
    np.savez("b.npz", x=VALUES)
    with pytest.raises(
        DataError, match=r"holds both tables \(t\.csv\) and arrays \(b\.npz\); name"
    ):
        values_of(path=("t.csv", "b.npz"))


@pytest.mark.parametrize("path", ["mysql://u:s3cret@h/x", ("mysql://u:s3cret@h/x", "t.csv")])
def test_a_database_that_cannot_be_read_is_told_without_its_password(path: Any) -> None:
    with pytest.raises(DataError, match=r"^mysql://u@h/x: .*read from postgresql://") as caught:
        values_of(path=path)
    assert "s3cret" not in str(caught.value)


def test_a_fortran_ordered_array_is_read_as_it_is(in_tmp: Path) -> None:
    np.savez("t.npz", x=np.asfortranarray(VALUES))
    np.save("t.npy", np.asfortranarray(VALUES))
    assert np.array_equal(values_of(path="t.npz"), VALUES)
    assert np.array_equal(values_of(path="t.npy"), VALUES)
    rows = read_like(DataSpec(path="t", kind="tabular"), "t.npz", (3,))
    assert np.array_equal(rows.values, VALUES)
