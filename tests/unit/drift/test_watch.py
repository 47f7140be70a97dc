"""A job warns of drift in one line, and never without reason."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from isthmus.drift import DriftWatch, compare_with_held_out
from isthmus.spec import RowSchema
from isthmus.types import DataKind
from tests.unit.drift.test_statistics import autoregressive

TABLE = RowSchema(kind=DataKind.TABULAR, shape=(8,), features=tuple("abcdefgh"))
SERIES = RowSchema(kind=DataKind.SERIES, shape=(1, 16), features=("load",))


def table(generator: np.random.Generator, count: int) -> np.ndarray:
    """Features of several laws: normal, skewed, heavy tails, whole numbers, a rare category."""
    rows = generator.normal(size=(count, 8))
    rows[:, 1] = rows[:, 0] + 0.1 * rows[:, 1]
    rows[:, 2] = generator.exponential(size=count)
    rows[:, 3] = generator.standard_t(2, size=count)
    rows[:, 4] = generator.poisson(2, size=count)
    rows[:, 5] = generator.random(count) < 0.03
    return rows.astype(np.float32)


def warnings_of(rows, is_anomaly, held_out, schema, caplog) -> list[str]:
    caplog.clear()
    watch = DriftWatch(schema, "new.csv", lambda: held_out)
    for first in range(0, len(rows), 100):
        watch.look(rows[first : first + 100], is_anomaly[first : first + 100])
    watch.report()
    return caplog.messages


def none_of(rows: np.ndarray) -> np.ndarray:
    return np.zeros(len(rows), dtype=bool)


@pytest.mark.parametrize(("held", "new"), [(200, 1000), (60, 3000), (1000, 40)])
def test_an_input_like_the_training_rows_is_no_drift_in_100_draws(held, new, caplog):
    generator = np.random.default_rng(0)
    warned = 0
    for _ in range(100):
        held_out = SimpleNamespace(rows=table(generator, held))
        rows = table(generator, new)
        warned += len(warnings_of(rows, none_of(rows), held_out, TABLE, caplog))
    # At most 1 % may warn; of 100 draws, more than 4 then have a chance of 0.3 %.
    assert warned <= 4


def test_some_anomalies_in_an_input_are_no_drift(caplog):
    generator = np.random.default_rng(0)
    held_out = SimpleNamespace(rows=table(generator, 500))
    rows = table(generator, 1000)
    is_anomaly = np.arange(1000) % 5 == 0
    rows[is_anomaly] += 6
    assert warnings_of(rows, is_anomaly, held_out, TABLE, caplog) == []
    # Unless they are most of the rows: then the input is another.
    rows = table(generator, 1000) + np.float32(6)
    (line,) = warnings_of(rows, ~none_of(rows), held_out, TABLE, caplog)
    assert "statistic 1.00" in line


def test_windows_of_a_series_without_drift_are_no_drift_in_100_draws(caplog):
    generator = np.random.default_rng(0)
    warned = 0
    for _ in range(100):
        windows = [
            np.lib.stride_tricks.sliding_window_view(autoregressive(generator, 1200, 0.95), 16)[::8]
            for _ in range(2)
        ]
        held_out, rows = (each[:, None].astype(np.float32) for each in windows)
        held_out = SimpleNamespace(rows=held_out)
        warned += len(warnings_of(rows, none_of(rows), held_out, SERIES, caplog))
    assert warned <= 4


def test_a_drifted_input_is_told_in_a_line_with_the_figure_and_what_to_do(caplog):
    generator = np.random.default_rng(0)
    held_out = SimpleNamespace(rows=table(generator, 300))
    rows = table(generator, 1000)
    rows[:, 4] += 1
    rows[:, 2] *= 1.7
    (line,) = warnings_of(rows, none_of(rows), held_out, TABLE, caplog)
    found = compare_with_held_out(rows, none_of(rows), held_out.rows, TABLE)
    assert [each.name for each in found.drifted] == ["e", "c"]
    assert line.startswith('new.csv: has drifted from the training rows, most in "e"')
    assert f"statistic {found.drifted[0].statistic:.2f}, p " in line
    assert "and 1 more of 8 features" in line
    assert "the promised false-alarm rate does not hold under drift" in line
    assert "train on newer rows" in line


@pytest.mark.parametrize("rows", [3, 1000])
def test_without_held_out_rows_or_with_few_rows_there_is_no_warning(rows, caplog):
    generator = np.random.default_rng(0)
    values = table(generator, rows) + np.float32(50)
    held_out = None if rows == 1000 else SimpleNamespace(rows=table(generator, 300))
    assert warnings_of(values, none_of(values), held_out, TABLE, caplog) == []
