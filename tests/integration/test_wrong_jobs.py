"""Wrong job files and wrong data: one clear line each, exit code 2, nothing started or left."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

WRONG_JOBS = {
    "an empty file": ("", "is empty"),
    "not yaml": ("name: a\n data: [", "is not YAML"),
    "a list": ("- name: a\n", "holds a list"),
    "no data": ("name: a\n", "data: is missing"),
    "an unknown field": ("name: a\ndata: x.csv\nlatent: 3\n", "line 3: latent: no such field"),
    "a name that is none": ("name: a/b\ndata: x.csv\n", "line 1: name: 'a/b' is not a name"),
    "an unknown variant": ("name: a\ndata: x.csv\nvariant: vea\n", 'did you mean "vae"?'),
    "an option out of range": (
        "name: a\ndata: x.csv\nvariant: {name: vae, beta: -1}\n",
        "line 3: variant.beta: -1 is not allowed",
    ),
    "a batch that does not divide": (
        "name: a\ndata: x.csv\ntraining: {workers: 3, global_batch_size: 100}\n",
        "global_batch_size=100 is not divisible by workers=3; use 99 or 102",
    ),
    "a net for other data": (
        "name: a\ndata: {path: x.csv, kind: tabular}\nnet: conv\n",
        '"conv" does not take tabular',
    ),
    "epochs that are no number": (
        "name: a\ndata: x.csv\ntraining:\n  epochs: many\n",
        "line 4: training.epochs: 'many' is not allowed",
    ),
    "the same field twice": ("name: a\nname: b\ndata: x.csv\n", "stands twice"),
}


def nothing(folder: Path) -> None:
    """No data at all."""


def empty_csv(folder: Path) -> None:
    (folder / "x.csv").touch()


def header_only(folder: Path) -> None:
    (folder / "x.csv").write_text("a,b\n")


def words(folder: Path) -> None:
    (folder / "x.csv").write_text("a,b\n" + "1,red\n2,blue\n" * 30)


def missing(folder: Path) -> None:
    (folder / "x.csv").write_text("a,b\n" + "1,2\n3,\n" * 30)


def infinite(folder: Path) -> None:
    (folder / "x.csv").write_text("a,b\n" + "1,2\n3,inf\n" * 30)


def all_constant(folder: Path) -> None:
    (folder / "x.csv").write_text("a,b\n" + "1,2\n" * 60)


def three_rows(folder: Path) -> None:
    (folder / "x.csv").write_text("a,b\n1,2\n3,4\n5,7\n")


def not_an_array(folder: Path) -> None:
    (folder / "x.npz").write_bytes(b"PK but not really")


def pickled(folder: Path) -> None:
    np.save(folder / "x.npy", np.array([{"a": 1}, {"b": 2}]), allow_pickle=True)


def uneven_images(folder: Path) -> None:
    (folder / "photos").mkdir()
    for number in range(12):
        size = (8 + number % 2, 8)
        Image.new("L", size, number * 20).save(folder / "photos" / f"{number}.png")


def broken_image(folder: Path) -> None:
    uneven_images(folder)
    (folder / "photos" / "3.png").write_bytes(b"not a picture")


WRONG_DATA = {
    "no such file": (nothing, "x.csv", "x.csv"),
    "an empty file": (empty_csv, "x.csv", "x.csv"),
    "a header and no rows": (header_only, "x.csv", "x.csv"),
    "a column of words": (words, "x.csv", "b"),
    "missing values": (missing, "x.csv", "data.missing"),
    "infinity": (infinite, "x.csv", "inf"),
    "nothing but constants": (all_constant, "x.csv", "all 60 rows are alike"),
    "too few rows": (three_rows, "x.csv", "3 rows"),
    "an npz that is none": (not_an_array, "x.npz", "x.npz"),
    "a pickle": (pickled, "x.npy", "x.npy"),
    "images of unequal size": (uneven_images, "photos", "image_size"),
    "a broken image": (broken_image, "photos", "3.png"),
    "a bucket that nobody has": (nothing, "s3://", "s3://"),
}


def refused(isthmus, here: Path, said: str, code: int = 2) -> None:
    before = {path for path in here.rglob("*") if ".isthmus" not in path.parts}
    done = isthmus("train", "job.yaml")
    assert done.code == code, done
    assert len(done.err.strip().splitlines()) == 1, done.err
    assert said in done.err
    assert done.out == ""
    assert {path for path in here.rglob("*") if ".isthmus" not in path.parts} == before
    assert [path.name for path in here.glob(".isthmus/*") if path.name != "logs"] == []


@pytest.mark.parametrize(("text", "said"), WRONG_JOBS.values(), ids=WRONG_JOBS.keys())
def test_a_wrong_job_file_is_one_line(here, isthmus, text, said):
    (here / "job.yaml").write_text(text)
    refused(isthmus, here, said)


def test_many_faults_are_all_told_at_once(here, isthmus):
    (here / "job.yaml").write_text("name: a\ndata: x.csv\nvariant: vea\ntraining: {epochs: 0}\n")
    done = isthmus("train", "job.yaml")
    assert done.code == 2
    assert len(done.err.strip().splitlines()) == 2


def test_there_may_be_no_job_file(here, isthmus):
    refused(isthmus, here, "job.yaml: no such file")


@pytest.mark.parametrize(("make", "path", "said"), WRONG_DATA.values(), ids=WRONG_DATA.keys())
def test_wrong_data_are_one_line(here, isthmus, make, path, said):
    make(here)
    (here / "job.yaml").write_text(f"name: a\ndata: {path}\n")
    refused(isthmus, here, said, code=3)
