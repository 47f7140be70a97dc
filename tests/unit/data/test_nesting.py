"""JSON lines that are nested more deeply than a parser's stack, which would end the process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from isthmus.data import UseOptions, open_input
from isthmus.data.outputs.provenance import Provenance
from isthmus.data.tables import _nesting
from isthmus.errors import DataError
from isthmus.serve.forms import NotJson, rows_of_json
from isthmus.spec import DataSpec
from tests.reading import read_to_train

# So many levels take pyarrow 0.1 s; with five times as many the process ends.
LEVELS = 2000
ROW = '{"a": 1, "b": 2}'
LISTS = "[" * LEVELS + "]" * LEVELS


def told(text: str, newline: str = "\n") -> str:
    Path("t.jsonl").write_text(text, newline=newline)
    with pytest.raises(DataError) as caught:
        read_to_train(DataSpec(path="t.jsonl"))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("end", ["\n", "\r\n", " \n", "\r"])
@pytest.mark.parametrize(
    "row",
    [
        f'{{"a": {LISTS}}}',
        '{"a":' * LEVELS + "1" + "}" * LEVELS,
        '{"b": "]]]", "a": ' + "[[]," * LEVELS + "1" + "]" * LEVELS + "}",
        f'{ROW}{{"a": {LISTS}}}',
    ],
    ids=["lists", "objects", "lists beside lists", "the second object of a line"],
)
def test_a_row_that_is_nested_too_deeply_is_told_by_its_number(
    row: str, end: str, in_tmp: Path
) -> None:
    for rows_before in (0, 3):
        message = told(f"{ROW}{end}" * rows_before + f"{row}{end}", newline="")
        assert f"t.jsonl: row {rows_before} (from 0) is nested more deeply than 64" in message


def test_lists_within_lists_that_are_spread_over_lines_are_refused_too(in_tmp: Path) -> None:
    message = told(f"{ROW}\n" + '{"a": ' + "[\n" * LEVELS + "]\n" * LEVELS + "}\n")
    assert "an object over several lines is nested more deeply than 64 levels" in message


def test_a_text_without_an_end_hides_no_lists_of_the_next_line(in_tmp: Path) -> None:
    assert "row 1 (from 0) is nested" in told(f'{{"a": 1, "b": "x}}\n{{"a": {LISTS}}}\n')


def test_a_deep_row_far_behind_the_first_block_is_found(in_tmp: Path) -> None:
    assert "row 100000 (from 0)" in told(f"{ROW}\n" * 100_000 + f'{{"a": {LISTS}}}\n')


def test_many_lists_in_a_row_that_are_not_within_one_another_are_left_alone(in_tmp: Path) -> None:
    note = ", ".join(['[["{[{["], []]'] * 1000)
    lines = [f'{{"a": {n}, "b": {n % 7}, "note": [{note}]}}' for n in range(20)]
    Path("t.jsonl").write_text("\n".join(lines))
    rows, _ = read_to_train(DataSpec(path="t.jsonl", exclude=("note",)))
    assert rows.values.shape == (20, 2)


def test_as_many_levels_as_are_allowed_are_read(in_tmp: Path) -> None:
    note = "[" * (_nesting.MOST_LEVELS - 1) + "]" * (_nesting.MOST_LEVELS - 1)
    lines = [f'{{"a": {n}, "b": {n % 3}, "note": {note}}}\n' for n in range(5)]
    Path("t.jsonl").write_text("".join(lines))
    rows, _ = read_to_train(DataSpec(path="t.jsonl", exclude=("note",)))
    assert len(rows) == 5


def test_a_deep_row_of_an_input_to_a_pair_is_set_aside_with_its_reason(in_tmp: Path) -> None:
    Path("t.jsonl").write_text("".join(f'{{"a": {n}, "b": {n % 3}}}\n' for n in range(9)))
    rows, resolved = read_to_train(DataSpec(path="t.jsonl"))
    Path("new.jsonl").write_text(f'{ROW}\n{{"a": {LISTS}, "b": 1}}\n{ROW}\n')
    blocks = list(
        open_input(resolved, "new.jsonl", rows.schema, UseOptions(set_aside=True)).blocks()
    )
    assert np.concatenate([block.values for block in blocks]).tolist() == [[1, 2], [1, 2]]
    rejected = [each for block in blocks for each in block.rejected]
    assert [(each.row, each.reason) for each in rejected] == [
        (1, "is nested more deeply than 64 levels")
    ]


@pytest.mark.parametrize("levels", [900, LEVELS, 100_000])
def test_a_deep_record_of_a_request_is_refused_or_written_to_be_refused(
    levels: int, in_tmp: Path
) -> None:
    body = '{"records": [{"a": ' + "[" * levels + "]" * levels + "}]}"
    with pytest.raises((NotJson, DataError), match=r"recursion|nested more deeply") as caught:
        read_to_train(DataSpec(path=str(rows_of_json(body.encode(), in_tmp))))
    assert "\n" not in str(caught.value)


def test_a_record_of_provenance_that_is_nested_deeply_is_none() -> None:
    assert Provenance.from_json('{"extra": ' + "[" * 100_000 + "]" * 100_000 + "}") is None
