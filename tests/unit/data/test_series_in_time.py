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


def test_an_array_of_results_has_the_times_and_the_ids_of_its_steps(
    in_tmp: Path, provenance: Provenance
) -> None:
    frame = pd.concat([series(machine="a"), series(machine="b")])
    frame["heat"] = np.arange(400)
    rows, _ = read(frame, exclude=(), series_id="machine")
    write_back(rows, rows.values, in_tmp / "o.npz", provenance)
    with np.load("o.npz") as after:
        assert after["time"].tolist() == frame["when"].tolist()
        assert after["series_id"].tolist() == frame["machine"].tolist()
        assert after["x"].shape == (400, 2)


@pytest.mark.usefixtures("in_tmp")
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_an_input_without_the_columns_of_times_and_ids_is_told_their_names(ending: str) -> None:
    _, spec = read(pd.concat([series(), series(machine="b")]), exclude=(), series_id="machine")
    frame = series().drop(columns=["when", "machine"])
    frame.to_csv("n.csv", index=False)
    frame.to_parquet("n.parquet")
    with pytest.raises(DataError, match=r'no column "when" \(data.time\) and "machine" \(data.ser'):
        read_like(spec, f"n.{ending}", (2, 16))


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


def two_paces() -> pd.DataFrame:
    """Machine a each second, machine b each minute with a gap."""
    fast, slow = series(600, "a"), series(60, "b").drop(index=range(20, 25))
    fast["when"] = pd.date_range("2024-01-01", periods=600, freq="1s").astype(str)
    return pd.concat([fast, slow])


@pytest.mark.usefixtures("in_tmp")
def test_each_series_has_a_usual_step_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    rows, _ = read(two_paces(), series_id="machine", exclude=())
    assert set(rows.index["series_id"]) == {"a", "b"}
    assert (np.diff(rows.values[:, 0], axis=1) == 1).all()
    assert "1 gap(s) in time" in caplog.text
    assert "the series have different steps, 1 s to 60 s" in caplog.text
    assert rows.schema.time_step_s is None


@pytest.mark.usefixtures("in_tmp")
def test_a_single_series_of_another_step_than_trained_on_is_refused() -> None:
    _, spec = read(series(), series_id="machine", exclude=())
    two_paces().to_csv("other.csv", index=False)
    with pytest.raises(DataError, match="steps are 1 s apart and the model was trained on steps"):
        read_like(spec, "other.csv", (2, 16), time_step_s=60)


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


@pytest.mark.usefixtures("in_tmp")
@pytest.mark.parametrize(
    ("form", "freq"),
    [
        ("%d/%m/%Y", "1D"),
        ("%m/%d/%Y", "1D"),
        ("%d.%m.%Y %H:%M", "1h"),
        ("%d-%m-%Y %H:%M:%S.%f", "500ms"),
        ("%m/%d/%Y %I:%M:%S %p", "1h"),
        ("%m/%d/%y", "1D"),
        ("%d/%m/%YT%H:%M:%SZ", "1h"),
        ("%d %b %Y", "1D"),
        ("%Y/%m/%d %H:%M", "1h"),
        ("%Y-%m-%d %H:%M:%S UTC", "1h"),
    ],
)
def test_dates_are_read_in_one_format_for_the_whole_column(
    form: str, freq: str, caplog: pytest.LogCaptureFixture
) -> None:
    frame = series(40)
    frame["when"] = pd.date_range("2024-01-25", periods=40, freq=freq).strftime(form)
    rows, _ = read(frame)
    assert np.array_equal(rows.index["first_step"], [0, 8, 16, 24])
    assert rows.schema.time_step_s == pd.Timedelta(freq).total_seconds()
    assert "gap" not in caplog.text
    assert "sorted" not in caplog.text


@pytest.mark.usefixtures("in_tmp")
@pytest.mark.parametrize("are_dates", [True, False], ids=["dates", "numbers"])
def test_steps_of_a_hundred_nanoseconds_are_told_apart(are_dates: bool) -> None:
    frame = series(40)
    frame["when"] = pd.date_range("2024-01-01", periods=40, freq="100ns").astype(str)
    if not are_dates:
        frame["when"] = np.arange(40) + 2**60
    rows, _ = read(frame.sample(frac=1, random_state=0))
    assert np.array_equal(rows.values[:, 0, 0], [0, 8, 16, 24])
    assert rows.schema.time_step_s == pytest.approx(1e-7 if are_dates else 1)


@pytest.mark.usefixtures("in_tmp")
def test_a_fraction_of_a_second_may_be_left_out_where_it_is_zero() -> None:
    frame = series(40)
    when = pd.date_range("2024-01-25", periods=40, freq="500ms")
    frame["when"] = when.strftime("%d/%m/%Y %H:%M:%S.%f").str.removesuffix(".000000")
    assert read(frame)[0].schema.time_step_s == 0.5


@pytest.mark.usefixtures("in_tmp")
@pytest.mark.parametrize(
    ("form", "shown"),
    [
        ("%d/%m/%Y %H:%M", r'"%d/%m/%Y %H:%M" or "%m/%d/%Y %H:%M"'),
        ("%d.%m.%y %H:%M", r'"%d\.%m\.%y %H:%M" or "%m\.%d\.%y %H:%M" or "%y\.%m\.%d %H:%M"'),
    ],
    ids=["long years", "short years"],
)
def test_dates_whose_day_and_month_nothing_tells_apart_need_a_format(form: str, shown: str) -> None:
    frame = series(40)
    frame["when"] = pd.date_range("2024-02-01", periods=40, freq="5h").strftime(form)
    with pytest.raises(DataError, match=f"set data.time_format: {shown}") as caught:
        read(frame)
    assert "\n" not in str(caught.value)
    rows, spec = read(frame, time_format=form)
    assert rows.schema.time_step_s == 5 * 3600
    assert spec.time_format == form


@pytest.mark.usefixtures("in_tmp")
def test_a_pair_reads_later_dates_as_those_that_it_was_trained_on() -> None:
    january, later = series(40), series(16)
    january["when"] = pd.date_range("2024-01-01", periods=40, freq="1D").strftime("%d/%m/%Y")
    _, spec = read(january)
    assert spec.time_format == "%d/%m/%Y"
    # In these files alone, nothing tells day and month apart, or the month seems to come first.
    for first in ("2024-03-01", "2024-03-10"):
        when = pd.date_range(first, periods=16, freq="1D")
        for dates in (when.strftime("%d/%m/%Y"), when.astype(str)):
            later["when"] = dates
            later.to_csv("later.csv", index=False)
            rows = read_like(spec, "later.csv", (2, 16), time_step_s=86400)
            assert np.array_equal(rows.values[0, 0], np.arange(16))
    later["when"] = when.strftime("%m/%d/%Y")
    later.to_csv("later.csv", index=False)
    with pytest.raises(DataError, match=r'"03/13/2024" in row 3.* not of the form "%d/%m/%Y"'):
        read_like(spec, "later.csv", (2, 16), time_step_s=86400)


@pytest.mark.usefixtures("in_tmp")
@pytest.mark.parametrize(
    ("when", "message"),
    [
        (["25/01/2024", "01/25/2024"], "in more than one order of day and month; set data.time_fo"),
        (["25/01/2024 at noon", "26/01/2024"], "of an unknown form; set data.time_format"),
        (["Thu 01/02/2024", "Fri 02/02/2024"], 'holds "Thu 01/02/2024" in row 0.*data.time_format'),
        (["25/01/2024", "2024-01-26"], '"2024-01-26" in row 1, counted from 0, which is not of'),
        (["25/01/202412", "26/01/202412"], "of an unknown form; set data.time_format"),
        (["12", ""], 'holds "" in row 1'),
        (["12", "x"], 'holds "x" in row 1'),
        (["9999-12-31", "2024-01-01"], 'holds "9999-12-31" in row 0'),
    ],
    ids=["two orders", "unknown", "weekdays", "two forms", "run on", "empty", "text", "beyond"],
)
def test_a_column_of_dates_that_is_not_of_one_format_is_refused(
    when: list[str], message: str
) -> None:
    frame = series(2)
    frame["when"] = when
    with pytest.raises(DataError, match=message) as caught:
        read(frame)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", ["%Q", "dd/mm/yyyy", ""])
def test_a_time_format_that_strptime_does_not_know_is_refused(form: str) -> None:
    with pytest.raises(ValueError, match=r"is no format of strptime; write it as"):
        DataSpec(path="s.csv", time="when", time_format=form)
    with pytest.raises(ValueError, match="time_format needs time"):
        DataSpec(path="s.csv", time_format="%d/%m/%Y")


def test_windows_are_for_series_only(in_tmp: Path) -> None:
    np.save("t.npy", np.zeros((5, 8, 8)))
    with pytest.raises(DataError, match=r"data\.window is for series and audio, and this"):
        read_to_train(DataSpec(path="t.npy", kind="images", window=64))
