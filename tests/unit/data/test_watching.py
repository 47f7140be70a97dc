"""Values of tables and series that leave the range of training are told, wherever they are."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable

import numpy as np
import pytest

from isthmus.data import Moments, RangeWatch, remembered
from isthmus.data.prepared.spread import LEVELS, EvenSample, quantiles_of
from isthmus.data.steps.windows import cut_windows
from isthmus.spec import RowSchema
from isthmus.types import DataKind


def schema(features: int) -> RowSchema:
    return RowSchema(
        kind=DataKind.TABULAR,
        shape=(features,),
        features=tuple(f"sensor_{number}" for number in range(features)),
        lowest=(0.0,) * features,
        highest=(1.0,) * features,
    )


@pytest.mark.parametrize("features", [1, 5, 200, 5000])
@pytest.mark.parametrize("rows", [1, 3, 2001])
@pytest.mark.parametrize("value", [-7.0, 9.0])
@pytest.mark.parametrize("has_missing", [False, True], ids=["whole", "some missing"])
def test_a_single_value_outside_the_range_is_told_with_its_column(
    features: int, rows: int, value: float, has_missing: bool, caplog: pytest.LogCaptureFixture
) -> None:
    for row in {0, rows // 2, rows - 1}:
        values = np.random.default_rng(0).random((rows, features), dtype=np.float32)
        if has_missing and rows > 1:
            values[(row + 1) % rows] = np.nan
        values[row, features - 1] = value
        watch = RangeWatch(schema(features), "new.csv")
        with caplog.at_level(logging.WARNING):
            watch.look(values)
            watch.report()
        (told,) = caplog.messages
        assert f'far outside the trained range ("sensor_{features - 1}"' in told
        assert f"{value:g}" in told
        caplog.clear()


def test_units_are_told_though_a_category_beside_has_both_values(
    caplog: pytest.LogCaptureFixture,
) -> None:
    values = np.random.default_rng(0).random((100, 3), dtype=np.float32)
    values[:, :1] /= 255
    values[:, 1:] = values[:, 1:] > 0.5
    with_categories = schema(3).model_copy(update={"features": ("a", "k=x", "k=y")})
    for rows, lines in ((values, 1), (values * (255, 1, 1), 0), (values[:19], 0)):
        watch = RangeWatch(with_categories, "new.csv", indicators=(False, True, True))
        watch.look(np.asarray(rows, dtype=np.float32))
        watch.report()
        assert len(caplog.messages) == lines
        if lines:
            assert 'fill little of the trained range ("a" ' in caplog.text
            assert "k=" not in caplog.text
        caplog.clear()


RNG = np.random.default_rng(0)


def table(rows: int, **columns: np.ndarray) -> np.ndarray:
    """Rows of `flow` (10 to 90), `price` (lognormal), `colour=red` (0 or 1) and `fixed` (3)."""
    usual = {
        "flow": RNG.normal(50, 20, rows),
        "price": RNG.lognormal(3, 1, rows),
        "colour=red": RNG.integers(0, 2, rows),
        "fixed": np.full(rows, 3.0),
    }
    return np.stack([*{**usual, **columns}.values()], axis=1).astype(np.float32)


def told_of(values: np.ndarray, caplog: pytest.LogCaptureFixture) -> list[str]:
    train = table(3000)
    names = ("flow", "price", "colour=red", "fixed")
    known = RowSchema(kind=DataKind.TABULAR, shape=(4,), features=names)
    known = remembered(known, Moments.of(train), train)
    watch = RangeWatch(known, "new.csv", indicators=(False, False, True, False))
    caplog.clear()
    for block in np.array_split(values, 3):
        watch.look(block)
    watch.report()
    return list(caplog.messages)


@pytest.mark.parametrize("factor", [0.001, 1 / 255, 0.1])
@pytest.mark.parametrize("rows", [60, 300, 20_000])
def test_one_column_of_several_in_another_unit_is_told_with_both_spreads(
    factor: float, rows: int, caplog: pytest.LogCaptureFixture
) -> None:
    values = table(rows)
    values[:, 0] = values[:, 0].clip(15) * factor
    (told,) = told_of(values, caplog)
    low, high = np.quantile(values[:, 0], (0.05, 0.95))
    if rows < 1000:  # of more it is a sample
        assert f'"flow" {low:.6g} to {high:.6g}, trained on ' in told
    assert "the middle 90 % of the values" in told
    assert '"price"' not in told


def test_an_outlier_in_training_hides_no_larger_unit(caplog: pytest.LogCaptureFixture) -> None:
    train = table(3000)
    train[0, 0] = 1e9
    known = remembered(RowSchema(kind=DataKind.TABULAR, shape=(4,)), Moments.of(train), train)
    watch = RangeWatch(known, "new.csv")
    watch.look(table(100) * np.float32([1000, 1, 1, 1]))
    watch.report()
    (told,) = caplog.messages
    assert "column 0 " in told
    assert "middle 90 %" in told


@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"flow": RNG.normal(75, 15, 300)},
        {"flow": RNG.normal(120, 10, 300)},
        {"flow": np.full(300, 0.05)},
        {"flow": RNG.uniform(9.0, 9.2, 300)},
        {"flow": RNG.uniform(60, 61, 300)},
        {"price": RNG.lognormal(2, 1, 300)},
        {"colour=red": RNG.uniform(0, 0.01, 300)},
        {"fixed": RNG.uniform(0, 0.01, 300)},
    ],
    ids=[
        "the same rows",
        "a drift",
        "a drift beyond the middle",
        "one value",
        "one setting beside the middle",
        "a part of the range",
        "lower prices",
        "a category",
        "a constant of training",
    ],
)
def test_a_column_in_the_same_unit_is_no_cause_for_a_word_about_units(
    columns: dict[str, np.ndarray], caplog: pytest.LogCaptureFixture
) -> None:
    assert not any("unit the same" in told for told in told_of(table(300, **columns), caplog))


def test_fewer_than_fifty_values_tell_no_unit(caplog: pytest.LogCaptureFixture) -> None:
    values = table(300, flow=RNG.uniform(0.02, 0.08, 300))
    assert told_of(values, caplog)
    assert not told_of(values[:49], caplog)
    values[49:, 0] = np.nan
    assert not told_of(values, caplog)


def test_missing_values_are_passed_over_in_a_columns_spread(
    caplog: pytest.LogCaptureFixture,
) -> None:
    values = table(300, flow=RNG.uniform(0.02, 0.08, 300))
    values[::2, 0] = np.nan
    (told,) = told_of(values, caplog)
    assert '"flow"' in told


WINDOW = 32


def told_of_series(values: np.ndarray, caplog: pytest.LogCaptureFixture) -> list[str]:
    """Trains on windows of two channels, and reads others cut from `values`, shape (T, 2)."""
    schema = RowSchema(kind=DataKind.SERIES, shape=(2, WINDOW), features=("flow", "heat"))

    def windows(steps: np.ndarray) -> np.ndarray:
        return cut_windows(steps, np.arange(0, len(steps) - WINDOW + 1, WINDOW // 2), WINDOW)

    train = windows(series(20_000))
    known = remembered(schema, Moments.of(train), train)
    assert known.quantiles is not None
    assert np.allclose(known.quantiles, np.quantile(series(20_000), LEVELS, axis=0).T, atol=3)
    watch = RangeWatch(known, "new.csv")
    caplog.clear()
    for block in np.array_split(windows(values), 3):
        watch.look(block)
    watch.report()
    return list(caplog.messages)


def series(steps: int) -> np.ndarray:
    """A signal that repeats itself every 32 steps, 10 to 90, beside a slow one, -5 to 5."""
    at = np.arange(steps)
    noise = np.random.default_rng(steps).normal(0, 1, (steps, 2))
    waves = np.stack([50 + 39 * np.sin(at * np.pi / 16), 5 * np.sin(at / 900)], axis=1)
    return np.asarray(waves + 0.3 * noise, dtype=np.float32)


@pytest.mark.parametrize("factor", [0.001, 1 / 60])
@pytest.mark.parametrize("steps", [400, 30_000])
def test_one_channel_of_a_series_in_another_unit_is_told_with_both_spreads(
    factor: float, steps: int, caplog: pytest.LogCaptureFixture
) -> None:
    values = series(steps)
    values[:, 0] *= factor
    (told,) = told_of_series(values, caplog)
    low, high = (float(each) for each in np.quantile(values[:, 0], (0.05, 0.95)))
    assert "the middle 90 % of the values lie beside the trained ones" in told
    found = re.search(r'"flow" (\S+) to (\S+), trained on 1[01]\.\d+ to 8[89]\.\d+\)', told)
    assert found is not None
    assert [float(each) for each in found.groups()] == pytest.approx([low, high], rel=0.05)
    assert '"heat"' not in told


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values,
        lambda values: np.add(values, (30, 0)),
        lambda values: np.where((np.arange(len(values)) % 32 < 16)[:, None], values, (12, 0)),
        lambda values: np.full_like(values, 0.05),
        lambda values: (values * (0.001, 1))[:300],
    ],
    ids=["the same", "a drift", "half of the time at rest", "one value", "few windows"],
)
def test_a_series_in_the_same_unit_is_no_cause_for_a_word_about_units(
    change: Callable[[np.ndarray], np.ndarray], caplog: pytest.LogCaptureFixture
) -> None:
    values = np.asarray(change(series(2000)), dtype=np.float32)
    assert not any("unit the same" in told for told in told_of_series(values, caplog))


def test_a_sample_of_windows_meets_every_phase_of_a_signal_that_repeats_itself() -> None:
    sample = EvenSample(1)
    windows = np.tile(np.arange(64, dtype=np.float32), (5000, 1, 1))
    for block in np.array_split(windows, 7):
        sample.look(block)
    assert 1024 <= len(sample.rows) <= 2048
    counts = np.bincount(sample.rows[:, 0].astype(int), minlength=64)
    assert counts.min() > 0
    assert counts.max() < 4 * counts.mean()


@pytest.mark.parametrize("blocks", [[7] * 900, [100_000], [1, 5000, 3, 2048]])
def test_a_sample_is_spread_evenly_over_a_stream_of_any_length(blocks: list[int]) -> None:
    sample, first = EvenSample(2), 0
    for size in blocks:
        numbers = np.arange(first, first + size, dtype=np.float32)
        sample.look(np.stack([numbers, numbers], axis=1))
        first += size
    kept = sample.rows[:, 0]
    assert 1024 <= len(kept) <= 2048
    assert len(set(np.diff(kept))) == 1
    assert kept[0] == 0
    assert kept[-1] > first - 2 * np.diff(kept)[0] - 1


def test_a_column_without_a_value_has_no_quantiles() -> None:
    values = np.array([[1.0, np.nan], [3.0, np.nan]], dtype=np.float32)
    found = quantiles_of(values)
    assert found[0].tolist() == pytest.approx([1.1, 2.0, 2.9])
    assert np.isnan(found[1]).all()
