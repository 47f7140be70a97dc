"""Wrong data end in one clear line: what, which column, row or file, and what to do."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from PIL import Image

from isthmus.errors import DataError
from isthmus.spec import DataSpec
from isthmus.types import ScalingMode
from tests.reading import read_like, read_to_train


def text(name: str, content: str | bytes) -> Callable[[], object]:
    """A file of this content; names with a folder make the folder."""

    def make() -> None:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return make


def array(name: str, content: object, **others: object) -> Callable[[], object]:
    def make() -> None:
        if name.endswith(".npy"):
            np.save(name, np.asarray(content), allow_pickle=True)
        else:
            arrays: dict[str, Any] = {"x": content} if content is not None else {}
            np.savez(name, **arrays, **{key: np.asarray(value) for key, value in others.items()})

    return make


def sound(name: str, samples: int = 4000, rate_hz: int = 8000) -> Callable[[], object]:
    def make() -> None:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(name, np.sin(np.arange(samples)), rate_hz)

    return make


def picture(name: str, size: tuple[int, int] = (8, 8), deep: bool = False) -> Callable[[], object]:
    def make() -> None:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.arange(size[0] * size[1]).reshape(size)
        Image.fromarray(pixels.astype(np.uint16 if deep else np.uint8)).save(name)

    return make


def cut_off(name: str, make_whole: Callable[[], object]) -> Callable[[], object]:
    def make() -> None:
        make_whole()
        content = Path(name).read_bytes()
        Path(name).write_bytes(content[: len(content) // 2])

    return make


def both(*makers: Callable[[], object]) -> Callable[[], object]:
    return lambda: [make() for make in makers]


GOOD = "a,b,label\n" + "".join(f"{i},{i * i},{i % 2}\n" for i in range(20))
RANDOM = np.random.default_rng(0).normal(size=(20, 3))
HOLED = np.where(np.arange(60).reshape(20, 3) == 31, np.nan, RANDOM)

CASES: dict[str, tuple[Callable[[], object], dict[str, Any], str]] = {
    "no such file, but one of nearly that name": (
        text("train.csv", GOOD), {"path": "trian.csv"},
        'trian.csv: no such file or folder; did you mean "train.csv"?',
    ),
    "no such folder": (
        text("x.csv", GOOD), {"path": "nowhere/x.csv"},
        'nowhere/x.csv: no such file or folder; there is no folder "nowhere" either',
    ),
    "unknown ending": (
        text("x.xlsx", "PK"), {"path": "x.xlsx"},
        'x.xlsx: has the ending ".xlsx"; read are ',
    ),
    "folder with no readable file": (
        text("f/x.txt", "hello"), {"path": "f"}, "f: holds no file that can be read (",
    ),
    "folder of images and audio": (
        both(picture("f/a.png"), sound("f/b.wav")), {"path": "f"},
        "f: holds 1 audio file and 1 image; name the files of one kind with a glob, such as f/*.",
    ),
    "empty file": (text("x.csv", ""), {"path": "x.csv"}, "x.csv: the file is empty (0 bytes)"),
    "only a header": (
        text("x.csv", "a,b\n"), {"path": "x.csv"}, "x.csv: has a header but no rows",
    ),
    "only empty lines": (text("x.csv", "\n\n"), {"path": "x.csv"}, "x.csv: holds only empty lines"),
    "text column": (
        text("x.csv", "a,city\n1,Bonn\n2,Jena\n3,Kiel\n"), {"path": "x.csv"},
        'x.csv: column "city" is not numeric (for example "Bonn", in row 0, counted from 0); '
        "write it as numbers, or train with it under data.exclude",
    ),
    "one text among numbers": (
        text("x.csv", "a,b\n1,2\n2,oops\n3,4\n"), {"path": "x.csv"},
        'column "b" is not numeric (for example "oops", in row 1, counted from 0)',
    ),
    "time column": (
        text("x.csv", "t,b\n2020-01-01,2\n2020-01-02,3\n"), {"path": "x.csv"},
        'column "t" is not numeric (for example "2020-01-01", in row 0, counted from 0); '
        "list it under data.exclude, or name it as data.time",
    ),
    "column twice": (
        text("x.csv", "a,b,a\n1,2,3\n"), {"path": "x.csv"},
        'x.csv: more than one column is called "a"',
    ),
    "column absent": (
        text("x.csv", GOOD), {"path": "x.csv", "columns": ("aa",)},
        'x.csv: no column "aa" (data.columns); did you mean "a"? The file has: a, b, label',
    ),
    "excluded column absent": (
        text("x.csv", GOOD), {"path": "x.csv", "exclude": ("labels",)},
        'no column "labels" (data.exclude); did you mean "label"?',
    ),
    "label column absent": (
        text("x.csv", GOOD), {"path": "x.csv", "labels": "class"},
        'no column "class" (data.labels); The file has: a, b, label',
    ),
    "no column left": (
        text("x.csv", GOOD), {"path": "x.csv", "exclude": ("a", "b", "label")},
        "x.csv: data.exclude and data.labels leave no column",
    ),
    "line too long": (
        text("x.csv", "a,b\n1,2\n3,4,5\n"), {"path": "x.csv"},
        "x.csv: is not a table: Row #3: Expected 2 columns, got 3: 3,4,5",
    ),
    "no UTF-8": (
        text("x.csv", "a,caf\xe9\n1,2\n".encode("latin1")), {"path": "x.csv"},
        "x.csv: is not UTF-8 text",
    ),
    "missing values": (
        text("x.csv", "a,b\n1,2\n2,\n3,\n,4\n"), {"path": "x.csv"},
        'x.csv: column "b" has missing values (and 1 other column too), first in row 1, counted '
        "from 0; fill them in, or train with data.missing: mean or drop",
    ),
    "missing values in an array": (
        array("x.npy", HOLED), {"path": "x.npy"},
        "x.npy: column 1 has missing values, first in row 10",
    ),
    "all rows have missing values": (
        text("x.csv", "a,b\n1,\n,2\n3,\n"), {"path": "x.csv", "missing": "drop"},
        "x.csv: every row has a missing value",
    ),
    "a column with no value": (
        text("x.csv", "a,b\n1,\n2,\n3,\n"), {"path": "x.csv", "missing": "mean"},
        'x.csv: column "b" has no value at all; list it under data.exclude',
    ),
    "mean without a zero that is the mean": (
        text("x.csv", GOOD), {"path": "x.csv", "missing": "mean", "scaling": ScalingMode.MINMAX},
        "data.missing: mean needs data.scaling: standard, not minmax",
    ),
    "infinity": (
        text("x.csv", "a,b\n1,2\n2,inf\n3,4\n"), {"path": "x.csv", "missing": "mean"},
        'x.csv: column "b" holds infinity or a value beyond float32 (3.4e38), first in row 1',
    ),
    "beyond float32": (
        array("x.npy", RANDOM * 1e300), {"path": "x.npy"}, "x.npy: column 0 holds infinity",
    ),
    "infinity in images": (
        array("x.npy", np.full((5, 8, 8), np.inf)), {"path": "x.npy"},
        "x.npy: holds infinity or a value beyond float32 (3.4e38), first in row 0",
    ),
    "all rows alike": (
        text("x.csv", "a,b\n" + "1,2\n" * 9), {"path": "x.csv"}, "x.csv: all 9 rows are alike",
    ),
    "black images": (
        array("x.npy", np.zeros((5, 8, 8))), {"path": "x.npy"}, "x.npy: every value is 0",
    ),
    "two rows": (
        text("x.csv", "a,b\n1,2\n2,3\n"), {"path": "x.csv"},
        "x.csv: 2 row(s) to train on; at least 3 are needed",
    ),
    "damaged parquet": (
        cut_off("x.parquet", lambda: pd.DataFrame({"a": RANDOM[:, 0]}).to_parquet("x.parquet")),
        {"path": "x.parquet"}, "x.parquet: is damaged or no parquet file",
    ),
    "damaged npz": (
        cut_off("x.npz", array("x.npz", RANDOM)), {"path": "x.npz"},
        "x.npz: is damaged or no npz file (not a zip)",
    ),
    "npz that is no zip": (
        text("x.npz", "hello, I am text"), {"path": "x.npz"},
        "x.npz: is damaged or no npz file (not a zip)",
    ),
    "damaged npy": (
        cut_off("x.npy", array("x.npy", RANDOM)), {"path": "x.npy"}, "x.npy: is damaged",
    ),
    "npy that is none": (
        text("x.npy", "hello, I am text"), {"path": "x.npy"}, "is no npy file",
    ),
    "objects in an npy": (
        array("x.npy", np.array([{"a": 1}, None])), {"path": "x.npy"},
        "x.npy: holds Python objects",
    ),
    "objects in an npz": (
        array("x.npz", np.array([{"a": 1}, None])), {"path": "x.npz"},
        'x.npz: array "x" holds Python objects, which are never loaded',
    ),
    "several arrays": (
        array("x.npz", None, left=RANDOM, right=RANDOM), {"path": "x.npz"},
        "x.npz: holds 2 arrays (left, right); say which holds the rows with data.key",
    ),
    "key absent": (
        array("x.npz", None, left=RANDOM, right=RANDOM), {"path": "x.npz", "key": "lefft"},
        'x.npz: no array "lefft"; did you mean "left"? Valid: left, right',
    ),
    "array of labels absent": (
        array("x.npz", RANDOM, y=np.arange(20)), {"path": "x.npz", "labels": "target"},
        'x.npz: no array "target" for data.labels; Valid: x, y',
    ),
    "labels of another length": (
        array("x.npz", RANDOM, y=np.arange(7)), {"path": "x.npz", "labels": "y"},
        'x.npz: labels "y" have shape (7,); one for each of the 20 rows is needed',
    ),
    "labels that match nothing": (
        text("x.csv", GOOD), {"path": "x.csv", "labels": "label", "keep_labels": (7, "x")},
        "x.csv: no row is labelled 7, x; the labels are 0, 1",
    ),
    "complex numbers": (
        array("x.npy", RANDOM + 1j), {"path": "x.npy"}, "x.npy: holds complex values",
    ),
    "texts in an array": (
        array("x.npy", np.array([["a", "b"]])), {"path": "x.npy"}, "x.npy: holds <U1 values",
    ),
    "one axis": (
        array("x.npy", np.arange(9.0)), {"path": "x.npy"},
        "x.npy has one axis, shape (9,); rows need two",
    ),
    "five axes": (
        array("x.npy", np.zeros((2, 2, 2, 2, 2))), {"path": "x.npy"}, "x.npy has 5 axes",
    ),
    "no rows in an array": (
        array("x.npy", np.zeros((0, 4))), {"path": "x.npy"}, "x.npy: has shape (0, 4)",
    ),
    "columns of an array": (
        array("x.npy", RANDOM), {"path": "x.npy", "columns": ("a",)},
        "x.npy: the columns of an array have no names",
    ),
    "window longer than the series": (
        text("x.csv", GOOD), {"path": "x.csv", "window": 64},
        "x.csv: the series has 20 steps, fewer than data.window=64; set data.window to at most 20",
    ),
    "images of unequal size": (
        both(picture("f/a.png"), picture("f/b.png", (9, 8))), {"path": "f"},
        "f: images differ in size: a.png is 8x8 and b.png 9x8 (height x width); "
        "set data.image_size",
    ),
    "image that is none": (
        both(picture("f/a.png"), text("f/sub/b.png", "hello")), {"path": "f"},
        "f/sub/b.png: is damaged or no image",
    ),
    "image cut off": (
        both(picture("f/a.png", (64, 64)), cut_off("f/b.png", picture("f/b.png", (64, 64)))),
        {"path": "f"}, "f/b.png: is damaged or no image",
    ),
    "labels of files": (
        picture("f/a.png"), {"path": "f", "labels": "y"},
        'f: data.labels: "y" is not possible for files; use folder',
    ),
    "labels of files in no subfolder": (
        picture("f/a.png"), {"path": "f", "labels": "folder"}, "f: a.png lies in no subfolder",
    ),
    "csv as images": (
        text("x.csv", GOOD), {"path": "x.csv", "kind": "images"},
        "x.csv: data.kind: images is read from a folder or from .png, .jpg",
    ),
    "folder as table": (
        picture("f/a.png"), {"path": "f", "kind": "tabular"},
        "f: is a folder; data.kind: tabular is read from .csv",
    ),
    "csv as audio": (
        text("x.csv", GOOD), {"path": "x.csv", "kind": "audio"},
        "x.csv: is no file of audio; they are read from .wav, .flac",
    ),
    "wav cut off": (
        cut_off("f/a.wav", sound("f/a.wav")), {"path": "f"}, "f/a.wav: is cut off before its end",
    ),
    "flac cut off": (
        cut_off("f/a.flac", sound("f/a.flac")), {"path": "f"}, "f/a.flac: is damaged",
    ),
    "wav that is none": (
        text("f/a.wav", "hello"), {"path": "f"}, "f/a.wav: is damaged or no audio file",
    ),
    "wav without samples": (sound("a.wav", 0), {"path": "a.wav"}, "a.wav: holds no samples"),
    "wav too short": (
        sound("f/a.wav", 500), {"path": "f"},
        "f/a.wav: has 500 samples, fewer than data.window=1024; remove it, or set data.window "
        "to at most 500",
    ),
    "sample rates that differ": (
        both(sound("f/a.wav"), sound("f/b.wav", rate_hz=16000)), {"path": "f"},
        "f: sample rates differ: a.wav has 8000 Hz and b.wav 16000 Hz",
    ),
    "bundled set absent": (
        lambda: None, {"path": "sklearn:digit"},
        'sklearn:digit: no bundled set "digit"; did you mean "digits"?',
    ),
    "bundled labels absent": (
        lambda: None, {"path": "sklearn:iris", "labels": "y"}, 'sklearn:iris: no labels "y"',
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@pytest.mark.usefixtures("in_tmp")
def test_wrong_data_end_in_one_clear_line(case: str) -> None:
    make, fields, expected = CASES[case]
    make()
    before = sorted(Path.cwd().rglob("*"))
    with pytest.raises(DataError) as caught:
        read_to_train(DataSpec(**fields))
    message = str(caught.value)
    assert expected in message
    assert "\n" not in message
    assert caught.value.exit_code == 3
    assert sorted(Path.cwd().rglob("*")) == before, "nothing is left behind"


INPUT_CASES: dict[str, tuple[DataSpec, Callable[[], object], str, tuple[int, ...], str]] = {
    "columns absent": (
        DataSpec(path="x.csv", kind="tabular", columns=("a", "speed", "b")),
        text("in.csv", "b,speeed\n1,2\n"), "in.csv", (3,),
        'in.csv: no column "a", "speed", which the model was trained on; ',
    ),
    "too many features": (
        DataSpec(path="x.npy", kind="tabular"), array("in.npy", RANDOM), "in.npy", (4,),
        "in.npy: has 3 columns; the model was trained on 4",
    ),
    "wrong shape of images": (
        DataSpec(path="sklearn:digits", kind="images"), array("in.npy", np.zeros((5, 9, 9))),
        "in.npy", (1, 8, 8),
        "in.npy: has shape (5, 9, 9); the model takes images of shape (N, 8, 8) or (N, 1, 8, 8) "
        "or (N, 8, 8, 1) or (N, 64)",
    ),
    "wrong size of a file": (
        DataSpec(path="f", kind="images"), both(picture("g/a.png"), picture("g/b.png", (9, 8))),
        "g", (1, 8, 8), "g/b.png: is 9x8 (height x width) and the model takes 8x8",
    ),
    "missing value": (
        DataSpec(path="x.csv", kind="tabular", columns=("a", "b")),
        text("in.csv", "a,b\n1,2\n3,\n"), "in.csv", (2,),
        'in.csv: column "b" has missing values, first in row 1',
    ),
    "channels of a series": (
        DataSpec(path="x.npy", kind="series", window=8, stride=4), array("in.npy", RANDOM),
        "in.npy", (1, 8), "in.npy: has 3 columns; the model was trained on 1",
    ),
    "series too short": (
        DataSpec(path="x.npy", kind="series", window=32, stride=4), array("in.npy", RANDOM),
        "in.npy", (3, 32), "in.npy: the series has 20 steps, and the model takes windows of 32",
    ),
    "text where a number was": (
        DataSpec(path="x.csv", kind="tabular", columns=("a",)), text("in.csv", "a\nx\n"),
        "in.csv", (1,), 'in.csv: column "a" is not numeric',
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", INPUT_CASES)
@pytest.mark.usefixtures("in_tmp")
def test_input_that_a_pair_cannot_take_ends_in_one_clear_line(case: str) -> None:
    data, make, path, row_shape, expected = INPUT_CASES[case]
    make()
    with pytest.raises(DataError) as caught:
        read_like(data, path, row_shape)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
@pytest.mark.usefixtures("in_tmp")
def test_a_file_that_may_not_be_read_is_named() -> None:
    Path("x.csv").write_text(GOOD)
    Path("x.csv").chmod(0)
    with pytest.raises(DataError, match=r"x\.csv: may not be read by this user"):
        read_to_train(DataSpec(path="x.csv"))
