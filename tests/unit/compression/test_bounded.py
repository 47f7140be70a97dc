"""Columns of numbers come back within their maximum error, whatever they hold."""

import hashlib
import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from isthmus.compression.bounded import DTYPES, MOST_ROWS, Predictor, column_code, decode, encode
from isthmus.errors import DataError

ERRORS = st.one_of(st.just(0.0), st.floats(1e-300, 1e300), st.sampled_from([0.5, 1.0, 2.5, 1e-3]))


def assert_within(column: NDArray, decoded: NDArray, max_error: float) -> None:
    assert decoded.dtype == column.dtype
    if max_error == 0:
        assert decoded.tobytes() == column.tobytes()
        return
    for value, found in zip(column.tolist(), decoded.tolist(), strict=True):
        same = value == found or (value != value and found != found)
        assert same or abs(value - found) <= max_error, (value, found)


@settings(max_examples=100, deadline=None)
@given(st.data(), st.sampled_from(DTYPES), ERRORS)
def test_any_column_comes_back_within_its_error(data, dtype, max_error):
    column = data.draw(arrays(dtype, st.integers(0, 40)))
    coded = encode([column], [max_error])
    (decoded,) = decode(coded.data)
    assert_within(column, decoded, max_error)
    assert coded.largest_errors[0] <= max_error


def column_of(kind: str, count: int, rng: np.random.Generator) -> NDArray:
    walk = np.cumsum(rng.standard_normal(count))
    match kind:
        case "decimals":
            return np.round(walk, 2)
        case "calculated decimals":
            return np.round(walk, 3) / 7 * 7
        case "sound":
            return (1000 * np.sin(np.arange(count) / 9) + rng.normal(0, 9, count)).astype(np.int16)
        case "few values":
            return rng.choice(np.sqrt(np.arange(9.0)), count)
        case "floats of 32 bits":
            return walk.astype(np.float32)
        case "ranges":
            return rng.choice([-1, 1], count) * 10.0 ** rng.uniform(-300, 300, count)
        case "missing":
            return np.where(rng.random(count) < 0.3, np.nan, walk)
        case "infinite":
            return rng.choice([np.inf, -np.inf, -0.0, 0.0, 1.5], count)
        case "whole numbers of 64 bits":
            return rng.integers(-(2**63), 2**63, count)
    return np.full(count, 7.25)


KINDS = (
    "decimals", "calculated decimals", "sound", "few values", "floats of 32 bits", "ranges",
    "missing", "infinite", "whole numbers of 64 bits", "constant",
)  # fmt: skip


@pytest.mark.parametrize("count", [0, 1, 2, 63, 700])
@pytest.mark.parametrize("max_error", [0.0, 1e-3, 0.7])
def test_columns_of_all_kinds_come_back_together(count, max_error):
    rng = np.random.default_rng(count)
    columns = [column_of(kind, count, rng) for kind in KINDS]
    coded = encode(columns, [max_error] * len(columns))
    for column, decoded in zip(columns, decode(coded.data), strict=True):
        assert_within(column, decoded, max_error)


def test_a_nan_keeps_its_bits_without_error():
    column = np.array([1.5, np.nan, 0.0, 2.5])
    column.view(np.uint64)[2] = 0x7FF8_0000_0000_BEEF
    (decoded,) = decode(encode([column], [0.0]).data)
    assert decoded.tobytes() == column.tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_predictions_that_differ_in_the_last_digits_decode_alike(kind):
    rng = np.random.default_rng(3)
    column = column_of(kind, 2000, rng)
    with np.errstate(over="ignore"):
        near = np.nan_to_num(column.astype(np.float64), posinf=1.0, neginf=1.0)
        prediction = near + rng.normal(0, 2.0, 2000)
    prediction[::7] = np.rint(prediction[::7]) + 0.5  # in the middle between whole numbers
    other = prediction * (1 + 1e-14 * rng.standard_normal(2000))
    for max_error in (0.0, 0.5):
        coded = encode([column], [max_error], [prediction])
        for each in (prediction, other):
            assert_within(column, decode(coded.data, [each])[0], max_error)


def test_a_good_prediction_is_used_and_a_bad_one_costs_nothing():
    rng = np.random.default_rng(5)
    column = rng.normal(0, 100, 4000)
    alone = encode([column], [0.5])
    good = encode([column], [0.5], [column + rng.normal(0, 1, 4000)])
    assert good.predictors == (Predictor.PAIR,)
    assert good.needs_pair
    assert len(good.data) < len(alone.data) / 2
    for bad in (rng.normal(0, 1e6, 4000), np.full(4000, np.nan), np.full(4000, 1e308)):
        coded = encode([column], [0.5], [bad])
        assert not coded.needs_pair
        assert coded.data == alone.data


def test_bytes_that_need_the_pair_are_refused_without_it():
    rng = np.random.default_rng(5)
    column = rng.normal(0, 100, 4000)
    coded = encode([column], [0.5], [column])
    with pytest.raises(DataError, match="needs the predictions of its pair"):
        decode(coded.data)
    with pytest.raises(DataError, match="decodes to other numbers"):
        decode(coded.data, [column + 10])


def test_sounds_series_and_tables_are_smaller_than_with_general_tools():
    rng = np.random.default_rng(1)
    for kind, share in (("sound", 0.75), ("decimals", 0.75), ("calculated decimals", 0.75),
                        ("few values", 0.95)):  # fmt: skip
        column = column_of(kind, 8000, rng)
        general = len(pa.Codec("zstd", 19).compress(column.tobytes(), asbytes=True))
        assert len(encode([column], [0.0]).data) < share * general, kind


def test_rows_that_repeat_parts_of_others_are_found():
    rng = np.random.default_rng(2)
    pool = rng.integers(0, 250, (40, 24)).astype(np.uint8)
    rows = pool[rng.integers(0, 40, 2000)]
    columns = [np.ascontiguousarray(rows[:, place]) for place in range(24)]
    coded = encode(columns, [0.0] * 24)
    assert set(coded.predictors) == {Predictor.ROWS}
    assert len(coded.data) < 6000
    assert np.array_equal(np.stack(decode(coded.data), axis=1), rows)


def test_a_copy_of_a_column_costs_next_to_nothing():
    rng = np.random.default_rng(4)
    column = np.round(rng.normal(0, 50, 3000), 3)
    one = encode([column], [0.0])
    later = np.roll(column, 1)
    assert len(encode([column, later], [0.0, 0.0]).data) < len(one.data) + 300


def test_damaged_bytes_are_refused_or_caught_by_the_checksum():
    rng = np.random.default_rng(6)
    columns = [column_of(kind, 300, rng) for kind in KINDS]
    data = encode(columns, [0.0] * len(columns)).data
    repeated = encode([np.tile(np.arange(50, dtype=np.uint8), 9)] * 3, [0.0] * 3).data
    for start in (data, repeated, b""):
        for _ in range(150):
            mutated = bytearray(start)
            for place in rng.integers(0, len(start) or 1, 3)[: len(start)]:
                mutated[place] = rng.integers(256)
            del mutated[len(mutated) - rng.integers(0, 2) * (len(mutated) // 3) :]
            if bytes(mutated) == start and start:
                continue
            try:
                decoded = decode(bytes(mutated))
            except DataError:
                continue
            # A change of what no number follows from, such as a column's type.
            assert len(decoded) <= len(columns)


def test_a_full_chunk_is_coded_in_bounded_memory():
    rng = np.random.default_rng(7)
    column = np.round(np.cumsum(rng.standard_normal(MOST_ROWS)), 2)
    tracemalloc.start()
    decode(encode([column], [0.0]).data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 60 * column.nbytes


def test_another_number_of_threads_decodes_the_same_numbers():
    rng = np.random.default_rng(0)
    columns = [column_of(kind, 3000, rng) for kind in KINDS]
    data = encode(columns, [0.01] * len(columns)).data
    code = (
        "import sys, hashlib\n"
        "from isthmus.compression.bounded import decode\n"
        "columns = decode(sys.stdin.buffer.read())\n"
        "print(hashlib.sha256(b''.join(each.tobytes() for each in columns)).hexdigest())\n"
    )
    told = {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    found = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **told}, input=data, stdout=-1, check=True
    ).stdout.decode()
    here = b"".join(each.tobytes() for each in decode(data))
    assert found.strip() == hashlib.sha256(here).hexdigest()


def test_each_of_many_columns_takes_as_long_as_the_others(monkeypatch):
    tried = []
    count = column_code._table_bits
    monkeypatch.setattr(column_code, "_table_bits", lambda *given: tried.append(0) or count(*given))
    columns = [np.array([1, number % 250], np.uint8) for number in range(400)]
    coded = encode(columns, [0.0] * 400)
    assert len(tried) <= 400 * 150
    for one, other in zip(columns, decode(coded.data), strict=True):
        assert np.array_equal(one, other)


def test_more_columns_than_a_chunk_holds_are_refused_with_one_line():
    with pytest.raises(DataError, match="65,537 columns"):
        encode([np.zeros(0, np.uint8)] * 65_537, [0.0] * 65_537)
