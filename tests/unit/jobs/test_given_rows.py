"""Training on rows that Python holds: frames, arrays and tensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
import yaml

import isthmus
from isthmus.data.prepared.keeping import keep_rows
from isthmus.errors import DataError, SpecError, UsageError
from isthmus.jobs.given_rows import job_on_rows
from isthmus.jobs.specs import check_job
from isthmus.spec import Settings
from tests.reading import read_to_train

GENERATOR = np.random.default_rng(0)
ROWS = GENERATOR.standard_normal((200, 2)).astype(np.float32) @ GENERATOR.standard_normal((2, 4))
FRAME = pd.DataFrame(ROWS, columns=list("abcd"), index=np.arange(200) + 7).assign(
    colour=np.where(ROWS[:, 0] > 0, "red", "blue"), id=np.arange(200)
)
FRAMES = {
    "pandas": FRAME,
    "pandas with categories": FRAME.astype({"colour": "category"}),
    "polars": pl.DataFrame(FRAME),
    "arrow": pa.Table.from_pandas(FRAME, preserve_index=False),
}
ARRAYS = {
    "numpy": ROWS,
    "torch": torch.from_numpy(ROWS),
    "torch with gradients": torch.from_numpy(ROWS).requires_grad_(),
    "lists": ROWS.tolist(),
}
JOB = {
    "name": "given",
    "data": {"exclude": ["id"], "categories": ["colour"]},
    "training": {"epochs": 1},
}


@pytest.fixture
def settings(here: Path) -> Settings:
    return Settings.from_environment({}, here)


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_frames_are_read_like_a_file_without_their_index(settings, frame):
    with job_on_rows(JOB, frame, (), settings) as on_rows:
        job = check_job(on_rows)
    rows, data = read_to_train(job.data)
    assert data.columns == ("a", "b", "c", "d", "colour")
    assert data.categories == {"colour": ("blue", "red")}
    np.testing.assert_allclose(rows.values[:, :4], ROWS, atol=1e-6)


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_arrays_and_tensors_are_read_like_a_file(settings, array):
    with job_on_rows({"name": "given"}, array, (), settings) as on_rows:
        job = check_job(on_rows)
    np.testing.assert_allclose(read_to_train(job.data)[0].values, ROWS, atol=1e-6)


def test_the_same_rows_are_kept_once_and_nothing_else_is_left(here):
    first, again = keep_rows(FRAME, here / "data"), keep_rows(FRAME.copy(), here / "data")
    assert first.path == again.path
    assert (first.is_new, again.is_new) == (True, False)
    assert keep_rows(FRAME[:50], here / "data").path != first.path
    assert len(list((here / "data").iterdir())) == 2


def test_a_job_file_is_trained_on_other_rows(settings):
    content = {**JOB, "data": {**JOB["data"], "path": "never-there.csv"}}
    Path("job.yaml").write_text(yaml.safe_dump(content))
    with job_on_rows("job.yaml", FRAME, ["training.epochs=3"], settings) as found:
        assert (found.data.path.endswith(".parquet"), found.training.epochs) == (True, 3)
    with job_on_rows(check_job(content), FRAME, (), settings) as again:
        assert again.data.path == found.data.path


REFUSED = {
    "a path": ("rows.csv", r'"rows.csv" is a path; give it as data.path of the job'),
    "a dict": (FRAME.to_dict("list"), "a dict is no rows; make a frame of it"),
    "a lazy frame": (pl.DataFrame(FRAME).lazy(), r"a LazyFrame has no rows yet; give .*collect"),
    "texts": (np.array([["a", "b"]]), "are not numbers; give a numeric array"),
    "one axis": (np.zeros(5), r"data of shape \(5,\) are no rows"),
    "lists of different lengths": ([[1, 2], [3]], "rows of different shapes are no array"),
    "a frame of mixed types": (pd.DataFrame({"a": [1, "x", 2.5]}), "frame: a column mixes types"),
}


@pytest.mark.parametrize(("rows", "said"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_rows_is_refused_in_one_line_and_leaves_nothing(here, rows, said):
    with pytest.raises(DataError, match=said) as refused:
        keep_rows(rows, here / "data")
    assert len(str(refused.value).splitlines()) == 1
    assert list((here / "data").iterdir()) == []


def test_a_data_section_that_is_none_is_refused(settings):
    with (
        pytest.raises(SpecError, match="is no section"),
        job_on_rows({"name": "given", "data": "rows.csv"}, FRAME, (), settings),
    ):
        pass


@pytest.mark.parametrize(
    ("job", "rows", "said"),
    [
        ({"name": "given"}, FRAME[:1], "frame: "),
        ({"name": "given"}, ROWS[:1], "array: "),
        ({"name": "given", "latent_dim": -1}, FRAME, "latent_dim"),
    ],
    ids=["a frame of one row", "an array of one row", "a wrong job"],
)
def test_what_is_refused_is_told_of_the_rows_and_leaves_no_file(settings, job, rows, said):
    with pytest.raises(UsageError) as refused:
        isthmus.train(job, data=rows, settings=settings)
    assert str(refused.value).startswith(said)
    assert str(settings.home) not in str(refused.value)
    assert list((settings.home / "data").iterdir()) == []


def test_a_file_that_an_earlier_run_reads_stays_when_the_rows_are_refused(settings):
    earlier = keep_rows(FRAME[:1], settings.home / "data").path
    with pytest.raises(DataError):
        isthmus.train({"name": "given"}, data=FRAME[:1], settings=settings)
    assert earlier.exists()


@pytest.mark.slow
def test_a_frame_is_trained_on_and_others_are_scored_by_name(settings):
    result = isthmus.train(JOB, data=FRAME, settings=settings)
    pair = isthmus.load(str(result.pair), settings=settings)
    found = pair.detect(pl.DataFrame(FRAME[["colour", "id", *"dcba"]]))
    assert found.columns == ["id", "score", "p_value", "anomaly", "reason"]
    pd.testing.assert_series_equal(
        pair.detect(FRAME)["score"], found["score"].to_pandas(), check_index=False
    )
