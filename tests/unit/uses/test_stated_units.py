"""Every use of a pair tells of a column whose stated unit is not that of training."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from isthmus.registry import Pair
from isthmus.uses.compress import Compress
from isthmus.uses.embed import Embed
from tests.untrained import pair_of
from tests.using import applied, denoise_with, detect_with

RNG = np.random.default_rng(0)
SAID = 'states another unit than the rows of training have ("flow" in "m3/h", and not in "l/s")'


def frame(unit: str | None, rows: int = 300) -> pd.DataFrame:
    made = pd.DataFrame(RNG.normal(5, 1, size=(rows, 2)), columns=["flow", "heat"])
    if unit is not None:
        made.attrs["units"] = {"flow": unit}
    return made


def written(unit: str, path: str) -> str:
    fields = [pa.field("flow", pa.float32(), metadata={"unit": unit}), pa.field("heat", "float32")]
    table = pa.Table.from_pandas(frame(None), preserve_index=False)
    pq.write_table(table.cast(pa.schema(fields)), path)
    return path


@pytest.fixture(params=["tabular", "series"])
def pair(request: pytest.FixtureRequest, here: Path) -> Pair:
    """A pair of two columns or channels, whose file states the unit of one."""
    window = {"window": 8} if request.param == "series" else {}
    return pair_of(written("l/s", "train.parquet"), kind=request.param, **window)


def told_of_units(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno == logging.WARNING and "unit" in record.getMessage()
    ]


USES = {
    "detect": lambda pair, path: detect_with(pair, path, "out.csv"),
    "denoise": lambda pair, path: denoise_with(pair, path, "out.parquet"),
    "embed": lambda pair, path: applied(Embed(), pair, path, "out.npz"),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_use_tells_once_of_a_file_in_another_unit(use, pair, caplog):
    use(pair, written("l/s", "new.parquet"))
    assert told_of_units(caplog) == []
    use(pair, written("m3/h", "new.parquet"))
    (line,) = told_of_units(caplog)
    assert line.startswith(f"new.parquet: {SAID}; convert the values, or correct")


def test_compression_tells_once_of_a_file_in_another_unit(here, caplog):
    pair = pair_of(written("l/s", "train.parquet"), variant="fsq")
    use = Compress()
    use.check(pair)
    applied(use, pair, written("m3/h", "new.parquet"), "out.isth")
    assert [SAID in line for line in told_of_units(caplog)] == [True]


@pytest.mark.parametrize("verb", ["detect", "denoise", "encode"])
def test_a_frame_in_another_unit_is_told(verb, here, caplog):
    pair = pair_of(written("l/s", "train.parquet"))
    getattr(pair, verb)(frame("l/s"))
    getattr(pair, verb)(frame(None))
    assert told_of_units(caplog) == []
    getattr(pair, verb)(frame("m3/h"))
    (line,) = told_of_units(caplog)
    assert line.startswith(f"frame: {SAID}")


def test_denoised_rows_state_the_units_of_their_input(pair):
    denoise_with(pair, written("l/s", "new.parquet"), "out.parquet")
    assert pq.read_schema("out.parquet").field("flow").metadata[b"unit"] == b"l/s"


@pytest.mark.parametrize("path", ["new.csv", "new.parquet", "new.jsonl"])
def test_columns_in_another_order_are_found_by_name_in_tables_and_in_series(path, pair, here):
    usual = pq.read_table("train.parquet").to_pandas()
    other = usual[["heat", "flow"]].assign(id=range(300))
    if path.endswith("csv"):
        other.to_csv(path, index=False)
    elif path.endswith("jsonl"):
        other.to_json(path, orient="records", lines=True, double_precision=15)
    else:
        other.to_parquet(path)
    Path("both").mkdir()
    usual.to_parquet("both/a.parquet")
    other.to_parquet("both/b.parquet")
    scores = {}
    for source in ("train.parquet", path, "both/"):
        detect_with(pair, source, "out.csv")
        scores[source] = pd.read_csv("out.csv")["score"].to_numpy()
    np.testing.assert_allclose(scores[path], scores["train.parquet"], rtol=1e-4)
    np.testing.assert_allclose(scores["both/"], np.tile(scores["train.parquet"], 2), rtol=1e-4)
