"""Tables, arrays and sounds are written again as they were, from parts of all their columns."""

import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from isthmus.compression.within_error.coding import _missing as missing
from isthmus.compression.within_error.columns import TableCoder
from isthmus.compression.within_error.files import exact_form
from isthmus.data import Provenance
from isthmus.errors import DataError
from isthmus.spec import DataSpec

PROVENANCE = Provenance("0" * 16, "a/1", "2026-01-01T00:00:00Z")


def there_and_back(source: Path, output: Path, rows: int = 100) -> None:
    data = DataSpec(path=str(source))
    form = exact_form(source, source.name, data)
    form = type(form).model_validate_json(form.model_dump_json())
    coder = TableCoder(form.schema_of_parts)
    with form.open_output(output, PROVENANCE) as append:
        for part in form.parts(source, source.name, data, rows):
            assert part.num_rows <= rows
            append(coder.decode(coder.encode(part).data))


CSV = '''id,price,note,time
1,12.50,plain,2020-01-01 00:00:00
2,,"a, b",2020-01-01 00:01:00
3,-0.25,"says ""no""",2020-01-01 00:02:00
4,10.00,,2020-01-01 00:03:00
'''
FEW = CSV.splitlines()[0] + "\n1,2,3,4\n"


@pytest.mark.parametrize("text", [CSV, CSV.replace("\n", "\r\n"), FEW])
def test_a_csv_comes_back_byte_for_byte(tmp_path, text):
    source = tmp_path / "a.csv"
    source.write_bytes(text.encode())
    there_and_back(source, tmp_path / "b.csv", rows=3)
    assert (tmp_path / "b.csv").read_bytes() == text.encode()


def test_a_parquet_comes_back_with_its_types_and_metadata(tmp_path):
    frame = pd.DataFrame(
        {
            "t": pd.date_range("2020", periods=250, freq="min", tz="UTC"),
            "x": np.linspace(0, 1, 250).astype(np.float32),
            "n": pd.array([None, *range(249)], dtype="Int32"),
        }
    ).set_index("t")
    frame.to_parquet(tmp_path / "a.parquet")
    there_and_back(tmp_path / "a.parquet", tmp_path / "b.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "b.parquet"), frame)
    assert pq.read_schema(tmp_path / "b.parquet").equals(pq.read_schema(tmp_path / "a.parquet"))


def test_an_npz_comes_back_with_all_arrays_that_have_a_row_for_each_row(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        "x": rng.normal(size=(250, 2, 3)).astype(np.float32),
        "y": rng.integers(0, 2, 250).astype(np.uint8),
        "name": np.array(["ab", "c"] * 125),
    }
    np.savez(tmp_path / "a.npz", **arrays)
    there_and_back(tmp_path / "a.npz", tmp_path / "b.npz")
    with np.load(tmp_path / "b.npz") as found:
        for key, array in arrays.items():
            assert found[key].dtype == array.dtype
            assert np.array_equal(found[key], array)


def test_an_npy_comes_back_byte_for_byte(tmp_path):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=(250, 3)).astype(">f8"))
    there_and_back(tmp_path / "a.npy", tmp_path / "b.npy")
    assert (tmp_path / "b.npy").read_bytes() == (tmp_path / "a.npy").read_bytes()


def test_arrays_are_written_part_by_part_in_little_memory(tmp_path):
    rows = np.arange(2_000_000, dtype=np.int64).reshape(-1, 4)
    np.savez(tmp_path / "a.npz", x=rows, more=np.ones((len(rows), 3), ">f8"))
    np.save(tmp_path / "a.npy", rows)
    for ending in (".npz", ".npy"):
        source, output = tmp_path / f"a{ending}", tmp_path / f"b{ending}"
        data = DataSpec(path=str(source))
        form = exact_form(source, source.name, data)
        part = next(iter(form.parts(source, source.name, data, 10_000)))
        tracemalloc.start()
        with form.open_output(output, PROVENANCE) as append:
            for _ in range(50):
                append(part)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert most < 4 * part.nbytes
        found = np.load(output)["x"] if ending == ".npz" else np.load(output)
        assert np.array_equal(found, np.tile(rows[:10_000], (50, 1)))
    assert sorted(each.name for each in tmp_path.iterdir() if each.name[0] == ".") == []


def test_an_npz_without_rows_comes_back(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((0, 2), np.float32), name=np.zeros(0, "<U3"))
    there_and_back(tmp_path / "a.npz", tmp_path / "b.npz")
    with np.load(tmp_path / "b.npz") as found:
        assert found["x"].shape == (0, 2)
        assert found["name"].dtype == "<U3"


def test_lost_rows_leave_whole_numbers_and_texts_beside_them_as_they_are(tmp_path):
    whole = np.array([2**53 + 1, 3])
    np.savez(tmp_path / "a.npz", x=whole, name=np.array(["ab", "c"]))
    soundfile.write(tmp_path / "a.wav", np.array([5 << 8, 7 << 8], np.int32), 8000, "PCM_24")
    for ending in (".npz", ".wav"):
        source = tmp_path / f"a{ending}"
        data = DataSpec(path=str(source))
        form = exact_form(source, source.name, data)
        (part,) = form.parts(source, source.name, data, 10)
        lost = pa.table([missing(each, 1) for each in part.schema], schema=part.schema)
        with form.open_output(tmp_path / f"b{ending}", PROVENANCE) as append:
            append(pa.concat_tables([part, lost]))
    with np.load(tmp_path / "b.npz") as found:
        assert found["x"].tolist() == [*whole, 0]
        assert found["name"].tolist() == ["ab", "c", ""]
    heard = soundfile.read(tmp_path / "b.wav", dtype="int32")[0]
    assert heard.tolist() == [5 << 8, 7 << 8, 0]


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_a_sound_comes_back_with_its_rate_subtype_and_tags(tmp_path, subtype):
    samples = np.clip(np.random.default_rng(0).normal(0, 0.2, (3000, 2)), -1, 1)
    with soundfile.SoundFile(tmp_path / "a.wav", "w", 11025, 2, subtype) as file:
        file.title = "a title"
        file.write(samples)
    there_and_back(tmp_path / "a.wav", tmp_path / "b.wav", rows=1000)
    for dtype in ("int32", "float64"):
        one, other = (soundfile.read(tmp_path / f"{n}.wav", dtype=dtype) for n in "ab")
        assert one[1] == other[1] == 11025
        assert np.array_equal(one[0], other[0])
    assert soundfile.info(tmp_path / "b.wav").subtype == subtype
    with soundfile.SoundFile(tmp_path / "b.wav") as file:
        assert file.title == "a title"


def test_what_cannot_be_written_again_is_refused_with_one_line(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((5, 2)), more=np.zeros(3))
    soundfile.write(tmp_path / "a.ogg", np.zeros(3000), 8000)
    soundfile.write(tmp_path / "u.wav", np.zeros(3000), 8000, subtype="ULAW")
    (tmp_path / "a.png").touch()
    for name, said in (
        ("a.npz", 'array "more" of shape \\(3,\\)|array "x"'),
        ("a.ogg", "--max-error is for tables"),
        ("u.wav", "stored as ULAW"),
        ("a.png", "--max-error is for tables"),
    ):
        with pytest.raises(DataError, match=said) as refused:
            exact_form(tmp_path / name, name, DataSpec(path=name))
        assert "\n" not in str(refused.value)


def test_a_million_rows_are_read_in_parts_of_bounded_memory(tmp_path):
    table = pa.table({"x": np.arange(1_000_000) / 8})
    pq.write_table(table, tmp_path / "a.parquet")
    data = DataSpec(path="a.parquet")
    form = exact_form(tmp_path / "a.parquet", "a.parquet", data)
    rows = TableCoder(form.schema_of_parts).rows_at_once
    sizes = [part.num_rows for part in form.parts(tmp_path / "a.parquet", "a", data, rows)]
    assert sum(sizes) == 1_000_000
    assert max(sizes) == rows <= 65_536


def test_texts_of_an_npz_keep_every_character(tmp_path):
    texts = np.array(["ab", "c\0d", "\0e", ""] * 5)
    np.savez(tmp_path / "a.npz", x=np.zeros(20), extra=texts)
    there_and_back(tmp_path / "a.npz", tmp_path / "b.npz")
    with np.load(tmp_path / "b.npz") as found:
        assert found["extra"].dtype == texts.dtype
        assert found["extra"].tobytes() == texts.tobytes()


def test_a_lone_surrogate_is_refused_with_one_line(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros(2), extra=np.array(["a", "\ud800"]))
    with pytest.raises(DataError, match=r"a\.npz: has a text that is no Unicode"):
        there_and_back(tmp_path / "a.npz", tmp_path / "b.npz")


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros(5, np.longdouble), 'array "more" of shape \\(5,\\) and type float128'),
        (np.zeros((5, 0)), 'array "more" of shape \\(5, 0\\)'),
    ],
)
def test_arrays_that_no_column_can_hold_are_refused_with_one_line(tmp_path, array, said):
    np.savez(tmp_path / "a.npz", x=np.zeros((5, 2)), more=array)
    with pytest.raises(DataError, match=said):
        exact_form(tmp_path / "a.npz", "a.npz", DataSpec(path="a.npz", key="x"))


def test_an_array_may_be_called_file(tmp_path):
    arrays = {"x.npy": np.arange(6.0), "file.npy": np.arange(6)}
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for name, array in arrays.items():
            with archive.open(name, "w") as member:
                np.lib.format.write_array(member, array)
    there_and_back(tmp_path / "a.npz", tmp_path / "b.npz")
    with np.load(tmp_path / "b.npz") as found:
        assert np.array_equal(found["file"], np.arange(6))


def test_views_of_texts_come_back_as_texts(tmp_path):
    texts = pa.array(["a", None, "b"] * 5)
    table = pa.table({"x": np.arange(15), "text": texts.cast(pa.string_view())})
    pq.write_table(table, tmp_path / "a.parquet")
    there_and_back(tmp_path / "a.parquet", tmp_path / "b.parquet")
    assert pq.read_table(tmp_path / "b.parquet").column("text").to_pylist() == texts.to_pylist()


def test_two_columns_of_one_name_are_refused_with_one_line(tmp_path):
    (tmp_path / "a.csv").write_text("x,y,x\n1,2,3\n")
    with pytest.raises(DataError, match='two columns named "x"'):
        exact_form(tmp_path / "a.csv", "a.csv", DataSpec(path="a.csv"))
