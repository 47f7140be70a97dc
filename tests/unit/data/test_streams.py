"""Input that is read in blocks: the same rows, results and faults as when it is read whole."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from isthmus.data import Provenance, open_results, read_ahead, write_behind
from isthmus.data import rows as rows_module
from isthmus.data.outputs.output import whole_file
from isthmus.data.tables import csv as csv_module
from isthmus.errors import DataError
from isthmus.spec import DataSpec
from isthmus.types import DataKind, ScalingMode, Shape
from tests.reading import open_like, read_like, write_back

RNG = np.random.default_rng(0)
ROWS = 1000
NUMBERS = RNG.normal(size=(ROWS, 3)).astype(np.float32)
HOLED = np.where(np.arange(3 * ROWS).reshape(ROWS, 3) % 701 == 700, np.nan, NUMBERS)
TABULAR = DataSpec(path="t", kind="tabular", columns=("c", "a", "b"))
IMAGES = DataSpec(path="t", kind="images")


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of some rows, that a small file has many."""
    monkeypatch.setattr(rows_module, "_NUMBERS_IN_A_BLOCK", 300)
    monkeypatch.setattr(csv_module, "_BLOCK_BYTES", 3000)


def frame(values: np.ndarray[Any, Any] = NUMBERS) -> pd.DataFrame:
    table = pd.DataFrame(values, columns=["a", "b", "c"])
    table.insert(1, "id", [f"r{number:04}" if number % 7 else "" for number in range(ROWS)])
    table["colour"] = np.array(["red", "green", "blue"])[np.arange(ROWS) % 3]
    return table


def save(table: pd.DataFrame, path: str) -> str:
    if path.endswith(".csv"):
        table.to_csv(path, index=False)
    else:
        table.to_parquet(path, row_group_size=170)
    return path


def streamed(data: DataSpec, path: str, shape: Shape) -> tuple[np.ndarray[Any, Any], list[int]]:
    """All rows and their numbers, read in blocks; there must be several."""
    blocks = list(open_like(data, path, shape).blocks())
    assert len(blocks) > 3
    numbers = [int(number) for block in blocks for number in block.index["row"]]
    return np.concatenate([block.values for block in blocks]), numbers


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
@pytest.mark.parametrize("missing", ["mean", "drop"])
def test_a_table_in_blocks_is_the_same_table(ending: str, missing: str, in_tmp: Path) -> None:
    path = save(frame(HOLED), f"t{ending}")
    data = TABULAR.model_copy(update={"missing": missing})
    whole = read_like(data, path, (3,))
    values, numbers = streamed(data, path, (3,))
    np.testing.assert_array_equal(values, whole.values)
    assert numbers == whole.index["row"].tolist()
    assert len(numbers) == (ROWS if missing == "mean" else ROWS - 4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
@pytest.mark.parametrize("ending", [".npy", ".npz"])
def test_an_array_in_blocks_is_the_same_array(
    dtype: type[np.generic], ending: str, in_tmp: Path
) -> None:
    array = (NUMBERS * 100).astype(dtype)
    np.save("t.npy", array) if ending == ".npy" else np.savez("t.npz", x=array)
    values, numbers = streamed(TABULAR, f"t{ending}", (3,))
    np.testing.assert_array_equal(values, array.astype(np.float32))
    assert numbers == list(range(ROWS))


def test_categories_in_blocks_become_the_same_features_and_unknown_ones_are_told_once(
    in_tmp: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = TABULAR.model_copy(
        update={"columns": ("a", "colour"), "categories": {"colour": ("blue", "red")}}
    )
    for ending in (".csv", ".parquet"):
        path = save(frame(), f"t{ending}")
        whole = read_like(data, path, (3,))
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            values, _ = streamed(data, path, (3,))
        np.testing.assert_array_equal(values, whole.values)
        (line,) = caplog.messages
        assert '"colour" has 333 row(s)' in line
        assert '"green"' in line


WRITTEN = [
    (".csv", ".csv"),
    (".csv", ".parquet"),
    (".csv", ".tsv"),
    (".parquet", ".parquet"),
    (".parquet", ".csv"),
    (".parquet", ".npz"),
    (".csv", ".npy"),
    (".npy", ".npy"),
    (".npy", ".npz"),
    (".npz", ".npz"),
    (".npz", ".npy"),
]


@pytest.mark.parametrize(("before", "after"), WRITTEN, ids="".join)
@pytest.mark.parametrize("missing", ["mean", "drop"])
def test_what_is_written_in_blocks_equals_what_is_written_whole(
    before: str, after: str, missing: str, in_tmp: Path, provenance: Provenance
) -> None:
    if before in (".csv", ".parquet"):
        save(frame(HOLED), f"t{before}")
    elif before == ".npy":
        np.save("t.npy", HOLED.astype(np.float64))
    else:
        np.savez("t.npz", x=HOLED, label=np.arange(ROWS))
    data = TABULAR.model_copy(update={"missing": missing})
    rows = read_like(data, f"t{before}", (3,))
    write_back(rows, rows.values * 2, in_tmp / f"whole{after}", provenance)
    stream = open_like(data, f"t{before}", (3,))
    with stream.open_output(in_tmp / f"blocks{after}", provenance) as write:
        for block in stream.blocks(carry=True):
            write(block, block.values * 2)
    assert_equal_files(in_tmp / f"blocks{after}", in_tmp / f"whole{after}")
    assert (in_tmp / f"blocks{after}.pair.json").exists()


def assert_equal_files(found: Path, expected: Path) -> None:
    match found.suffix:
        case ".parquet":
            mine, theirs = pq.read_table(found), pq.read_table(expected)
            assert mine.schema.equals(theirs.schema, check_metadata=True)
            pd.testing.assert_frame_equal(mine.to_pandas(), theirs.to_pandas())
        case ".npz":
            with np.load(found) as mine, np.load(expected) as theirs:
                assert mine.files == theirs.files
                for name in mine.files:
                    np.testing.assert_array_equal(mine[name], theirs[name])
        case _:
            assert found.read_bytes() == expected.read_bytes()


@pytest.mark.parametrize("resized", [False, True], ids=["as they are", "resized"])
def test_images_of_an_array_are_read_and_written_in_blocks(
    resized: bool, in_tmp: Path, provenance: Provenance
) -> None:
    images = RNG.integers(0, 256, size=(70, 8, 6, 3)).astype(np.uint8)
    np.save("t.npy", images)
    shape = (3, 4, 5) if resized else (3, 8, 6)
    data = IMAGES.model_copy(update={"image_size": (4, 5) if resized else None})
    rows = read_like(data, "t.npy", shape)
    write_back(rows, rows.values, in_tmp / "whole.npy", provenance)
    stream = open_like(data, "t.npy", shape)
    assert stream.count == 70
    with stream.open_output(in_tmp / "blocks.npy", provenance) as write:
        for block in stream.blocks(carry=True):
            write(block, block.values)
    assert (in_tmp / "blocks.npy").read_bytes() == (in_tmp / "whole.npy").read_bytes()


def test_the_rows_of_an_npy_may_be_changed_and_its_file_stays(in_tmp: Path) -> None:
    np.save("t.npy", NUMBERS)
    for block in open_like(TABULAR, "t.npy", (3,)).blocks():
        block.values[:] = 0
    np.testing.assert_array_equal(np.load("t.npy"), NUMBERS)


def test_a_series_in_blocks_is_the_same_series(in_tmp: Path) -> None:
    save(frame(), "t.csv")
    data = DataSpec(
        path="t.csv", kind="series", columns=("a", "b"), window=64, stride=32,
        scaling=ScalingMode.STANDARD,
    )  # fmt: skip
    blocks = list(open_like(data, "t.csv", (2, 64)).blocks())
    assert len(blocks) > 3
    signal = frame()[["a", "b"]].to_numpy(np.float32)
    starts = np.concatenate([block.index["first_step"] for block in blocks])
    assert starts.tolist() == [*range(0, ROWS - 64, 32), ROWS - 64]
    windows = np.concatenate([block.values for block in blocks])
    np.testing.assert_array_equal(windows, [signal[first : first + 64].T for first in starts])


def late(column: str, value: object, ending: str) -> Callable[[], str]:
    def make() -> str:
        table = frame().astype({"a": object}) if isinstance(value, str) else frame()
        table.loc[900, column] = value
        return save(table, f"t{ending}")

    return make


def text_line(line: str) -> Callable[[], str]:
    def make() -> str:
        path = save(frame(), "t.csv")
        lines = Path(path).read_text().splitlines()
        lines[901] = line
        Path(path).write_text("\n".join(lines))
        return path

    return make


def late_in_an_array(value: float) -> Callable[[], str]:
    def make() -> str:
        array = NUMBERS.copy()
        array[900, 1] = value
        np.save("t.npy", array)
        return "t.npy"

    return make


def no_rows(ending: str) -> Callable[[], str]:
    return lambda: save(frame().iloc[:0].astype({"id": str}), f"t{ending}")


NO_ROW = "has a header but no rows; give at least one"
MISSING = 'column "b" has missing values, first in row 900, counted from 0; fill them in'
INFINITE = 'column "b" holds infinity or a value beyond float32 (3.4e38), first in row 900'
FAULTS: dict[str, tuple[Callable[[], str], str]] = {
    "a text in a csv": (
        late("a", "oops", ".csv"),
        't.csv: column "a" is not numeric (for example "oops", in row 900, counted from 0); write',
    ),
    "a cell too many": (text_line("1,r,2,3,red,9"), "Row #902: Expected 5 columns, got 6"),
    "a text column": (
        lambda: save(frame().astype({"a": str}), "t.parquet"), 't.parquet: column "a" is not num',
    ),
    "missing in a csv": (late("b", np.nan, ".csv"), MISSING),
    "missing in a parquet": (late("b", np.nan, ".parquet"), MISSING),
    "infinite in a csv": (late("b", np.inf, ".csv"), INFINITE),
    "infinite in a parquet": (late("b", -np.inf, ".parquet"), INFINITE),
    "missing in an array": (late_in_an_array(np.nan), "column 1 has missing values"),
    "infinite in an array": (late_in_an_array(np.inf), "column 1 holds infinity"),
    "no row in a csv": (no_rows(".csv"), NO_ROW),
    "no row in a parquet": (no_rows(".parquet"), NO_ROW),
}  # fmt: skip


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_in_a_late_block_is_one_line_that_names_the_row_and_leaves_nothing(
    case: str, in_tmp: Path, provenance: Provenance
) -> None:
    make, expected = FAULTS[case]
    path = make()
    with pytest.raises(DataError) as caught:
        copy(open_like(TABULAR, path, (3,)), in_tmp / f"out{Path(path).suffix}", provenance)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [found.name for found in in_tmp.iterdir()] == [path]


def copy(stream: Any, output: Path, provenance: Provenance) -> None:
    with stream.open_output(output, provenance) as write:
        for block in read_ahead(stream.blocks(carry=True)):
            write(block, block.values)


def test_a_damaged_parquet_is_told_of_when_the_damage_is_met(in_tmp: Path) -> None:
    path = Path(save(frame(), "t.parquet"))
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2000] = bytes(2000)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"^t\.parquet: is damaged"):
        list(open_like(TABULAR, str(path), (3,)).blocks())


def test_every_row_dropped_is_refused_at_the_end(in_tmp: Path) -> None:
    save(frame(np.full_like(NUMBERS, np.nan)), "t.parquet")
    data = TABULAR.model_copy(update={"missing": "drop"})
    with pytest.raises(DataError, match="every row has a missing value"):
        list(open_like(data, "t.parquet", (3,)).blocks())


def test_whole_numbers_at_first_may_be_followed_by_others(in_tmp: Path) -> None:
    table = frame(np.round(NUMBERS))
    table["a"] = table["a"].astype(int).astype(object)
    table.loc[900, "a"] = 2.5
    path = save(table, "t.csv")
    values, _ = streamed(TABULAR, path, (3,))
    np.testing.assert_array_equal(values, read_like(TABULAR, path, (3,)).values)
    assert values[900, 1] == 2.5


def test_texts_that_look_like_nothing_are_carried_as_they_are(
    in_tmp: Path, provenance: Provenance
) -> None:
    lines = ["a,note,b,c", *(f"{i}.5,{'NA' if i % 2 else ''},{i}.25,1.5" for i in range(ROWS))]
    Path("t.csv").write_text("\n".join(lines) + "\n")
    copy(open_like(TABULAR, "t.csv", (3,)), in_tmp / "o.csv", provenance)
    assert Path("o.csv").read_text() == Path("t.csv").read_text()


def test_a_table_to_tsv_has_tabs_in_its_header_too(in_tmp: Path, provenance: Provenance) -> None:
    save(frame(), "t.parquet")
    copy(open_like(TABULAR, "t.parquet", (3,)), in_tmp / "o.tsv", provenance)
    assert list(pd.read_csv("o.tsv", sep="\t").columns) == ["a", "id", "b", "c", "colour"]


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".npz"])
def test_results_that_are_appended_make_one_table(
    ending: str, in_tmp: Path, provenance: Provenance
) -> None:
    with open_results(in_tmp / f"s{ending}", provenance) as append:
        for first in (0, 3, 6):
            append({"row": np.arange(first, first + 3), "anomaly": np.array([True, False, False])})
    read = {".csv": pd.read_csv, ".parquet": pd.read_parquet, ".npz": np.load}[ending]
    found = read(f"s{ending}")
    assert list(found["row"]) == list(range(9))
    assert list(found["anomaly"]) == [True, False, False] * 3
    if ending == ".parquet":
        assert pq.read_schema("s.parquet").field("anomaly").type == pa.bool_()


def test_the_next_block_is_read_while_one_is_worked_on() -> None:
    began = [threading.Event() for _ in range(3)]

    def numbered() -> Any:
        for event in began:
            event.set()
            yield event

    for position, _ in enumerate(read_ahead(numbered())):
        for event in began[: position + 2]:
            assert event.wait(5)


def test_a_block_is_written_while_the_next_is_worked_on_and_all_are_by_the_end() -> None:
    may_end = threading.Event()
    written: list[int] = []

    def write(number: int) -> None:
        assert may_end.wait(5)
        written.append(number)

    with write_behind(write) as write_later:
        write_later(1)
        assert written == []
        may_end.set()
        write_later(2)
        assert written[0] == 1
        write_later(3)
    assert written == [1, 2, 3]


@pytest.mark.parametrize("blocks", [1, 2])
def test_what_goes_wrong_in_writing_behind_is_raised(
    blocks: int, in_tmp: Path, provenance: Provenance
) -> None:
    def write(_: int) -> None:
        raise OSError(28, "No space left on device")

    def write_all() -> None:
        with whole_file(in_tmp / "o.csv", provenance), write_behind(write) as write_later:
            for number in range(blocks):
                write_later(number)

    with pytest.raises(DataError, match=r"o\.csv: cannot be written: No space left on device"):
        write_all()
    assert list(in_tmp.iterdir()) == []


def test_rows_read_whole_are_streamed_as_one_block() -> None:
    digits = DataSpec(path="sklearn:digits", kind="images")
    stream = open_like(digits, "sklearn:digits", (1, 8, 8))
    rows = read_like(digits, "sklearn:digits", (1, 8, 8))
    assert stream.count == len(rows)
    np.testing.assert_array_equal(
        np.concatenate([block.values for block in stream.blocks()]), rows.values
    )
    assert rows.schema.kind is DataKind.IMAGES
