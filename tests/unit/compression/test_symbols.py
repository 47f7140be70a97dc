"""Symbols become bytes and again the same symbols, whatever whole numbers they are."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as of_numpy

from isthmus.compression.symbols import CodedSymbols
from isthmus.core.integer_tables import MOST_SYMBOLS, TOTAL, IntTable
from isthmus.errors import DataError

RNG = np.random.default_rng(0)
TABLES = [
    IntTable.of_weights(0, [5, 1, 1, 9]),
    IntTable.of_weights(-3, [1] * 7),
    IntTable.of_weights(1000, [1.0]),
]


def fixed(numbers: np.ndarray) -> Callable[[Sequence[np.ndarray]], np.ndarray]:
    """The numbers of the tables of a single stream."""
    return lambda before: numbers


def again(coded: CodedSymbols, symbols: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    content = coded.to_bytes([symbols], fixed(numbers))
    (found,) = coded.from_bytes(content, 1, fixed(numbers))
    return found


@settings(max_examples=150, deadline=None)
@given(
    of_numpy.arrays(
        np.int64,
        of_numpy.array_shapes(max_dims=2, min_side=0, max_side=30),
        elements=st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-5, 5)),
    ),
    st.integers(0, 2**32 - 1),
)
def test_any_whole_numbers_come_back(symbols: np.ndarray, seed: int) -> None:
    numbers = np.random.default_rng(seed).integers(0, len(TABLES), size=symbols.shape)
    np.testing.assert_array_equal(again(CodedSymbols(TABLES), symbols, numbers), symbols)


def test_no_symbols_take_no_bytes() -> None:
    coded = CodedSymbols(TABLES)
    none = np.empty((0, 4), dtype=np.int64)
    assert coded.to_bytes([none], fixed(none)) == b""
    assert again(coded, none, none).shape == (0, 4)


def test_a_later_stream_may_have_its_tables_from_the_earlier_ones() -> None:
    coded = CodedSymbols(TABLES)
    first, second = RNG.integers(0, 3, (50, 4)), RNG.integers(-9, 9, (50, 4))

    def numbers_of(before: Sequence[np.ndarray]) -> np.ndarray:
        return before[0] if before else np.zeros((50, 4), dtype=np.int64)

    content = coded.to_bytes([first, second], numbers_of)
    found = coded.from_bytes(content, 2, numbers_of)
    np.testing.assert_array_equal(found, [first, second])


def test_the_size_is_that_of_the_entropy() -> None:
    table = IntTable.of_weights(0, RNG.random(200) ** 4)
    shares = table.frequencies[:-1] / table.frequencies[:-1].sum()
    symbols = RNG.choice(200, size=100_000, p=shares)
    numbers = np.zeros_like(symbols)
    content = CodedSymbols([table]).to_bytes([symbols], fixed(numbers))
    assert len(content) <= 1.001 * table.bits()[symbols].sum() / 8 + 8


def test_several_threads_give_the_same_bytes() -> None:
    symbols = RNG.integers(-20, 20, (2000, 30))
    numbers = RNG.integers(0, 3, symbols.shape)

    def coded(_: int) -> bytes:
        return CodedSymbols(TABLES).to_bytes([symbols], fixed(numbers))

    with ThreadPoolExecutor(4) as threads:
        assert len(set(threads.map(coded, range(8)))) == 1


@pytest.mark.parametrize("tables", [1, 64], ids=["one table", "64 tables"])
def test_more_than_five_million_symbols_a_second_go_each_way(tables: int) -> None:
    made = [IntTable.of_weights(0, RNG.random(256) ** 3) for _ in range(tables)]
    symbols = RNG.integers(0, 256, (10_000, 64))
    numbers = np.broadcast_to(np.arange(64) % tables, symbols.shape)
    coded = CodedSymbols(made)
    taken_s = []
    for _ in range(5):
        began_s = time.process_time()
        content = coded.to_bytes([symbols], fixed(numbers))
        between_s = time.process_time()
        coded.from_bytes(content, 1, fixed(numbers))
        taken_s.append((between_s - began_s, time.process_time() - between_s))
    for way in zip(*taken_s, strict=True):
        assert symbols.size / min(way) > 5e6


@pytest.mark.parametrize("more", [1, 400])
def test_bytes_that_go_on_after_the_symbols_are_refused(more: int) -> None:
    symbols = RNG.integers(0, 4, (100, 30))
    numbers = np.zeros_like(symbols)
    coded = CodedSymbols(TABLES)
    content = coded.to_bytes([symbols], fixed(numbers))
    with pytest.raises(DataError, match="restore the file"):
        coded.from_bytes(content + bytes(more), 1, fixed(numbers))


def test_a_table_number_that_the_pair_has_not_is_refused() -> None:
    with pytest.raises(DataError, match="tables 3 to 3 are asked for, and the pair has 3"):
        again(CodedSymbols(TABLES), np.zeros(5, dtype=np.int64), np.full(5, 3))


# -- tables -----------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 1e300), min_size=1, max_size=300))
def test_frequencies_are_whole_and_at_least_one_with_one_sum(weights: list[float]) -> None:
    if not 0 < sum(weights) < np.inf:
        weights = [1.0]
    table = IntTable.of_weights(-7, weights)
    assert table.frequencies.sum() == TOTAL
    assert table.frequencies.min() >= 1
    assert (table.offset, table.symbols) == (-7, len(weights))


def test_a_table_of_too_many_symbols_keeps_the_heaviest_neighbours() -> None:
    weights = np.ones(100_000)
    weights[60_000:70_000] = 50
    table = IntTable.of_weights(5, weights)
    assert table.symbols == MOST_SYMBOLS
    assert table.offset <= 60_005
    assert table.offset + table.symbols >= 70_005
    assert table.frequencies[-1] > 1
    symbols = np.array([5, 65_000, 100_004])
    np.testing.assert_array_equal(
        again(CodedSymbols([table]), symbols, np.zeros_like(symbols)), symbols
    )


@pytest.mark.parametrize(
    "frequencies",
    [[TOTAL], [TOTAL - 1, 2], [TOTAL, 0], [[TOTAL - 1, 1]], [0.5, TOTAL - 0.5]],
    ids=["one", "sum", "zero", "shape", "type"],
)
def test_frequencies_that_are_none_are_refused(frequencies: list) -> None:
    with pytest.raises(ValueError):
        IntTable(0, np.array(frequencies))
