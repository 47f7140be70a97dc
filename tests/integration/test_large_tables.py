"""A table too large for the memory is trained from a copy on disk, as it would be in memory."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from isthmus.data import StoredRows
from isthmus.data.prepared import storing
from isthmus.errors import DataError
from isthmus.jobs.preparation import Prepared, prepare
from isthmus.jobs.specs import check_job
from isthmus.jobs.train import train
from isthmus.spec import JobSpec, Settings

RNG = np.random.default_rng(0)
ROWS = 3000
VALUES = (RNG.normal(size=(ROWS, 2)) @ RNG.normal(size=(2, 5)) + 3).astype(np.float32)
VALUES += RNG.normal(scale=0.1, size=VALUES.shape).astype(np.float32)


@pytest.fixture
def all_is_large(monkeypatch, tmp_path):
    monkeypatch.setattr(storing, "_MOST_BYTES_IN_MEMORY", 0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def job(path: Path, **data: object) -> JobSpec:
    return check_job(
        {
            "name": "large",
            "data": {"path": str(path), **data},
            "latent_dim": 2,
            "training": {"epochs": 5, "global_batch_size": 64},
        }
    )


def rows_in_units(prepared: Prepared) -> np.ndarray:
    return prepared.scaled.train * prepared.scaled.scale + prepared.scaled.offset


@pytest.mark.parametrize("ending", ["parquet", "csv"])
@pytest.mark.parametrize("missing", ["refuse", "mean", "drop"])
@pytest.mark.parametrize("scaling", ["standard", "minmax"])
def test_it_is_split_scaled_and_named_as_in_memory(tmp_path, monkeypatch, ending, missing, scaling):
    if (missing, scaling) == ("mean", "minmax"):
        return  # refused, as NaN has no place in it
    path = save(tmp_path / f"rows.{ending}", holes=missing != "refuse")
    spec = job(path, missing=missing, scaling=scaling)
    whole = prepare(spec)
    monkeypatch.setattr(storing, "_MOST_BYTES_IN_MEMORY", 0)
    stored = prepare(spec)
    assert isinstance(stored.scaled.train, StoredRows)
    assert stored.split_sizes == whole.split_sizes
    assert stored.fingerprint == whole.fingerprint
    assert stored.data == whole.data
    assert stored.plan == whole.plan
    # Of few rows the quantiles are those of all.
    expected = np.nanquantile(rows_in_units(whole), (0.05, 0.5, 0.95), axis=0).T
    if missing != "mean":  # scaled rows have the mean in the place of a missing value
        np.testing.assert_allclose(whole.schema.quantiles, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(stored.schema.quantiles, whole.schema.quantiles, rtol=1e-6)
    np.testing.assert_array_equal(stored.test[:], whole.test)
    np.testing.assert_array_equal(stored.validation[:], whole.validation)
    np.testing.assert_allclose(stored.scaled.offset, whole.scaled.offset, rtol=1e-6)
    np.testing.assert_allclose(stored.scaled.train[:], whole.scaled.train, rtol=1e-5, atol=1e-6)


def test_it_trains_to_a_registered_pair_and_leaves_nothing_behind(tmp_path, here, all_is_large):
    path = save(tmp_path / "rows.parquet")
    result = train(job(path), Settings.from_environment())
    assert result.pair is not None
    # Two factors and two numbers: what is left is the noise.
    assert result.metrics["test/pca_mse"] < 0.05
    assert result.metrics["test/reconstruction_mse"] < 0.3
    assert not list(tmp_path.glob("isthmus-rows-*"))


@pytest.mark.distributed
@pytest.mark.slow
def test_two_workers_share_it(tmp_path, here, all_is_large, ray_session):
    path = save(tmp_path / "rows.parquet")
    spec = job(path)
    spec = spec.model_copy(update={"training": spec.training.model_copy(update={"workers": 2})})
    result = train(spec, Settings.from_environment())
    assert result.metrics["test/reconstruction_mse"] < 0.3


def test_faults_are_said_as_of_a_small_table(tmp_path, all_is_large):
    holed = save(tmp_path / "holed.parquet", holes=True)
    with pytest.raises(DataError, match=r'column "b" has missing values, first in row 0'):
        prepare(job(holed))
    alike = tmp_path / "alike.parquet"
    pd.DataFrame(np.ones((50, 2)), columns=["a", "b"]).to_parquet(alike)
    with pytest.raises(DataError, match="all 50 rows are alike"):
        prepare(job(alike))
    empty = tmp_path / "empty.parquet"
    pd.DataFrame({"a": [1.0], "b": [2.0]})[:0].to_parquet(empty)
    with pytest.raises(DataError, match="no rows"):
        prepare(job(empty))
    few = tmp_path / "few.parquet"
    pd.DataFrame(VALUES[:3], columns=list("abcde")).to_parquet(few)
    with pytest.raises(DataError, match="leave none for"):
        prepare(job(few))
    assert not list(tmp_path.glob("isthmus-rows-*"))


def save(path: Path, *, holes: bool = False) -> Path:
    table = pd.DataFrame(VALUES, columns=list("abcde"))
    if holes:
        table.loc[::97, "b"] = np.nan
    if path.suffix == ".csv":
        table.to_csv(path, index=False)
    else:
        table.to_parquet(path, row_group_size=500)
    return path
