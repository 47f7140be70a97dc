"""Files that were compressed within an error are decoded to the same values forever."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from isthmus.bundle.manifest import read_manifest
from isthmus.compression.decompressing import write_rows
from isthmus.compression.opened import open_compressed
from isthmus.registry import Pair, ResolvedPair, build

FOLDER = Path(__file__).parents[3] / "fixtures" / "compressed"
STORED = sorted(FOLDER.glob("format-*/within-error/*/*.isth"))


@pytest.fixture(params=[1, 2], ids=["1 thread", "2 threads"])
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    usual = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(usual)


def pair_of(folder: Path) -> Pair:
    stored = folder / "pair"
    return build(ResolvedPair("stored/1", 1, read_manifest(stored), stored))


def assert_equal(made: Path, stored: Path) -> None:
    match stored.suffix:
        case "":
            names = [path.name for path in stored.glob("*.wav")]
            assert names
            for name in names:
                found, expected = (soundfile.read(folder / name) for folder in (made, stored))
                np.testing.assert_array_equal(found[0], expected[0])
                assert found[1] == expected[1]
        case ".npy":
            np.testing.assert_array_equal(np.load(made), np.load(stored))
        case ".csv":
            assert made.read_bytes() == stored.read_bytes()
        case ".parquet":
            pd.testing.assert_frame_equal(pd.read_parquet(made), pd.read_parquet(stored))


@pytest.mark.parametrize("file", STORED, ids=lambda path: f"{path.parent.name} {path.stem}")
def test_a_stored_file_decodes_to_the_stored_values(tmp_path, file, threads):
    (expected,) = (path for path in file.parent.glob(f"{file.stem}*") if path != file)
    made = tmp_path / expected.name
    with open_compressed(str(file)) as opened:
        write_rows(opened, pair_of(file.parent), made)
    assert_equal(made, expected)


def test_each_kind_of_file_and_each_predictor_is_stored():
    used: set[str] = set()
    for file in STORED:
        with open_compressed(str(file)) as opened:
            assert opened.summary is not None
            used |= {name for each in opened.summary.columns for name in each.predictors}
    kinds = {path.parent.name for path in STORED}
    assert {"array", "table", "series", "sounds"} <= kinds
    assert {"the pair", "other columns", "its level", "the row before", "a linear filter"} <= used
