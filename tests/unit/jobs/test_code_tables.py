"""A job's pair gets integer tables of the symbols of its training rows, if it can compress."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from isthmus import variants
from isthmus.core import CodedAutoencoder
from isthmus.core.integer_tables import TOTAL
from isthmus.jobs import code_tables
from isthmus.jobs.preparation import Prepared, prepare
from isthmus.jobs.specs import check_job


def prepared(variant: str) -> Prepared:
    rows = np.random.default_rng(0).normal(size=(400, 6))
    pd.DataFrame(rows, columns=list("abcdef")).to_csv("rows.csv", index=False)
    return prepare(
        check_job({"name": "a", "data": {"path": "rows.csv"}, "variant": variant, "latent_dim": 4})
    )


def test_the_tables_hold_how_often_each_index_is_in_the_training_rows(here: Path) -> None:
    job = prepared("fsq")
    module = variants.build(job.plan).eval()
    assert isinstance(module, CodedAutoencoder)
    tables = code_tables.make_code_tables(job, module)
    x = module.scaling.inverse(torch.from_numpy(job.first_view))
    with torch.inference_mode():
        (indices,) = module.symbols(x)
    assert len(tables) == indices.shape[1]
    for table, column in zip(tables, indices.numpy().T, strict=True):
        counts = np.bincount(column, minlength=table.symbols) + 1
        shares = counts / counts.sum()
        np.testing.assert_allclose(table.frequencies[:-1] / TOTAL, shares, atol=1e-3)


def test_of_many_rows_a_sample_is_taken(here: Path, monkeypatch) -> None:
    job = prepared("residual_vq")
    module = variants.build(job.plan).eval()
    monkeypatch.setattr(code_tables, "_MOST_ROWS", 7)
    tables = code_tables.make_code_tables(job, module)
    assert len(tables) == 8
    # Of 7 rows and one more of each of 128 codes, none has more than 8 of 135.
    assert max(table.frequencies.max() for table in tables) / TOTAL <= 8 / 135 + 1e-3


def test_a_variant_without_whole_numbers_has_no_tables(here: Path) -> None:
    job = prepared("plain")
    assert code_tables.make_code_tables(job, variants.build(job.plan).eval()) == ()
