"""A message is one printable line, whatever it quotes."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from isthmus.errors import DataError, Fault, SpecError, first_line, in_one_line, nearest, printable

NASTY = "a\x00b\nc\r\x1b[2J\x9b31m\u2028\u202ed\udce9.csv"
ESCAPED = r"a\x00b\nc\r\x1b[2J\x9b31m\u2028\u202ed\udce9.csv"


def test_what_a_terminal_obeys_is_escaped_and_what_people_write_is_not():
    assert printable(NASTY) == ESCAPED
    written = "größe → 5 µm, 名前, \N{ZERO WIDTH NON-JOINER}, 'C:\\new'"
    assert printable(written) == written
    assert printable("two\nlines\t.", keep="\n\t") == "two\nlines\t."


def test_every_error_is_one_line_and_each_fault_of_a_job_one_of_its_own():
    assert str(DataError(f"{NASTY}: no such file")) == f"{ESCAPED}: no such file"
    error = SpecError([Fault("data", f"no {NASTY}", 3), Fault(NASTY, "is odd")], NASTY)
    assert str(error).split("\n") == [
        f"{ESCAPED}: line 3: data: no {ESCAPED}",
        f"{ESCAPED}: {ESCAPED}: is odd",
    ]
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # as Ray does


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ('name: a\ndata: "no\\nsuch\\e[31m\\0.csv"\n', 3),
        ('name: "a\\nb\\e[31m"\ndata: x.csv\n', 2),
        ('name: a\ndata: x.csv\nvariant: "v\\nw\\e[31m"\n', 2),
        ('name: a\ndata: x.csv\n"fi\\neld\\e[31m": 1\n', 2),
    ],
    ids=["a path", "a name", "a variant", "a field"],
)
def test_the_command_line_prints_one_printable_line(here: Path, isthmus, written, code):
    (here / "job.yaml").write_text(written)
    done = isthmus("validate", "job.yaml")
    assert done.code == code
    assert len(done.err.splitlines()) == 1
    assert done.err.rstrip("\n").isprintable()
    assert "\\n" in done.err


@pytest.mark.parametrize(
    "words",
    [
        ("promote", "a", "x\x1b[31m"),
        ("stack", "up", "--port", "x\x1b[31m"),
        ("watch", "--listen", "x\x1b"),
    ],
    ids=" ".join,
)
def test_a_wrong_argument_is_quoted_without_being_obeyed(here: Path, isthmus, words):
    done = isthmus(*words)
    assert done.code == 2
    assert "\x1b" not in done.err
    assert "x\\x1b" in done.err


def test_a_result_names_its_file_without_moving_the_cursor(here: Path, isthmus):
    (here / "job\x1b[31m.yaml").write_text("name: a\ndata: x.csv\n")
    done = isthmus("validate", "job\x1b[31m.yaml", "--no-data")
    assert done.code == 0
    assert "job\\x1b[31m.yaml is right" in done.out


def test_the_first_line_of_an_error_is_told_shortened_and_that_of_none_by_its_type():
    assert first_line(ValueError("\n broken\nat line 2")) == "broken"
    assert first_line("x" * 20, 10) == "x" * 9 + "…"
    assert (first_line(TimeoutError()), first_line(" \n")) == ("TimeoutError", "no reason given")
    assert in_one_line(ValueError("broken\nat line 2")) == "ValueError: broken"
    assert in_one_line(TimeoutError()) == "TimeoutError: "


@pytest.mark.parametrize(
    ("asked", "there", "meant"),
    [
        ("vea", ["plain", "vae"], "vae"),
        ("konv", ["conv", "dense"], "conv"),
        ("wait", ["level", "weight"], "weight"),
        ("amount", ["country", "hours"], None),
    ],
)
def test_only_a_name_that_is_much_alike_is_proposed(
    asked: str, there: list[str], meant: str | None
):
    said = nearest(asked, there, "The file has")
    hint = "" if meant is None else f'did you mean "{meant}"? '
    assert said == f"{hint}The file has: {', '.join(there)}"
