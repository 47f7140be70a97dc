"""Series with times and ids: sorted, told apart, never joined across a gap."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from isthmus.data import Provenance, split_rows
from isthmus.errors import DataError
from isthmus.spec import DataSpec
from tests.reading import read_like, read_to_train, write_back

SPEC = DataSpec(path="s.csv", time="when", window=16, stride=8)


def series(steps: int = 200, machine: str = "a", first: str = "2024-01-01") -> pd.DataFrame:
    when = pd.date_range(first, periods=steps, freq="1min").astype(str)
    return pd.DataFrame(
        {"when": when, "machine": machine, "load": np.arange(steps, dtype=float), "heat": 1.0}
    )


def read(frame: pd.DataFrame, **fields: Any) -> Any:
    frame.to_csv("s.csv", index=False)
    return read_to_train(SPEC.model_copy(update={"exclude": ("machine",), **fields}))


@pytest.mark.usefixtures("in_tmp")
@pytest.mark.parametrize("disorder", ["shuffled", "reversed"])
def test_steps_are_sorted_by_time(disorder: str, caplog: pytest.LogCaptureFixture) -> None:
    frame = series()
    frame = frame.sample(frac=1, random_state=0) if disorder == "shuffled" else frame[::-1]
    rows, _ = read(frame)
    assert np.array_equal(rows.values[0, 0], np.arange(16))
    assert "not in the order of data.time; they are sorted" in caplog.text
    assert rows.index["first_time"][0] == "2024-01-01 00:00:00"
    assert rows.index["last_time"][0] == "2024-01-01 00:15:00"


def test_results_take_the_places_of_their_steps(in_tmp: Path, provenance: Provenance) -> None:
    frame = series().sample(frac=1, random_state=0)
    frame["heat"] = np.arange(200)
    rows, _ = read(frame)
    write_back(rows, rows.values * 2, in_tmp / "o.csv", provenance)
    after = pd.read_csv("o.csv")
    assert after["when"].tolist() == frame["when"].tolist()
    np.testing.assert_allclose(after["load"], frame["load"] * 2)
    np.testing.assert_allclose(after["heat"], frame["heat"] * 2)


@pytest.mark.usefixtures("in_tmp")
def test_no_window_crosses_a_gap(caplog: pytest.LogCaptureFixture) -> None:
    frame = series().drop(index=range(100, 110))
    rows, _ = read(frame)
    steps = np.diff(rows.values[:, 0], axis=1)
    assert (steps == 1).all()
    assert "1 gap(s) in time" in caplog.text
    assert rows.schema.time_step_s == 60


@pytest.mark.usefixtures("in_tmp")
def test_no_window_crosses_two_series() -> None:
    frames = [series(400, "a"), series(300, "b")]
    mixed = pd.concat(frames).sort_values("when", kind="stable")
    rows, spec = read(mixed, series_id="machine", exclude=())
    assert (np.diff(rows.values[:, 0], axis=1) == 1).all()
    assert set(rows.index["series_id"]) == {"a", "b"}
    split = split_rows(rows, spec, 0)
    for machine, length in (("a", 400), ("b", 300)):
        own = np.flatnonzero(rows.index["series_id"] == machine)
        trained = rows.starts[np.intersect1d(own, split.train)]
        tested = rows.starts[np.intersect1d(own, split.test)]
        assert trained.max() + 16 <= 0.8 * length
        assert tested.min() >= 0.9 * length


@pytest.mark.usefixtures("in_tmp")
def test_each_file_of_a_folder_is_a_series_of_its_own() -> None:
    Path("f").mkdir()
    for machine in "abc":
        series(100, machine).to_csv(f"f/{machine}.csv", index=False)
    rows, _ = read_to_train(
        DataSpec(path="f", time="when", exclude=("machine",), window=16, stride=8)
    )
    assert (np.diff(rows.values[:, 0], axis=1) == 1).all()
    assert sorted(set(rows.index["series_id"])) == ["a.csv", "b.csv", "c.csv"]


@pytest.mark.usefixtures("in_tmp")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.assign(when="yesterday"), 'holds "yesterday" in row 0'),
        (lambda frame: pd.concat([frame, frame]), "two steps of a series have the same time"),
        (lambda frame: frame[:9], "has 9 steps, fewer than data.window=16"),
        (lambda frame: frame.rename(columns={"when": "at"}), r'no column "when" \(data.time\)'),
    ],
    ids=["no time", "same time", "few steps", "no column"],
)
def test_times_that_are_those_of_no_series_are_refused(change: Any, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(change(series()))
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("in_tmp")
def test_steps_of_another_length_than_trained_on_are_refused() -> None:
    _, spec = read(series())
    frame = series()
    frame["when"] = pd.date_range("2024-01-01", periods=200, freq="5min").astype(str)
    frame.to_csv("other.csv", index=False)
    with pytest.raises(DataError, match="steps are 300 s apart and the model was trained on steps"):
        read_like(spec, "other.csv", (2, 16), time_step_s=60)


def test_windows_are_for_series_only(in_tmp: Path) -> None:
    np.save("t.npy", np.zeros((5, 8, 8)))
    with pytest.raises(DataError, match=r"data\.window is for series and audio, and this"):
        read_to_train(DataSpec(path="t.npy", kind="images", window=64))
