"""Rows that cannot be read are set aside with their reasons, and the rest is scored."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from isthmus.data import UseOptions
from isthmus.data.tables import csv
from isthmus.errors import DataError
from isthmus.registry import Pair
from tests.unit.uses import test_scoring
from tests.unit.uses.test_scoring import COLUMNS, ROWS
from tests.using import denoise_with, detect_with

pair, small_blocks = test_scoring.pair, test_scoring.small_blocks
STRICT = UseOptions()


def lines_of_csv() -> list[str]:
    """The rows as the lines of a csv, with its header."""
    return pd.DataFrame(ROWS, columns=list(COLUMNS)).to_csv(index=False).splitlines()


def with_cell(line: str, place: int, cell: str) -> str:
    cells = line.split(",")
    cells[place] = cell
    return ",".join(cells)


def write_faulty_csv(path: str, decimal: str = ".") -> dict[int, str]:
    """Writes a csv with a row of each kind of fault; returns the reason of each, by its number."""
    header, *lines = lines_of_csv()
    lines[3] = with_cell(lines[3], 1, "oops")
    lines[4] = with_cell(lines[4], 0, "")
    lines[5] += ",1"
    lines[6] = "1,2"
    lines[500] = with_cell(lines[500], 5, "inf")
    lines[501] = with_cell(lines[501], 5, "1e39")
    lines[999] = "1"
    if decimal != ".":
        lines = [line.replace(",", ";").replace(".", decimal) for line in lines]
        header = header.replace(",", ";")
    Path(path).write_text("\n".join([header, *lines]) + "\n")
    return {
        3: 'column "b" holds "oops", which is no number',
        4: 'column "a" holds no value',
        5: "has 7 cells, and the table has 6 columns",
        6: "has 2 cells, and the table has 6 columns",
        500: 'column "f" holds infinity or a value beyond float32 (3.4e38)',
        501: 'column "f" holds infinity or a value beyond float32 (3.4e38)',
        999: "has 1 cells, and the table has 6 columns",
    }


def check(pair: Pair, reasons: dict[int, str], output: str = "o.csv") -> None:
    """Checks that these rows are set aside, and that all others have their number and score."""
    rejected = pd.read_csv(f"{output}.rejected.csv")
    assert dict(zip(rejected["row"], rejected["reason"], strict=True)) == reasons
    assert list(rejected["row"]) == sorted(reasons)
    found = pd.read_csv(output)
    kept = [row for row in range(len(ROWS)) if row not in reasons]
    assert list(found["row"]) == kept
    np.testing.assert_allclose(found["score"], pair.detect(ROWS[kept]).scores, rtol=1e-4)


@pytest.mark.parametrize("block_bytes", [2000, 4 << 20])
@pytest.mark.usefixtures("small_blocks")
def test_faulty_rows_of_a_csv_are_set_aside(pair, here, monkeypatch, block_bytes):
    monkeypatch.setattr(csv, "_BLOCK_BYTES", block_bytes)
    reasons = write_faulty_csv("x.csv")
    result = detect_with(pair, "x.csv", "o.csv")
    check(pair, reasons)
    assert (result.rows, result.rejected) == (1000 - len(reasons), len(reasons))
    assert set(pd.read_csv("o.csv.rejected.csv")["file"]) == {"x.csv"}
    assert json.loads(Path("o.csv.rejected.csv.pair.json").read_text())["model"] == "sensors/1"


def test_faulty_rows_of_a_csv_with_other_signs_are_set_aside(pair, here):
    reasons = write_faulty_csv("x.csv", decimal=",")
    data = pair.manifest.data.model_copy(update={"decimal": ","})
    pair.manifest = pair.manifest.model_copy(update={"data": data})
    detect_with(pair, "x.csv", "o.csv")
    check(pair, reasons)


@pytest.mark.parametrize("number", [0, 700])
@pytest.mark.usefixtures("small_blocks")
def test_faulty_rows_of_json_lines_are_set_aside(pair, here, number):
    lines = [json.dumps(dict(zip(COLUMNS, map(float, row), strict=True))) for row in ROWS]
    lines[number] = json.dumps({**json.loads(lines[number]), "b": "oops"})
    lines[number + 1] = "{broken"
    lines[number + 2] = "{}"
    lines[number + 3] = json.dumps({**json.loads(lines[number]), "b": [1]})
    lines[number + 4] = json.dumps({**json.loads(lines[number]), "b": 10**400})
    Path("x.jsonl").write_text("\n".join(lines) + "\n")
    detect_with(pair, "x.jsonl", "o.csv")
    reasons = [
        'column "b" holds "oops", which is no number',
        "is no JSON object",
        'column "a" holds no value',
        'column "b" holds "[1]", which is no number',
        'column "b" holds infinity or a value beyond float32 (3.4e38)',
    ]
    check(pair, {number + place: reason for place, reason in enumerate(reasons)})


@pytest.mark.parametrize("ending", ["parquet", "npy", "npz"])
@pytest.mark.usefixtures("small_blocks")
def test_missing_and_infinite_values_are_set_aside(pair, here, ending):
    broken = ROWS.copy()
    broken[7, 2], broken[900, 0] = np.nan, np.inf
    match ending:
        case "parquet":
            pd.DataFrame(broken, columns=list(COLUMNS)).to_parquet("x.parquet")
        case "npy":
            np.save("x.npy", broken)
        case _:
            np.savez("x.npz", x=broken)
    detect_with(pair, f"x.{ending}", "o.csv")
    names = ('"c"', '"a"') if ending == "parquet" else ("2", "0")
    check(
        pair,
        {
            7: f"column {names[0]} holds no value",
            900: f"column {names[1]} holds infinity or a value beyond float32 (3.4e38)",
        },
    )


def test_where_missing_values_are_filled_in_only_infinity_is_set_aside(pair, here):
    broken = ROWS.copy()
    broken[7, 2], broken[900, 0] = np.nan, np.inf
    np.save("x.npy", broken)
    data = pair.manifest.data.model_copy(update={"missing": "mean"})
    pair.manifest = pair.manifest.model_copy(update={"data": data})
    assert detect_with(pair, "x.npy", "o.csv").rejected == 1


def test_of_a_folder_the_file_of_each_rejected_row_is_named(pair, here):
    Path("in").mkdir()
    broken = ROWS.copy()
    broken[7, 2] = np.nan
    for name, rows in (("a", ROWS[:50]), ("b", broken[:50])):
        pd.DataFrame(rows, columns=list(COLUMNS)).to_parquet(f"in/{name}.parquet")
    assert detect_with(pair, "in", "o.csv").rows == 99
    rejected = pd.read_csv("o.csv.rejected.csv")
    assert rejected[["row", "file"]].to_numpy().tolist() == [[7, "b.parquet"]]


def test_strict_stops_at_the_first_such_row_and_leaves_nothing(pair, here):
    write_faulty_csv("x.csv")
    with pytest.raises(DataError, match=r"x\.csv: "):
        detect_with(pair, "x.csv", "o.csv", options=STRICT)
    assert [path.name for path in here.iterdir()] == ["x.csv"]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        pytest.param(["x"] * 6, 'row 0: column "a" holds "x", which is no number', id="texts"),
        pytest.param([""] * 6, 'row 0: column "a" holds no value', id="missing"),
    ],
)
def test_a_file_of_which_no_row_can_be_read_is_refused_with_the_first_reason(
    pair, here, lines, said
):
    Path("x.csv").write_text("a,b,c,d,e,f\n" + 3 * (",".join(lines) + "\n"))
    with pytest.raises(DataError, match=rf"x\.csv: none of its 3 row\(s\) can be read; {said}"):
        detect_with(pair, "x.csv", "o.csv")
    assert [path.name for path in here.iterdir()] == ["x.csv"]


def test_nothing_is_said_of_rejected_rows_where_there_are_none(pair, here):
    reasons = write_faulty_csv("x.csv")
    detect_with(pair, "x.csv", "o.csv")
    assert Path("o.csv.rejected.csv").exists()
    assert reasons
    Path("x.csv").write_text("\n".join(lines_of_csv()) + "\n")
    assert detect_with(pair, "x.csv", "o.csv").rejected == 0
    assert sorted(path.name for path in here.iterdir()) == ["o.csv", "o.csv.pair.json", "x.csv"]


def test_denoise_sets_nothing_aside_because_its_output_has_the_form_of_its_input(pair, here):
    write_faulty_csv("x.csv")
    with pytest.raises(DataError):
        denoise_with(pair, "x.csv", "clean.csv")
    assert [path.name for path in here.iterdir()] == ["x.csv"]
