"""The split by content: disjoint, complete, stable when rows are added, blind to order."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import pairwise
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.data import Rows, Split, split_rows
from isthmus.data.prepared.splits import split_block
from isthmus.data.rows import FloatArray
from isthmus.errors import DataError
from isthmus.spec import DataSpec, RowSchema
from isthmus.types import DataKind

SPEC = DataSpec(path="x.npy")


def as_rows(values: FloatArray) -> Rows:
    return Rows(values, RowSchema(kind=DataKind.TABULAR, shape=values.shape[1:]))


def random_rows(count: int, width: int, seed: int) -> FloatArray:
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


def part_of_row(split: Split, count: int) -> list[str]:
    parts = np.full(count, "", dtype="<U10")
    for name in ("train", "validation", "calibration", "test"):
        parts[getattr(split, name)] = name
    return parts.tolist()


@given(count=st.integers(300, 900), width=st.integers(1, 9), seed=st.integers(0, 2**31 - 1))
def test_parts_are_disjoint_and_cover_everything(count: int, width: int, seed: int) -> None:
    split = split_rows(as_rows(random_rows(count, width, seed % 7)), SPEC, seed)
    together = np.concatenate([split.train, split.validation, split.test])
    assert np.array_equal(np.sort(together), np.arange(count))


@given(seed=st.integers(0, 2**31 - 1), data_seed=st.integers(0, 99))
def test_a_row_stays_in_its_part_when_rows_are_added_and_moved(seed: int, data_seed: int) -> None:
    values = random_rows(900, 4, data_seed)
    order = np.random.default_rng(data_seed).permutation(900)
    few = part_of_row(split_rows(as_rows(values[:400]), SPEC, seed), 400)
    many = part_of_row(split_rows(as_rows(np.ascontiguousarray(values[order])), SPEC, seed), 900)
    positions = np.argsort(order)
    assert few == [many[position] for position in positions[:400]]


@given(seed=st.integers(0, 2**31 - 1))
def test_equal_rows_fall_in_the_same_part(seed: int) -> None:
    values = random_rows(300, 3, 1)
    parts = part_of_row(split_rows(as_rows(np.concatenate([values, values])), SPEC, seed), 600)
    assert parts[:300] == parts[300:]


def test_minus_zero_and_any_nan_are_equal_rows() -> None:
    filler = random_rows(300, 1, 0)
    other_nan = np.array([0x7FC00001], dtype=np.uint32).view(np.float32)
    special = np.array([[0.0], [-0.0], [np.nan], other_nan], dtype=np.float32)
    for seed in range(20):
        parts = part_of_row(split_rows(as_rows(np.concatenate([filler, special])), SPEC, seed), 304)
        assert parts[300] == parts[301]
        assert parts[302] == parts[303]


@pytest.mark.parametrize("values", ["normal", "counting", "one_hot"])
def test_parts_have_the_shares_that_were_asked_for(values: str) -> None:
    made = {
        "normal": random_rows(20_000, 5, 0),
        "counting": np.arange(20_000, dtype=np.float32)[:, None],
        "one_hot": np.unique(np.random.default_rng(0).integers(0, 2, (20_000, 24)), axis=0),
    }[values].astype(np.float32)
    spec = DataSpec(path="x.npy", validation_fraction=0.15, test_fraction=0.25)
    for seed in range(5):
        split = split_rows(as_rows(made), spec, seed)
        assert abs(len(split.validation) / len(made) - 0.15) < 0.02
        assert abs(len(split.test) / len(made) - 0.25) < 0.02


def test_another_seed_is_another_split() -> None:
    rows = as_rows(random_rows(1000, 4, 0))
    first, second = (part_of_row(split_rows(rows, SPEC, seed), 1000) for seed in (0, 1))
    held_out_twice = sum(a == b == "test" for a, b in zip(first, second, strict=True))
    assert held_out_twice < 40


def test_the_split_is_the_same_on_every_machine() -> None:
    values = np.arange(60, dtype=np.float32).reshape(30, 2)
    split = split_rows(as_rows(values), SPEC, seed=7)
    assert (split.validation.tolist(), split.test.tolist()) == ([2], [3, 4, 5, 13, 20, 23])


def test_an_uneven_split_by_many_equal_rows_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    values = random_rows(1000, 2, 0)
    values[:700] = 1
    for seed in range(30):
        split = split_rows(as_rows(values), SPEC, seed)
        if len(split.test) > 500:
            assert "of the rows are for test, not 10%: equal rows stay together" in caplog.text
            return
    pytest.fail("in none of 30 splits the equal rows were for testing")


def test_groups_stay_together() -> None:
    rows = as_rows(random_rows(1000, 4, 0))
    groups = np.repeat(np.random.default_rng(1).integers(-(2**62), 2**62, size=200), 5)
    parts = part_of_row(split_rows(replace(rows, groups=groups), SPEC, 0), 1000)
    assert all(len(set(parts[first : first + 5])) == 1 for first in range(0, 1000, 5))


def test_too_few_rows_to_split_are_refused_with_the_number_needed() -> None:
    with pytest.raises(DataError, match=r"4 rows leave none for .*; at least 10 different rows"):
        split_rows(as_rows(random_rows(4, 2, 0)), SPEC, seed=0)


def test_too_few_steps_to_split_are_refused_with_the_number_needed() -> None:
    rows = Rows(
        np.zeros((3, 1, 64), np.float32),
        RowSchema(kind=DataKind.SERIES, shape=(1, 64)),
        starts=np.array([0, 32, 64]),
    )
    with pytest.raises(DataError, match=r"128 steps leave none for .*; about 960 steps"):
        split_rows(rows, DataSpec(path="s.csv", window=64, stride=32), seed=0)


def test_a_million_rows_are_hashed_and_split_in_well_under_two_seconds() -> None:
    rows = as_rows(np.ones((1_000_000, 32), dtype=np.float32))
    rows.values[:, 0] = np.arange(1_000_000)
    start = time.process_time()
    split_rows(rows, SPEC, seed=0)
    assert time.process_time() - start < 2


@pytest.mark.parametrize("files", [3, 4, 6, 9])
@pytest.mark.parametrize("seed", range(5))
def test_each_part_has_a_file_if_there_are_three(files: int, seed: int) -> None:
    rows = as_rows(random_rows(40 * files, 4, 0))
    groups = np.repeat(np.random.default_rng(seed).integers(-(2**62), 2**62, size=files), 40)
    split = split_rows(replace(rows, groups=groups), SPEC, seed)
    for part in (split.train, split.validation, split.test):
        assert len(part) % 40 == 0
        assert len(part)
    assert len(split.train) >= len(split.validation)


def test_the_windows_of_two_files_are_split_by_time_with_none_across_a_border() -> None:
    starts = np.tile(np.arange(0, 3000, 32), 2)
    rows = Rows(
        np.zeros((len(starts), 1, 64), np.float32),
        RowSchema(kind=DataKind.AUDIO, shape=(1, 64)),
        groups=np.repeat([1, 2], len(starts) // 2),
        starts=starts,
        lengths=np.full(len(starts), 3064),
    )
    split = split_rows(rows, DataSpec(path="f", window=64, stride=32), seed=0)
    assert starts[split.train].max() + 64 <= starts[split.validation].min()
    assert starts[split.validation].max() + 64 <= starts[split.test].min()


# -- few rows, and rows for calibration ------------------------------------------------------------

CALIBRATED = DataSpec(path="x.npy", calibration_fraction=0.2)
HELD_OUT = ("validation", "calibration", "test")


@pytest.mark.parametrize("count", range(30, 41))
@pytest.mark.parametrize("fraction", ["auto", 0.1])
def test_few_rows_are_split_whatever_the_seed(count: int, fraction: Literal["auto"]) -> None:
    spec = DataSpec(path="x.npy", calibration_fraction=fraction)
    for seed in range(50):
        split = split_rows(as_rows(random_rows(count, 4, seed)), spec, seed)
        held_out = [len(getattr(split, part)) for part in HELD_OUT]
        assert len(split.train) + sum(held_out) == count
        assert min(held_out[0], held_out[2]) >= 1
        assert (held_out[1] > 0) == (fraction != "auto")
        assert len(split.train) >= count / 2
        # The gate takes those for trained on that the hash does not hold out.
        data = spec.model_copy(update={"calibration_fraction": split.calibration_fraction})
        by_hash = split_block(random_rows(count, 4, seed), data, seed)["train"]
        assert set(split.train) <= set(by_hash)


def test_calibration_rows_are_rows_that_would_train_without_them() -> None:
    rows = as_rows(random_rows(5000, 4, 0))
    before = split_rows(rows, DataSpec(path="x.npy", calibration_fraction=0), 3)
    after = split_rows(rows, CALIBRATED, 3)
    assert np.array_equal(before.test, after.test)
    assert np.array_equal(before.validation, after.validation)
    assert np.array_equal(before.train, np.union1d(after.train, after.calibration))
    assert abs(len(after.calibration) / 5000 - 0.2) < 0.02


@given(seed=st.integers(0, 2**31 - 1))
def test_a_calibration_row_stays_one_when_rows_are_added(seed: int) -> None:
    values = random_rows(3000, 4, 0)
    few = part_of_row(split_rows(as_rows(values[:400]), CALIBRATED, seed), 400)
    many = part_of_row(split_rows(as_rows(values), CALIBRATED, seed), 3000)
    assert few == many[:400]


@pytest.mark.parametrize(("count", "expected"), [(950, 0.0), (1050, 0.1)])
def test_auto_takes_calibration_rows_if_there_would_be_100(count: int, expected: float) -> None:
    split = split_rows(as_rows(random_rows(count, 4, 0)), SPEC, 0)
    assert split.calibration_fraction == expected
    assert (len(split.calibration) > 0) == (expected > 0)


def test_auto_leaves_most_of_little_training_data_to_training() -> None:
    spec = DataSpec(path="x.npy", validation_fraction=0.45, test_fraction=0.45)
    split = split_rows(as_rows(random_rows(20_000, 4, 0)), spec, 0)
    assert split.calibration_fraction == pytest.approx(0.025)


def test_a_series_is_calibrated_on_steps_between_those_of_validation_and_test() -> None:
    starts = np.arange(0, 3000, 32)
    rows = Rows(
        np.zeros((len(starts), 1, 64), np.float32),
        RowSchema(kind=DataKind.SERIES, shape=(1, 64)),
        starts=starts,
    )
    split = split_rows(rows, DataSpec(path="s.csv", window=64, stride=32), seed=0)
    parts = [starts[getattr(split, part)] for part in ("train", *HELD_OUT)]
    assert all(early.max() + 64 <= late.min() for early, late in pairwise(parts))


def test_a_series_that_can_be_split_without_calibration_rows_is_never_refused_for_them() -> None:
    taken = 0
    for windows in range(20, 60):
        starts = np.arange(windows) * 32
        rows = Rows(
            np.zeros((windows, 1, 64), np.float32),
            RowSchema(kind=DataKind.SERIES, shape=(1, 64)),
            starts=starts,
        )
        spec = DataSpec(path="s.csv", window=64, stride=32)
        try:
            split_rows(rows, spec.model_copy(update={"calibration_fraction": 0.0}), seed=0)
        except DataError:
            continue
        split = split_rows(rows, spec, seed=0)
        assert (split.calibration_fraction > 0) == (len(split.calibration) > 0)
        taken += len(split.calibration) > 0
    assert 0 < taken < 40


@pytest.mark.parametrize(("files", "calibrates"), [(3, False), (4, False), (5, True), (30, True)])
def test_files_are_taken_for_calibration_if_there_are_five(files: int, calibrates: bool) -> None:
    rows = as_rows(random_rows(40 * files, 4, 0))
    groups = np.repeat(np.random.default_rng(0).integers(-(2**62), 2**62, size=files), 40)
    for seed in range(20):
        split = split_rows(replace(rows, groups=groups), SPEC, seed)
        assert (len(split.calibration) >= 40) == calibrates
        assert len(split.calibration) % 40 == 0
        assert len(split.train) >= 40


def test_many_rows_of_which_few_differ_are_calibrated_as_few_rows() -> None:
    values = np.repeat(random_rows(40, 3, 0), 100, axis=0)
    assert len(split_rows(as_rows(values), SPEC, 0).calibration) == 0
