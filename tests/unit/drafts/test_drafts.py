"""`isthmus init`: whatever the data are, the drafted job file is accepted as it stands."""

from __future__ import annotations

import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from isthmus.drafts import draft_job, name_of, save
from isthmus.errors import DataError
from isthmus.jobs.preparation import Prepared, prepare
from isthmus.jobs.specs import load_job_file

pytestmark = pytest.mark.usefixtures("here")
ROWS = 200
RNG = np.random.default_rng(0)


def drafted(path: str) -> tuple[dict[str, Any], Prepared, str]:
    """The fields of the drafted file, what training makes of it, and its text."""
    save(draft_job(path), Path("job.yaml"), replace_existing=True)
    prepared = prepare(load_job_file("job.yaml"))
    prepared.close()
    text = Path("job.yaml").read_text()
    return yaml.safe_load(text), prepared, text


def table(rows: int = ROWS) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "order_id": [f"A{number * 7919 % 100_003}" for number in range(rows)],
            "taken_at": [f"2024-01-{1 + number * 5 % 28:02d}" for number in range(rows)],
            "colour": RNG.choice(["red", "green", "blue"], rows),
            "flow": RNG.normal(size=rows),
            "heat": np.where(np.arange(rows) % 50 == 3, np.nan, RNG.normal(size=rows)),
            "unit": "bar",
            "remark": [f"seen by {number}" for number in range(rows)],
            "class": RNG.choice([0, 1], rows, p=[0.9, 0.1]),
        }
    )


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "parquet", "feather", "jsonl"])
def test_each_column_of_a_table_gets_its_part_and_the_file_says_why(ending):
    frame = table()
    if ending.startswith("csv"):
        frame.to_csv(f"t.{ending}", index=False)
    elif ending == "jsonl":
        frame.to_json("t.jsonl", orient="records", lines=True)
    else:
        getattr(frame, f"to_{ending}")(f"t.{ending}")
    job, prepared, text = drafted(f"t.{ending}")
    assert job["name"] == "t"
    assert job["data"]["kind"] == "tabular"
    assert job["data"]["exclude"] == ["order_id", "taken_at", "unit", "remark"]
    assert job["data"]["categories"] == ["colour"]
    assert job["data"]["labels"] == "class"
    assert job["data"]["missing"] == "mean"
    assert prepared.plan.row_shape == (5,)  # three colours, flow, heat
    assert "- order_id  # an identifier, by its name" in text
    assert "- unit  # is bar in every row" in text
    assert "# keep_labels: [0]" in text
    Path("job.yaml").write_text(text.replace("# keep_labels", "keep_labels"))
    kept = prepare(load_job_file("job.yaml")).split_sizes
    assert sum(kept.values()) == (frame["class"] == 0).sum()


def test_a_table_with_regular_times_becomes_a_series():
    times = pd.date_range("2024-01-01", periods=3000, freq="min")
    values = np.sin(np.arange(3000) / 9)
    frame = pd.DataFrame({"time": times, "a": values, "state": ["on", "off"] * 1500})
    frame.to_csv("s.csv", index=False)
    job, prepared, text = drafted("s.csv")
    assert (job["data"]["kind"], job["data"]["time"]) == ("series", "time")
    assert prepared.plan.row_shape == (1, 64)
    assert "a series takes no categories" in text


def test_several_series_in_one_table_are_told_apart():
    frames = [
        pd.DataFrame(
            {
                "time": pd.date_range("2024-01-01", periods=600, freq="s"),
                "machine": name,
                "a": RNG.normal(size=600),
            }
        )
        for name in ("m1", "m2")
    ]
    pd.concat(frames).to_parquet("s.parquet", index=False)
    job, prepared, _ = drafted("s.parquet")
    assert job["data"]["series_id"] == "machine"
    assert prepared.schema.kind == "series"


ARRAYS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "the usual name": (
        {"x": RNG.normal(size=(90, 5)), "y": RNG.integers(0, 3, 90)},
        {"kind": "tabular", "labels": "y"},
    ),
    "no usual name": (
        {"rows": RNG.normal(size=(90, 5)), "weights": RNG.normal(size=90)},
        {"kind": "tabular", "key": "rows"},
    ),
    "gaps": ({"x": np.where(RNG.random((90, 5)) < 0.05, np.nan, 1.0)}, {"missing": "mean"}),
    "pictures": (
        {"images": RNG.integers(0, 255, (40, 16, 16), dtype=np.uint8), "label": np.arange(40) % 2},
        {"kind": "images", "key": "images", "labels": "label"},
    ),
    "tiny pictures": ({"x": RNG.random((40, 3, 3))}, {"kind": "images"}),
    "one axis": ({"x": RNG.normal(size=3000)}, {"kind": "series"}),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_the_arrays_of_an_npz_are_found(case):
    content, expected = ARRAYS[case]
    if case == "gaps":
        content["x"] = content["x"] * RNG.normal(size=(90, 5))
    np.savez("a.npz", **content)
    job, _, _ = drafted("a.npz")
    assert expected.items() <= job["data"].items()


def test_an_npy_and_a_bundled_set_are_drafted_too():
    np.save("a.npy", RNG.normal(size=(80, 4)))
    assert drafted("a.npy")[0]["data"]["kind"] == "tabular"
    job, prepared, text = drafted("sklearn:digits")
    assert (job["name"], job["data"]["labels"]) == ("digits", "target")
    assert prepared.plan.row_shape == (1, 8, 8)
    assert "# keep_labels: [3]" in text


def picture(path: str, height: int, width: int) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 255, (height, width, 3), dtype=np.uint8)).save(path)


def test_images_of_several_sizes_get_one_and_subfolders_are_labels():
    for number in range(30):
        picture(f"photos/{'cat' if number % 2 else 'dog'}/{number}.png", 40 + number % 3, 64)
    job, prepared, text = drafted("photos")
    assert job["data"]["image_size"] == [40, 64]
    assert job["data"]["labels"] == "folder"
    assert prepared.plan.row_shape == (3, 40, 64)
    assert "40x64 to 42x64" in text


def test_images_of_one_size_keep_it():
    for number in range(20):
        picture(f"photos/{number}.png", 24, 24)
    assert "image_size" not in drafted("photos")[0]["data"]


def test_large_images_are_made_smaller():
    for number in range(6):
        picture(f"photos/{number}.png", 300, 600)
    assert drafted("photos")[0]["data"]["image_size"] == [64, 128]


@pytest.mark.parametrize(("samples", "window"), [(8000, 1024), (700, 512)])
def test_sounds_get_a_window_that_the_shortest_file_holds(samples, window):
    Path("hum").mkdir()
    for number in range(4):
        noise = RNG.normal(scale=0.1, size=samples + number)
        soundfile.write(f"hum/{number}.wav", noise, 8000)
    job, prepared, _ = drafted("hum")
    assert (job["data"]["kind"], job["data"]["window"]) == ("audio", window)
    assert prepared.plan.row_shape == (1, window)


def test_decimal_commas_and_signs_for_missing_values_are_found():
    frame = pd.DataFrame(
        {
            "a": [f"{number},25" for number in range(ROWS)],
            "b": ["?" if number % 40 == 7 else str(number * 3 % 50) for number in range(ROWS)],
        }
    )
    frame.to_csv("t.csv", index=False, sep=";")
    job, prepared, _ = drafted("t.csv")
    assert {"decimal": ",", "missing_values": ["?"], "missing": "mean"}.items() <= job[
        "data"
    ].items()
    assert prepared.plan.row_shape == (2,)


def test_thousands_and_percentages_are_told_apart_from_texts():
    frame = pd.DataFrame(
        {
            "litres": [f"{number * 7919 % 90_000_000 + 10_000:,}" for number in range(ROWS)],
            "pounds": [f"{number * 104_729 % 9_000_000 + 1_000:,}" for number in range(ROWS)],
            "share": [f"{number % 97}.5%" for number in range(ROWS)],
        }
    )
    frame.to_csv("t.csv", index=False)
    job, prepared, text = drafted("t.csv")
    assert job["data"]["thousands"] == ","
    assert job["data"]["exclude"] == ["share"]
    assert prepared.plan.row_shape == (2,)
    assert "percentages, such as 0.5%" in text


def test_what_lies_below_the_rows_looked_at_is_found_by_reading_all(monkeypatch):
    monkeypatch.setattr("isthmus.data.columns.survey._MOST_ROWS", 50)
    monkeypatch.setattr("isthmus.data.columns.survey._FEWEST_ROWS", 50)
    frame = pd.DataFrame(RNG.normal(size=(ROWS, 3)).round(3).astype(str), columns=list("abc"))
    frame.loc[150, "a"] = "broken"
    frame.loc[160, "b"] = ""
    frame.to_csv("t.csv", index=False)
    job, _, _ = drafted("t.csv")
    assert job["data"]["exclude"] == ["a"]
    assert job["data"]["missing"] == "mean"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Path("t.csv").write_text("a,b\nx1,y1\nx2,y2\nx3,y3\n"), "no column is left"),
        (lambda: Path("t.csv").write_text("a\n1\n1\n1\n1\n"), "no column is left"),
        (lambda: Path("t.csv").write_text("a,b\n"), "no rows"),
        (lambda: Path("t.csv").write_text(""), "empty"),
    ],
    ids=["only texts", "only one value", "no rows", "an empty file"],
)
def test_what_no_job_file_could_train_on_is_refused_in_one_line(make, said):
    make()
    with pytest.raises(DataError, match=said) as caught:
        draft_job("t.csv")
    assert "\n" not in str(caught.value)


def test_an_existing_job_file_is_kept_unless_asked_otherwise(isthmus):
    table().to_csv("t.csv", index=False)
    Path("t.yaml").write_text("mine")
    kept = isthmus("init", "t.csv")
    assert (kept.code, Path("t.yaml").read_text()) == (2, "mine")
    assert "exists already" in kept.err
    assert isthmus("init", "t.csv", "--force").code == 0
    assert isthmus("validate", "t.yaml").code == 0
    assert sorted(each.name for each in Path.cwd().glob("*t.yaml*")) == ["t.yaml"]


def test_init_writes_where_it_is_told_and_says_what_is_next(isthmus):
    table().to_csv("my data.csv", index=False)
    done = isthmus("init", "my data.csv", "-o", "jobs/first.yaml")
    assert done.code == 0, done.err
    assert "Next: isthmus train jobs/first.yaml" in done.out
    assert "left out: order_id, taken_at, unit, remark" in done.out
    assert yaml.safe_load(Path("jobs/first.yaml").read_text())["name"] == "my-data"


def test_examples_are_listed_without_any_data(isthmus):
    listed = isthmus("init", "--list").out
    assert "digits.yaml" in listed
    assert "isthmus init sklearn:iris" in listed
    assert isthmus("init").code == 2


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("data/cells.csv.gz", "cells"),
        ("s3://bucket/photos/", "photos"),
        ("données été.parquet", "donn-es-t"),
        ("sklearn:iris", "iris"),
        ("parts/*.csv", "csv"),
        ("..", "job"),
    ],
)
def test_a_job_is_named_after_its_data(path, name):
    assert name_of(path) == name


# -- odd tables -----------------------------------------------------------------------------------

NAMES = st.text(string.printable.strip() + "äß日 ", min_size=1, max_size=8).filter(
    lambda name: name.strip() == name and '"' not in name
)
CELLS = {
    "numbers": st.floats(-1e6, 1e6, width=32).map(str),
    "whole": st.integers(-5, 5).map(str),
    "few texts": st.sampled_from(["red", "green", "on", "1e", "-"]),
    "texts": st.text("abcdefghij ", min_size=1, max_size=9),
    "dates": st.dates().map(str),
    "commas": st.integers(0, 999).map(lambda n: f"{n},5"),
    "signs": st.one_of(st.integers(0, 99).map(str), st.just("?")),
    "gaps": st.one_of(st.integers(0, 99).map(str), st.just("")),
    "booleans": st.sampled_from(["True", "False"]),
    "constant": st.just("7"),
    "infinite": st.one_of(st.just("inf"), st.just("1e39"), st.integers(0, 9).map(str)),
}


@st.composite
def odd_tables(draw: Callable[..., Any]) -> pd.DataFrame:
    kinds = draw(st.lists(st.sampled_from(sorted(CELLS)), min_size=1, max_size=5))
    names = draw(st.lists(NAMES, min_size=len(kinds), max_size=len(kinds), unique=True))
    rows = 60
    columns = {
        name: draw(st.lists(CELLS[kind], min_size=rows, max_size=rows))
        for name, kind in zip(names, kinds, strict=True)
    }
    sure = [f"{value:.3f}" for value in np.random.default_rng(1).normal(size=rows)]
    return pd.DataFrame({**columns, "surely a number": sure})


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow,
                           HealthCheck.data_too_large, HealthCheck.large_base_example],
)  # fmt: skip
@given(odd_tables(), st.sampled_from(["csv", "parquet"]))
def test_a_job_file_drafted_for_any_table_is_accepted_as_it_stands(frame, ending):
    if ending == "csv":
        frame.to_csv("t.csv", index=False)
    else:
        frame.to_parquet("t.parquet", index=False)
    if ending == "parquet":
        frame.astype({"surely a number": float}).to_parquet("t.parquet", index=False)
    _, prepared, _ = drafted(f"t.{ending}")
    assert prepared.plan.row_shape[0] >= 1


def test_photos_of_several_sizes_are_drafted_for_a_denoiser_of_any_size():
    for number in range(12):
        picture(f"photos/{number}.png", 50 + number, 90 - 2 * number)
    job, prepared, text = drafted("photos")
    assert (job["variant"], job["data"]["patch"]) == ("denoising", 48)
    assert job["data"]["augment"] == ["flip", "turn"]
    assert not {"latent_dim", "image_size", "clean_path"} & {*job, *job["data"]}
    assert prepared.plan.row_shape == (3, 48, 48)
    assert "50x90 to 61x68" in text
    assert "2,048 patches in an epoch" in text
    assert "# image_size: [56, 80]" in text
    assert "# clean_path: clean" in text


def test_small_pictures_of_several_sizes_are_resized():
    for number in range(12):
        picture(f"icons/{number}.png", 20 + number, 24)
    job, _, _ = drafted("icons")
    assert "patch" not in job["data"]
    assert job["data"]["image_size"] == [24, 24]
