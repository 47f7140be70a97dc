"""Tables come back with all of their columns, and written numbers as they were written."""

from contextlib import suppress
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.compression.bounded import MOST_VALUES
from isthmus.compression.within_error.columns import TableCoder, part_errors
from isthmus.compression.within_error.written_numbers import Style, read_numbers
from isthmus.errors import DataError


def table_of_all_types(rows: int = 900) -> pa.Table:
    rng = np.random.default_rng(0)
    walk = np.cumsum(rng.standard_normal(rows))
    texts = rng.choice(["u", "v w", 'q"x,y'], rows)
    return pa.table(
        {
            "id": pa.array([f"x{row}" for row in range(rows)]),
            "price": pa.array(walk, mask=rng.random(rows) < 0.1),
            "small": pa.array(walk.astype(np.float16)),
            "count": pa.array(rng.integers(0, 9, rows), pa.int16()),
            "time": pa.array(np.arange(rows) * 1000, pa.timestamp("ms", "UTC")),
            "day": pa.array(np.arange(rows) % 50, pa.int32()).cast(pa.date32()),
            "is": pa.array(rng.random(rows) < 0.5),
            "none": pa.nulls(rows),
            "kind": pa.array(texts).dictionary_encode(),
            "list": pa.array([[1, 2]] * rows),
            "text": pa.array(np.round(walk, 2)).cast(pa.string()),
        }
    )


@pytest.mark.parametrize("rows", [0, 1, 900])
def test_every_column_comes_back_exactly_without_an_error(rows):
    table = table_of_all_types().slice(0, rows)
    coder = TableCoder(table.schema)
    decoded = coder.decode(coder.encode(table).data)
    assert decoded.to_pylist() == table.to_pylist()
    assert decoded.schema.equals(table.schema, check_metadata=True)


def test_only_named_columns_of_numbers_have_an_error():
    table = table_of_all_types()
    coder = TableCoder(table.schema, {"price": 0.1, "text": 0.1, "id": 0.1, "time": 0.1})
    part = coder.encode(table)
    decoded = coder.decode(part.data)
    errors = part_errors(table, decoded)
    assert 0 < errors.pop("price") <= 0.1
    assert 0 < errors.pop("text") <= 0.1
    assert set(errors.values()) == {0.0}
    assert part.largest_errors["price"] <= 0.1
    assert len(part.data) < 0.9 * len(TableCoder(table.schema).encode(table).data)


def test_a_part_is_never_larger_than_its_parquet():
    # Texts are all that there is: nothing is gained beside a parquet.
    table = pa.table({"a": [f"{n:032x}" for n in range(500)], "b": ["x"] * 500})
    part = TableCoder(table.schema).encode(table)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", compression_level=19)
    assert len(part.data) <= sink.getvalue().size
    assert part.is_parquet
    assert TableCoder(table.schema).decode(part.data).equals(table)


FEATURES = [f"c{number}" for number in range(12)]
CENTRES = np.random.default_rng(9).normal(0, 300, (64, len(FEATURES)))


class Centres:
    """Predicts rows by the nearest of 64 centres, whose number is a byte."""

    def encode(self, rows):
        distances = ((rows[:, None] - CENTRES) ** 2).sum(axis=2)
        latents = distances.argmin(axis=1).astype(np.uint8).tobytes()
        return latents, self.decode(latents, len(rows))

    def decode(self, latents, rows):
        return CENTRES[np.frombuffer(latents, np.uint8)]


def test_a_predictor_is_used_where_it_saves_more_than_its_latents_cost():
    rng = np.random.default_rng(1)
    rows = CENTRES[rng.integers(0, 64, 2000)] + rng.normal(0, 1, (2000, len(FEATURES)))
    table = pa.table(dict(zip(FEATURES, rows.T.copy(), strict=True)))
    errors = dict.fromkeys(FEATURES, 0.05)
    alone = TableCoder(table.schema, errors).encode(table)
    coder = TableCoder(table.schema, errors, FEATURES, Centres())
    part = coder.encode(table)
    assert set(part.predictors.values()) == {"the pair"}
    assert len(part.data) < 0.75 * len(alone.data)
    assert max(part_errors(table, coder.decode(part.data)).values()) <= 0.05
    with pytest.raises(DataError, match="needs its pair"):
        TableCoder(table.schema, errors).decode(part.data)


def test_a_predictor_that_knows_nothing_costs_nothing():
    rng = np.random.default_rng(2)
    table = pa.table({name: rng.normal(0, 1, 500) for name in FEATURES})
    errors = dict.fromkeys(FEATURES, 0.05)
    coder = TableCoder(table.schema, errors, FEATURES, Centres())
    assert coder.encode(table).data == TableCoder(table.schema, errors).encode(table).data


def test_rows_at_once_bound_the_values_of_a_part():
    schema = pa.schema([(f"c{n}", pa.float64()) for n in range(1000)])
    assert TableCoder(schema).rows_at_once * 2000 <= MOST_VALUES
    assert TableCoder(pa.schema([])).rows_at_once >= 1


@pytest.mark.parametrize(
    ("cells", "style"),
    [
        (["12", "-3", "0"], Style.WHOLE),
        (["1.50", "-0.25", "10.00", "-0.00"], Style.FIXED),
        (["51.846000000000004", "44.508"], Style.SHORTEST),
        (["1.5", "12"], Style.PLAIN),
        (["2014-04-01 00:05:00", "1969-12-31 23:59:59"], Style.TIME),
        (["2014-04-01T00:05:00"], Style.TIME_T),
        (["2014-04-01"], Style.DATE),
    ],
    ids=lambda value: value.name if isinstance(value, Style) else "",
)
def test_written_numbers_are_read_in_their_style(cells, style):
    found = read_numbers(pa.array(cells))
    assert found is not None
    assert found.style is style
    assert found.texts().to_pylist() == cells


@pytest.mark.parametrize("cell", ["007", "+5", " 5", "1e3", "9223372036854775808", "1_0", ""])
def test_what_would_not_come_back_letter_for_letter_stays_a_text(cell):
    assert read_numbers(pa.array([cell])) is None


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.none() | st.floats().map(repr) | st.integers().map(str) | st.text(max_size=6)),
)
def test_any_texts_come_back(cells):
    table = pa.table({"a": pa.array(cells, pa.string())})
    coder = TableCoder(table.schema)
    assert coder.decode(coder.encode(table).data).equals(table)


def test_damaged_parts_raise_no_other_error():
    rng = np.random.default_rng(3)
    table = table_of_all_types(200)
    coder = TableCoder(table.schema)
    data = coder.encode(table).data
    for _ in range(150):
        mutated = bytearray(data)
        mutated[rng.integers(len(data))] ^= 1 << rng.integers(8)
        end = rng.integers(len(data)) if rng.random() < 0.3 else None
        with suppress(DataError):
            coder.decode(bytes(mutated[:end]))


@pytest.mark.parametrize("max_error", [0.1, 0.3, 0.35, 0.7, 1.1, 0.05])
def test_decimals_come_back_within_an_error_that_is_a_multiple_of_their_last(max_error):
    whole = [10 * k + i % 10 for i, k in enumerate(range(-250, 250))]
    texts = [f"{'-' if n < 0 else ''}{abs(n) // 10}.{abs(n) % 10}" for n in whole]
    table = pa.table({"heat": texts})
    part = TableCoder(table.schema, {"heat": max_error}).encode(table)
    after = TableCoder(table.schema).decode(part.data)
    off = [
        abs(Decimal(one) - Decimal(other))
        for one, other in zip(texts, after.column("heat").to_pylist(), strict=True)
    ]
    assert max(off) <= Decimal(str(max_error))
    assert max(off) == (Decimal(str(max_error)) * 10).to_integral_value("ROUND_FLOOR") / 10
    assert part_errors(table, after)["heat"] == part.largest_errors["heat"] == float(max(off))
