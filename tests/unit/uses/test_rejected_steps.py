"""Steps of series that cannot be read are set aside as gaps, and the steps around them are scored.

Each test writes series with faults, and compares the scores with those of the pieces between them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from isthmus.data import UseOptions, locate
from isthmus.errors import DataError
from isthmus.execution.inputs import InputPart
from isthmus.execution.task import Task
from isthmus.registry import Pair
from isthmus.uses.detect import Detect
from isthmus.uses.embed import Embed
from tests.untrained import pair_of
from tests.using import applied, denoise_with, detect_with

WINDOW, STEPS = 8, 120
OOPS = 'column "load" holds "oops", which is no number'
STRICT = UseOptions()


def machine(name: str = "a", steps: int = STEPS) -> pd.DataFrame:
    """A table of one series, a minute from step to step."""
    rng, step = np.random.default_rng(ord(name)), np.arange(steps)
    when = pd.date_range("2024-01-01", periods=steps, freq="1min").astype(str)
    heat = np.cos(step / 4) + 0.1 * rng.normal(size=steps)
    return pd.DataFrame(
        {"when": when, "machine": name, "load": np.sin(step / 4) + 0.01 * step, "heat": heat}
    )


@pytest.fixture
def timed(here: Path) -> Pair:
    """A pair of series with a time and an id."""
    pd.concat([machine("a"), machine("b")]).to_csv("trained.csv", index=False)
    return scoring_steps(pair_of("trained.csv", time="when", series_id="machine", window=WINDOW))


@pytest.fixture
def untimed(here: Path) -> Pair:
    """A pair of series whose steps have no time."""
    machine().to_csv("trained.csv", index=False)
    return scoring_steps(pair_of("trained.csv", columns=["load", "heat"], window=WINDOW))


def scoring_steps(pair: Pair) -> Pair:
    pair.detector.point_calibration = pair.detector.calibration
    return pair


def save(
    table: pd.DataFrame,
    cells: Mapping[tuple[int, str], str] | None = None,
    lines: Mapping[int, str] | None = None,
    path: str = "new.csv",
) -> str:
    """Writes a csv with other texts in some cells, and in place of some rows."""
    texts = table.astype(object)
    for (row, column), cell in (cells or {}).items():
        texts.iloc[row, list(table).index(column)] = cell
    header, *rows = texts.to_csv(index=False).splitlines()
    for row, line in (lines or {}).items():
        rows[row] = line
    Path(path).parent.mkdir(exist_ok=True)
    Path(path).write_text("\n".join([header, *rows]) + "\n")
    return path


def scores_of(pair: Pair, source: str) -> pd.DataFrame:
    """Detects in a file; returns its lines by the number of the step."""
    result = detect_with(pair, source, "scores.csv")
    scores = pd.read_csv("scores.csv", keep_default_na=False, na_values=[""])
    assert result.rows == len(scores)
    return scores.set_index("step")


def rejected() -> dict[int, str]:
    found = pd.read_csv("scores.csv.rejected.csv")
    assert list(found) == ["row", "file", "reason"]
    return dict(zip(found["row"], found["reason"], strict=True))


def check_pieces(
    pair: Pair, table: pd.DataFrame, scores: pd.DataFrame, pieces: Sequence[np.ndarray]
) -> None:
    """Checks that each piece is scored as if it were a file of its own."""
    assert sorted(scores.index) == sorted(np.concatenate(pieces).tolist())
    for piece in pieces:
        alone = scores_of(pair, save(table.iloc[piece], path="alone.csv"))
        np.testing.assert_allclose(scores["score"][piece], alone["score"], rtol=1e-3)


def between(*faults: int, steps: int = STEPS) -> list[np.ndarray]:
    """Returns the numbers of the steps of each piece between faults."""
    borders = [-1, *faults, steps]
    pieces = [np.arange(a + 1, b) for a, b in pairwise(borders)]
    return [piece for piece in pieces if len(piece)]


@pytest.mark.parametrize("which", ["timed", "untimed"])
def test_a_cell_that_is_no_number_is_a_gap_which_no_window_crosses(which, request):
    pair, table = request.getfixturevalue(which), machine()
    cells = {(30, "load"): "oops", (60, "heat"): "inf", (90, "heat"): "1e40", (119, "load"): ""}
    scores = scores_of(pair, save(table, cells))
    infinite = 'column "heat" holds infinity or a value beyond float32 (3.4e38)'
    assert rejected() == {
        30: OOPS,
        60: infinite,
        90: infinite,
        119: 'column "load" holds no value',
    }
    assert scores["score"].notna().all()
    check_pieces(pair, table, scores, between(30, 60, 90, 119))


def test_the_summary_counts_the_steps_that_are_set_aside(untimed):
    result = detect_with(untimed, save(machine(), {(30, "load"): "oops"}), "scores.csv")
    assert (result.rows, result.rejected) == (STEPS - 1, 1)
    said = "1 step cannot be read and is set aside: scores.csv.rejected.csv"
    assert said in Detect().summary(result)


def test_strict_stops_at_the_first_step_that_cannot_be_read(timed):
    for cell in ((30, "load"), (30, "when")):
        source = save(machine(), {cell: "oops"})
        with pytest.raises(DataError, match=r'"oops",? in row 30'):
            detect_with(timed, source, "scores.csv", options=STRICT)
    assert not list(Path().glob("scores*"))


@pytest.mark.parametrize("cell", ["oops", ""])
def test_a_step_whose_time_cannot_be_read_is_a_gap_where_it_stands(timed, cell):
    table = machine()
    scores = scores_of(timed, save(table, {(50, "when"): cell}))
    what = f'"{cell}", which is no time' if cell else "no value"
    assert rejected() == {50: f'column "when" holds {what}'}
    check_pieces(timed, table, scores, between(50))


def test_a_gap_needs_no_sign_of_it_in_the_times(timed):
    # Another step was written at the time of the faulty one: the times go on without a gap.
    table = machine(steps=STEPS)
    table = pd.concat([table[:50], table[49:50].assign(load="oops"), table[50:]])
    scores = scores_of(timed, save(table))
    assert rejected() == {50: OOPS}
    assert sorted(scores.index) == [*range(50), *range(51, STEPS + 1)]
    alone = scores_of(timed, save(machine()[:50], path="alone.csv"))
    np.testing.assert_allclose(scores["score"][:50], alone["score"], rtol=1e-3)


def test_of_two_series_only_the_one_with_the_faulty_step_has_a_gap(timed):
    mixed = pd.concat([machine("a"), machine("b")]).sort_values("when", kind="stable")
    own = [np.flatnonzero(mixed["machine"] == name) for name in "ab"]
    whole = scores_of(timed, save(mixed))
    cells = {(own[0][40], "heat"): "oops", (own[0][80], "when"): "oops"}
    scores = scores_of(timed, save(mixed, cells))
    assert list(rejected()) == [own[0][40], own[0][80]]
    np.testing.assert_allclose(scores["score"][own[1]], whole["score"][own[1]], rtol=1e-4)
    pieces = [own[0][piece] for piece in between(40, 80)]
    check_pieces(timed, mixed, scores, [*pieces, own[1]])


def test_a_line_that_is_cut_off_is_a_gap_of_every_series_around_it(timed):
    mixed = pd.concat([machine("a"), machine("b")]).sort_values("when", kind="stable")
    own = [np.flatnonzero(mixed["machine"] == name) for name in "ab"]
    scores = scores_of(timed, save(mixed, lines={80: "2024-01", 239: "2024-01-01 01"}))
    reason = "has 1 cells, and the table has 4 columns"
    assert rejected() == {80: reason, 239: reason}
    pieces = [part for each in own for part in (each[each < 80], each[(each > 80) & (each < 239)])]
    check_pieces(timed, mixed, scores, pieces)


@pytest.mark.parametrize("column", ["load", "when"])
def test_steps_that_stand_newest_first_have_the_gap_in_the_same_place(timed, column):
    table = machine()[::-1]
    scores = scores_of(timed, save(table, {(30, column): "oops"}))
    check_pieces(timed, table, scores, between(30))


def test_a_piece_that_is_shorter_than_a_window_has_no_score_and_a_reason(untimed):
    scores = scores_of(untimed, save(machine(), {(30, "load"): "oops", (35, "load"): "oops"}))
    is_short = scores["score"].isna()
    assert list(scores.index[is_short]) == [31, 32, 33, 34]
    assert set(scores["reason"][is_short]) == {"4 steps in a row, fewer than a window of 8"}


@pytest.mark.parametrize("ending", ["parquet", "npy", "jsonl"])
def test_steps_of_every_format_are_set_aside(untimed, ending):
    table = machine()[["load", "heat"]].astype(np.float64)
    table.iloc[30, 0], table.iloc[60, 1] = np.nan, 1e40
    match ending:
        case "parquet":
            table.to_parquet("new.parquet")
        case "npy":
            np.save("new.npy", table.to_numpy())
        case _:
            table.to_json("new.jsonl", orient="records", lines=True)
    pair, names = untimed, ('"load"', '"heat"')
    if ending == "npy":
        np.save("trained.npy", machine()[["load", "heat"]].to_numpy())
        pair = scoring_steps(pair_of("trained.npy", kind="series", window=WINDOW))
        names = "0", "1"
    scores = scores_of(pair, f"new.{ending}")
    assert rejected() == {
        30: f"column {names[0]} holds no value",
        60: f"column {names[1]} holds infinity or a value beyond float32 (3.4e38)",
    }
    assert scores["score"].notna().all()
    assert sorted(scores.index) == [*np.concatenate(between(30, 60))]


def test_of_a_folder_every_file_has_its_gaps_and_the_file_of_each_step_is_named(timed):
    save(machine("a"), {(30, "load"): "oops"}, path="in/a.csv")
    save(machine("a"), {(row, "load"): "oops" for row in range(STEPS)}, path="in/b.csv")
    save(machine("b"), {(10, "when"): "oops"}, path="in/c.csv")
    scores = scores_of(timed, "in")
    found = pd.read_csv("scores.csv.rejected.csv")
    assert found["file"].value_counts().to_dict() == {"a.csv": 1, "b.csv": STEPS, "c.csv": 1}
    assert found["row"].tolist() == [30, *range(STEPS), 10]
    # Steps are numbered over all files, and those that are set aside count too.
    third = [2 * STEPS + piece for piece in between(10)]
    assert sorted(scores.index) == [*np.concatenate([*between(30), *third])]
    assert scores["series_id"].value_counts().to_dict() == {"a.csv/a": 119, "c.csv/b": 119}


@pytest.mark.parametrize("which", ["timed", "untimed"])
def test_series_without_a_step_or_a_window_that_can_be_read_are_one_line(which, request):
    pair = request.getfixturevalue(which)
    source = save(machine(), {(row, "load"): "oops" for row in range(STEPS)})
    with pytest.raises(DataError, match=r"new\.csv: none of its 120 row\(s\) can be read; row 0: "):
        detect_with(pair, source, "scores.csv")
    source = save(machine(), {(row, "load"): "oops" for row in range(4, STEPS, 5)})
    said = r"has 4 steps, fewer than a window of 8, as 24 step\(s\) cannot be read; .* row 4: "
    for use in (Detect(), Embed()):
        with pytest.raises(DataError, match=said):
            applied(use, pair, source, "scores.csv")
    assert not list(Path().glob("scores*"))


def test_a_column_of_times_of_another_form_is_at_fault_and_not_its_steps(timed):
    source = save(machine(), {(row, "when"): "noon" for row in range(70)})
    with pytest.raises(DataError, match=r"\(data\.time\) holds \"noon\" in row 0"):
        detect_with(timed, source, "scores.csv")


@pytest.mark.parametrize("use", [Embed(), Detect(per="window")], ids=["embed", "windows"])
def test_no_window_with_a_faulty_step_is_embedded_or_scored(untimed, use):
    result = applied(use, untimed, save(machine(), {(30, "load"): "oops"}), "scores.csv")
    assert result.rejected == 1
    assert rejected() == {30: OOPS}
    windows = pd.read_csv("scores.csv")
    assert len(windows) == result.rows
    assert not ((windows["first_step"] <= 30) & (windows["last_step"] >= 30)).any()
    assert windows["last_step"].max() == STEPS - 1
    assert (windows["last_step"] - windows["first_step"] == WINDOW - 1).all()


@pytest.mark.parametrize(
    "use", [Embed(), Detect(per="window"), Detect()], ids=["embed", "windows", "steps"]
)
def test_a_part_without_a_step_that_can_be_read_has_the_columns_of_the_others(timed, use):
    save(machine("a"), path="in/a.csv")
    save(machine("a"), {(row, "load"): "oops" for row in range(STEPS)}, path="in/b.csv")
    columns = []
    for number in range(2):
        part = InputPart(use.OUTPUT.one_of(locate("in"), number), {})
        use.work(Task(timed, "in", Path("scores.csv"), part=part))
        columns.append(list(pd.read_csv("scores.csv")))
    assert columns[0] == columns[1]
    assert rejected() == dict.fromkeys(range(STEPS), OOPS)


def test_denoise_writes_every_step_so_it_stops_at_one_that_cannot_be_read(untimed):
    source = save(machine(), {(30, "load"): "oops"})
    with pytest.raises(DataError, match='"oops", in row 30'):
        denoise_with(untimed, source, "clean.csv")
    assert not list(Path().glob("clean*"))
