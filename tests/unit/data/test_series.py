"""Series: windows, their labels, the split by time, and the series put together again."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.data import Provenance, split_rows
from isthmus.data.steps.windows import cut_windows, merge_windows, window_starts
from isthmus.errors import DataError
from isthmus.spec import DataSpec
from isthmus.types import DataKind, ScalingMode
from tests.reading import open_like, read_like, read_to_train, write_back


@pytest.fixture
def series(in_tmp: Path) -> pd.DataFrame:
    steps = np.arange(500)
    frame = pd.DataFrame(
        {
            "timestamp": pd.date_range("2020-01-01", periods=500, freq="5min").astype(str),
            "load": np.sin(steps / 9),
            "temperature": steps / 100,
            "anomaly": np.where((steps > 300) & (steps < 305), 1, 0),
        }
    )
    frame.to_csv("s.csv", index=False)
    return frame


SPEC = DataSpec(path="s.csv", columns=("load", "temperature"), window=32, stride=16)


@pytest.mark.usefixtures("series")
def test_a_window_makes_a_csv_a_series() -> None:
    rows, spec = read_to_train(SPEC)
    assert (spec.kind, spec.scaling) == (DataKind.SERIES, ScalingMode.STANDARD)
    assert (spec.window, spec.stride) == (32, 16)
    assert rows.values.shape == (31, 2, 32)
    assert rows.starts is not None
    index = rows.index
    assert index["first_step"][-1] == 500 - 32, "the last window is moved back to the end"
    assert index["last_step"][-1] == 499


@pytest.mark.parametrize(("steps", "words"), [(1, "1 step"), (31, "31 steps")])
def test_steps_too_few_for_a_pair_are_told_by_its_window_which_stays(
    steps: int, words: str, series: pd.DataFrame
) -> None:
    _, spec = read_to_train(SPEC)
    series.iloc[:steps].to_csv("new.csv", index=False)
    said = f"^new.csv: the series has {words}, and the model takes windows of 32; give 32 or more"
    with pytest.raises(DataError, match=said):
        open_like(spec, "new.csv", (2, 32))


def test_a_series_that_is_shorter_than_any_window_is_told_no_window(series: pd.DataFrame) -> None:
    series.iloc[:1].to_csv("new.csv", index=False)
    spec = SPEC.model_copy(update={"path": "new.csv"})
    said = "^new.csv: the series has 1 step, fewer than the shortest window of 4; give a longer"
    with pytest.raises(DataError, match=said):
        read_to_train(spec)


@pytest.mark.parametrize(
    ("steps", "window"), [(5000, 128), (1600, 128), (1000, 64), (500, 32), (100, 8), (20, 4)]
)
def test_windows_are_as_long_as_each_held_out_part_of_a_series_allows(
    in_tmp: Path, steps: int, window: int
) -> None:
    np.save("s.npy", np.sin(np.arange(steps) / 9))
    rows, spec = read_to_train(DataSpec(path="s.npy", kind=DataKind.SERIES))
    assert spec.window == rows.values.shape[2] == window
    if steps > 20:
        split = split_rows(rows, spec, seed=0)
        assert min(len(split.train), len(split.validation), len(split.test)) > 1


def test_windows_are_no_longer_than_most_unbroken_pieces(in_tmp: Path) -> None:
    pieces = [np.arange(20) + 100 * number for number in range(100)]
    frame = pd.DataFrame({"t": np.concatenate(pieces), "load": np.sin(np.arange(2000) / 9)})
    frame.to_csv("s.csv", index=False)
    _, spec = read_to_train(DataSpec(path="s.csv", time="t"))
    assert spec.window == 16


def test_a_short_series_trains_on_a_window_at_every_step_and_a_long_one_on_a_bounded_number(
    in_tmp: Path,
) -> None:
    for steps, at_least, at_most in ((1000, 937, 937), (100_000, 15_000, 20_000)):
        np.save("s.npy", np.sin(np.arange(steps) / 9))
        spec = DataSpec(path="s.npy", kind=DataKind.SERIES, window=64)
        rows, settled = read_to_train(spec)
        assert at_least <= len(rows) <= at_most
        # What uses the pair reads windows that overlap by half, whatever was enough to train on.
        like = read_like(settled, "s.npy", (1, 64))
        assert len(like) == pytest.approx(steps / 32, rel=0.05)


@pytest.mark.usefixtures("series")
def test_one_anomalous_step_makes_a_window_anomalous() -> None:
    rows, _ = read_to_train(SPEC.model_copy(update={"labels": "anomaly"}))
    assert rows.labels is not None
    starts = rows.index["first_step"]
    assert starts[rows.labels == 1].tolist() == [272, 288, 304]
    normal, _ = read_to_train(SPEC.model_copy(update={"labels": "anomaly", "keep_labels": (0,)}))
    assert len(normal) == len(rows) - 3


@pytest.mark.usefixtures("series")
def test_a_series_is_split_by_time_with_no_step_in_two_parts() -> None:
    rows, spec = read_to_train(SPEC)
    split = split_rows(rows, spec, seed=0)
    starts = rows.index["first_step"]
    assert starts[split.train].max() + 32 <= starts[split.validation].min()
    assert starts[split.validation].max() + 32 <= starts[split.test].min()
    assert starts[split.test].max() == 500 - 32


def test_results_are_the_whole_series_with_the_other_columns_beside(
    series: pd.DataFrame, in_tmp: Path, provenance: Provenance
) -> None:
    _, spec = read_to_train(SPEC)
    rows = read_like(spec, "s.csv", (2, 32))
    write_back(rows, rows.values + 1, in_tmp / "o.csv", provenance)
    after = pd.read_csv("o.csv")
    assert after["timestamp"].tolist() == series["timestamp"].tolist()
    assert np.allclose(after["load"], series["load"] + 1, atol=1e-5)
    assert np.allclose(after["temperature"], series["temperature"] + 1, atol=1e-5)


def test_steps_of_dropped_windows_keep_their_values(
    series: pd.DataFrame, in_tmp: Path, provenance: Provenance
) -> None:
    series.loc[100, "load"] = np.nan
    series.to_csv("s.csv", index=False)
    rows, _ = read_to_train(SPEC.model_copy(update={"missing": "drop"}))
    assert len(rows) == 29
    write_back(rows, rows.values + 1, in_tmp / "o.csv", provenance)
    after = pd.read_csv("o.csv")
    assert np.isnan(after["load"][100])
    assert np.isclose(after["temperature"][100], series["temperature"][100])
    assert np.isclose(after["load"][0], series["load"][0] + 1)


def test_writing_a_long_series_takes_no_more_memory_than_a_number_for_each_step(
    in_tmp: Path, provenance: Provenance
) -> None:
    steps = 200_000
    np.save("s.npy", np.zeros((steps, 1), dtype=np.float32))
    spec = DataSpec(path="s.npy", kind=DataKind.SERIES, window=64, stride=64)
    source = open_like(spec, "s.npy", (1, 64))
    tracemalloc.start()
    try:
        with source.open_output(in_tmp / "o.npy", provenance):
            assert tracemalloc.get_traced_memory()[1] < 24 * steps
    finally:
        tracemalloc.stop()


def test_an_array_of_one_axis_is_a_series_of_one_channel(
    in_tmp: Path, provenance: Provenance
) -> None:
    np.savez("s.npz", x=np.sin(np.arange(300) / 7))
    rows, spec = read_to_train(DataSpec(path="s.npz", window=50, stride=20))
    assert rows.values.shape[1:] == (1, 50)
    rows = read_like(spec, "s.npz", (1, 50))
    write_back(rows, rows.values, in_tmp / "o.npz", provenance)
    with np.load("o.npz") as archive, np.load("s.npz") as before:
        assert np.allclose(archive["x"], before["x"], atol=1e-6)
        assert archive["x"].shape == (300,)


@pytest.mark.usefixtures("series")
def test_an_array_of_the_channels_in_their_order_is_read_like_the_table_that_was_trained_on(
    in_tmp: Path,
) -> None:
    np.save("new.npy", pd.read_csv("s.csv")[["load", "temperature"]].to_numpy())
    np.save("wide.npy", np.zeros((100, 3)))
    trained, spec = read_to_train(SPEC)
    assert np.array_equal(read_like(spec, "new.npy", (2, 32)).values, trained.values)
    with pytest.raises(DataError, match="has 3 columns; the model was trained on 2"):
        read_like(spec, "wide.npy", (2, 32))


@pytest.mark.usefixtures("series")
def test_an_array_is_refused_by_a_pair_that_needs_times(in_tmp: Path) -> None:
    np.save("new.npy", np.zeros((100, 2)))
    _, spec = read_to_train(SPEC.model_copy(update={"time": "timestamp"}))
    with pytest.raises(DataError, match='the model needs "timestamp"; give a csv or parquet'):
        read_like(spec, "new.npy", (2, 32))


def test_a_large_array_keeps_the_centre_of_training(in_tmp: Path) -> None:
    signal = 20_000_000 + np.sin(np.arange(300) / 9)
    np.save("train.npy", signal)
    np.save("shifted.npy", signal + 5000)
    trained, spec = read_to_train(DataSpec(path="train.npy", kind=DataKind.SERIES, window=16))
    shifted = read_like(spec, "shifted.npy", (1, 16), centre=trained.schema.centre)
    assert trained.schema.centre is not None
    again = np.median(shifted.values), np.median(trained.values)
    assert again[0] - again[1] == pytest.approx(5000, abs=1)


@given(
    length=st.integers(4, 200),
    window=st.integers(4, 64),
    stride=st.integers(1, 80),
    channels=st.integers(1, 3),
)
def test_windows_put_together_again_are_the_signal(
    length: int, window: int, stride: int, channels: int
) -> None:
    window, stride = min(window, length), min(stride, window)
    signal_TC = np.random.default_rng(0).normal(size=(length, channels)).astype(np.float32)
    starts = window_starts(length, window, stride)
    windows = cut_windows(signal_TC, starts, window)
    assert windows.shape == (len(starts), channels, window)
    assert np.allclose(merge_windows(windows, starts, length), signal_TC, atol=1e-6)


def test_steps_between_windows_further_apart_than_they_are_long_are_not_covered() -> None:
    signal_TC = np.arange(20, dtype=np.float32)[:, None]
    starts = window_starts(20, 4, 6)
    merged = merge_windows(cut_windows(signal_TC, starts, 4), starts, 20)
    assert np.flatnonzero(np.isnan(merged)).tolist() == [4, 5, 10, 11]
