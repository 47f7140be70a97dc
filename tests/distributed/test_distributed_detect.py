"""Detection on a cluster: a part for each file, each exactly once, whatever happens to workers."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest

import isthmus
from isthmus.data import read_provenance
from isthmus.detection.controls import Control
from isthmus.errors import DataError, UsageError
from isthmus.execution.request import Request
from isthmus.execution.running import run as run_job
from isthmus.registry import register_pair
from isthmus.spec import Settings
from isthmus.uses.detect import DetectResult
from tests import untrained
from tests.titles import title_of
from tests.using import detect, detector

settings = untrained.settings

pytestmark = [pytest.mark.distributed, pytest.mark.slow, pytest.mark.usefixtures("ray_session")]

RNG = np.random.default_rng(0)
FILES = 6


def registered(settings: Settings, seed: int = 0) -> str:
    data = {"path": "rows.csv", "columns": list("abcdef")}
    pair = untrained.untrained_pair("on-cluster", settings, seed, data=data)
    return f"on-cluster/{register_pair(pair, settings).version}"


@pytest.fixture(scope="module")
def model(settings: Settings) -> str:
    return registered(settings)


def save(folder: Path, rows: int = 200, *, ending: str = "parquet") -> Path:
    """Writes files of random rows into two folders."""
    for number in range(FILES):
        path = folder / f"day={number % 2}" / f"{number}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        table = pd.DataFrame(RNG.normal(size=(rows, 6)), columns=list("abcdef"))
        if ending == "csv":
            table.to_csv(path, index=False)
        else:
            table.to_parquet(path)
    return folder


def run(
    model: str, settings: Settings, source: object = "in", output: str = "out", **more: Any
) -> DetectResult:
    shared = {
        each: more.pop(each) for each in ("form", "strict", "device", "force") if each in more
    }
    request = Request(address="auto", **shared)
    job = detector(control=more.pop("control", None))
    result = run_job(job, model, str(source), output, settings, request, **more)
    assert isinstance(result, DetectResult)
    return result


def read(path: Path) -> pd.DataFrame:
    return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)


def visible(folder: str = "out") -> list[str]:
    found = (path for path in Path(folder).rglob("*") if path.is_file())
    return sorted(path.relative_to(folder).as_posix() for path in found)


def check_equals_the_local_job(model: str, settings: Settings, source: str, ending: str) -> None:
    """Compares all parts with the results of the same job in this process, row for row."""
    detect(model, source, f"local{ending}", settings)
    expected = read(Path(f"local{ending}"))
    parts = [Path("out", name) for name in visible() if name.endswith(ending)]
    found = pd.concat([read(path) for path in parts], ignore_index=True)
    pd.testing.assert_frame_equal(found, expected, check_exact=ending == ".parquet")


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_parts_have_the_names_and_the_rows_of_their_files(model, settings, here, ending):
    save(Path("in"), ending=ending)
    told: list[tuple[int, int, int]] = []
    result = run(model, settings, on_parts=lambda *done: told.append(done))
    names = [f"day={number % 2}/{number}.{ending}" for number in (0, 2, 4, 1, 3, 5)]
    sidecars = [f"{name}.pair.json" for name in names]
    assert visible() == sorted([*names, *sidecars, "pair.json", "summary.json"])
    check_equals_the_local_job(model, settings, "in", f".{ending}")
    assert told[-1] == (FILES, FILES, 1200)
    summary = json.loads(Path("out/summary.json").read_text())
    assert (summary["parts"], summary["rows"], summary["rejected"]) == (FILES, 1200, 0)
    assert summary["pair_id"] == result.pair_id
    assert summary["anomalies"] == result.anomalies
    for name in names:
        said = read_provenance(Path("out", name))
        assert said is not None
        assert (said.pair_id, said.extra["file"]) == (result.pair_id, name)


def test_series_of_a_folder_are_scored_step_by_step_with_the_ranges_of_all(settings, here):
    steps = np.arange(600)
    for number, length in enumerate((600, 500, 10, 4)):
        load = np.sin(steps[:length] / 4) + 0.05 * RNG.normal(size=length)
        if number == 1:
            load[300:310] += 3
        Path("in").mkdir(exist_ok=True)
        pd.DataFrame({"load": load}).to_csv(f"in/{number}.csv", index=False)
    # The steps of the last file cannot be read, nor one of another.
    Path("in/3.csv").write_text("load\n" + "oops\n" * 4)
    lines = Path("in/1.csv").read_text().splitlines()
    Path("in/1.csv").write_text("\n".join([*lines[:101], "oops", *lines[102:]]) + "\n")
    data = {"path": "in/0.csv", "window": 16, "columns": ["load"]}
    job = {"name": "waves", "data": data, "latent_dim": 2, "training": {"epochs": 5}}
    model = str(isthmus.train(job, settings=settings).pair)
    result = run(model, settings)
    assert (result.rows, result.rejected) == (1109, 5)
    assert [len(read(Path("out", f"{number}.csv"))) for number in range(4)] == [600, 499, 10, 0]
    assert read(Path("out/2.csv"))["score"].isna().all()
    assert 100 not in set(read(Path("out/1.csv"))["step"])
    detect(model, "in", "local.csv", settings)
    assert Path("out.rejected.csv").read_text() == Path("local.csv.rejected.csv").read_text()
    parts = pd.concat([read(Path("out", f"{number}.csv")) for number in range(3)])
    local = read(Path("local.csv"))
    np.testing.assert_allclose(parts["score"], local["score"], rtol=1e-4)
    ranges = read(Path("out.ranges.csv"))
    highest = ranges.loc[ranges["peak_score"].idxmax()]
    assert highest["series_id"] == "1.csv"
    assert 300 <= highest["peak_step"] < 310
    assert len(ranges) == len(read(Path("local.csv.ranges.csv")))
    assert ".ranges" not in {path.parent.name for path in Path("out").rglob("*") if path.is_file()}


def test_parts_are_written_in_the_form_that_is_asked_for(model, settings, here):
    save(Path("in"), 20)
    run(model, settings, form="csv")
    assert len(read(Path("out/day=0/0.parquet.csv"))) == 20


def workers() -> list[psutil.Process]:
    """Returns the actors of this test's own Ray that score."""
    nodes = [each for each in psutil.Process().children() if each.name() == "raylet"]
    below = [each for node in nodes for each in node.children(recursive=True)]
    return [each for each in below if "PartWorker" in title_of(each)]


@contextmanager
def killing_a_worker() -> Iterator[list[int]]:
    """Kills a worker that is at a part, once another part is done and before the block ends."""
    killed: list[int] = []
    ended = threading.Event()

    def kill() -> None:
        while not ended.wait(0.01):
            done = list(Path("out").glob("*/*.parquet"))
            if done and len(done) < FILES and list(Path("out/.unfinished").glob("*/.*.parquet")):
                for each in workers():
                    os.kill(each.pid, signal.SIGKILL)
                    killed.append(each.pid)
                return

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        ended.set()
        thread.join()


def test_a_part_whose_worker_is_killed_is_done_again(model, settings, here):
    save(Path("in"), 400_000)
    with killing_a_worker() as killed:
        result = run(model, settings)
    assert killed
    assert result.rows == FILES * 400_000
    check_equals_the_local_job(model, settings, "in", ".parquet")
    assert not [name for name in visible() if name.startswith(".")]


def test_false_discoveries_are_not_controlled_file_by_file(model, settings, here):
    save(Path("in"), 20)
    with pytest.raises(UsageError, match="the control fdr decides by all rows together"):
        run(model, settings, control=Control("fdr"))


def interrupt(parts: int) -> Callable[[int, int, int], None]:
    def on_parts(done: int, of: int, rows: int) -> None:
        if done >= parts:
            raise KeyboardInterrupt

    return on_parts


def interrupted(model: str, settings: Settings) -> dict[str, int]:
    """Interrupts a job after two parts; returns when each part that is done was written."""
    save(Path("in"))
    with pytest.raises(KeyboardInterrupt):
        run(model, settings, on_parts=interrupt(2))
    assert not Path("out/summary.json").exists()
    parts = {str(path): path.stat().st_mtime_ns for path in Path("out").glob("day=*/*.parquet")}
    assert len(parts) >= 2
    return parts


def test_what_an_interrupted_job_has_done_is_kept(model, settings, here):
    before = interrupted(model, settings)
    result = run(model, settings)
    assert len(before) <= result.kept <= FILES
    after = {name: Path(name).stat().st_mtime_ns for name in before}
    assert after == before
    check_equals_the_local_job(model, settings, "in", ".parquet")


def test_parts_of_other_jobs_or_of_other_files_are_refused_and_force_does_all_again(
    model, settings, here
):
    interrupted(model, settings)
    other = registered(settings, seed=1)
    with pytest.raises(UsageError, match=r"holds parts by on-cluster/.*--force"):
        run(other, settings)
    with pytest.raises(UsageError, match="or with other options"):
        run(model, settings, strict=True)
    save(Path("in"), 201)
    with pytest.raises(UsageError, match="of a file that has changed since; add --force"):
        run(model, settings)
    result = run(other, settings, force=True)
    assert (result.kept, result.rows, result.model) == (0, FILES * 201, other)
    check_equals_the_local_job(other, settings, "in", ".parquet")


def test_a_folder_of_other_files_is_not_touched(model, settings, here):
    save(Path("in"))
    Path("mine").mkdir()
    Path("mine/notes.txt").write_text("mine")
    with pytest.raises(DataError, match="holds other files, which are not touched"):
        run(model, settings, output="mine", force=True)
    assert visible("mine") == ["notes.txt"]


def test_rejected_rows_of_all_parts_are_set_aside_in_one_file(model, settings, here):
    save(Path("in"), 20, ending="csv")
    for number, line in ((3, "x,1,1,1,1,1\n"), (4, "1,2\n")):
        with Path(f"in/day={number % 2}/{number}.csv").open("a") as file:
            file.write(line)
    result = run(model, settings)
    assert (result.rows, result.rejected) == (120, 2)
    rejected = pd.read_csv("out.rejected.csv")
    assert rejected[["row", "file"]].to_numpy().tolist() == [
        [20, "day=0/4.csv"],
        [20, "day=1/3.csv"],
    ]
    assert rejected["reason"][0] == "has 2 cells, and the table has 6 columns"
    assert not [name for name in visible() if name.startswith(".")]
    with pytest.raises(DataError, match=r"day=1/3\.csv|day=0/4\.csv"):
        run(model, settings, output="strict", strict=True)


def test_a_part_may_be_empty_but_not_all(model, settings, here):
    save(Path("in"), 20)
    pd.DataFrame(columns=list("abcdef"), dtype=float).to_parquet("in/day=1/5.parquet")
    holes = pd.DataFrame(np.full((3, 6), np.nan), columns=list("abcdef"))
    holes.to_parquet("in/day=0/4.parquet")
    result = run(model, settings)
    assert (result.rows, result.rejected) == (80, 3)
    whole, empty = read(Path("out/day=0/0.parquet")), read(Path("out/day=1/5.parquet"))
    assert len(empty) == len(read(Path("out/day=0/4.parquet"))) == 0
    assert list(empty) == list(whole)
    assert list(empty.dtypes) == list(whole.dtypes)
    for path in Path("in").rglob("*.parquet"):
        holes.to_parquet(path)
    with pytest.raises(DataError, match=r"in: none of its 18 row\(s\) can be read; row 0 of day=0"):
        run(model, settings, output="none")
    assert not Path("none/summary.json").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"device": "gpu"}, "device gpu needs a GPU, and the cluster at auto has none"),
        ({"form": "npz"}, 'no form "npz"; parts can be parquet or csv'),
        ({"source": "in/day=0/0.parquet"}, "for a single file leave it out"),
        ({"output": "in/out"}, "lies in the input"),
    ],
)
def test_what_cannot_be_done_is_refused_and_leaves_no_parts(model, settings, here, more, said):
    save(Path("in"), 20)
    with pytest.raises(UsageError, match=said):
        run(model, settings, **more)
    assert not list(here.rglob("*pair.json"))


def test_the_command_says_how_many_parts_there_are_and_what_is_set_aside(
    model, settings, here, isthmus, monkeypatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", settings.tracking_uri)
    monkeypatch.setenv("ISTHMUS_HOME", str(settings.home))
    save(Path("in"), 20, ending="csv")
    with Path("in/day=0/0.csv").open("a") as file:
        file.write("1,2\n")
    asked = ("detect", "--model", model, "in", "out", "--address", "auto", "--form", "parquet")
    found = isthmus(*asked)
    assert found.code == 0, found.err
    lines = found.out.splitlines()
    assert "anomalies in 120 rows (score above " in lines[0]
    assert ", a false-alarm rate of 0.02, as 50 calibration rows tell no smaller one" in lines[0]
    assert lines[0].endswith(": out (6 parts)")
    assert lines[1] == "  1 row cannot be read and is set aside: out.rejected.csv"
    assert len(list(Path("out").rglob("*.csv.parquet"))) == FILES
    again = isthmus(*asked)
    assert again.code == 2
    assert "is complete; choose another output, or add --force" in again.err
    assert isthmus(*asked, "--force").code == 0


def test_explanations_and_pages_are_refused_for_parts(here, isthmus):
    for option in (["--explain"], ["--report", "page.html"]):
        of_one = isthmus("detect", "--model", "any", "in", "out", "--address", "auto", *option)
        assert (of_one.code, len(of_one.err.splitlines())) == (2, 1)
        assert f"{option[0]} does not go with --address" in of_one.err


def test_the_form_of_parts_is_refused_where_there_are_none(here, isthmus):
    found = isthmus("detect", "--model", "any", "in.csv", "out.csv", "--form", "csv")
    assert (found.code, len(found.err.splitlines())) == (2, 1)
    assert "--form is that of parts" in found.err
