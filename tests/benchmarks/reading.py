"""Measures how fast rows are read from where people have them, beside one parquet file.

Both sides use one thread. Each benchmark prints a JSON line:

- folder-detect is the time that `isthmus.uses.detect` takes for 64 parquet files of 250,000 rows in
  a folder, over the time for the same rows in one file.
- folder-prepare is the time to read, split and copy the rows of such a folder for training, over
  the time for one file.
- sql-detect and sql-prepare are the same for a query to a database, SQLite in a file, over parquet;
  they have no target.

    python tests/benchmarks/reading.py [NAME ...]
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import sqlite3
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from measuring import compare, wanted
from scoring import LATENT_DIM, SMALL_NET, Work, as_table, column_names, random_rows

import isthmus
from isthmus.jobs.preparation import prepare
from isthmus.jobs.specs import check_job
from isthmus.spec import Settings

FILES, ROWS_OF_A_FILE = 64, 250_000
ROWS_OF_A_DATABASE = 500_000


def folder_and_file(work: Work) -> tuple[Path, Path]:
    """Writes the same rows as many files in a folder and as one; returns both paths."""
    folder, whole = work.folder / "files", work.folder / "whole.parquet"
    if whole.exists():
        return folder, whole
    folder.mkdir()
    schema = pa.schema([(name, pa.float32()) for name in column_names()])
    with pq.ParquetWriter(whole, schema, use_dictionary=False) as writer:
        for number in range(FILES):
            table = as_table(random_rows(ROWS_OF_A_FILE, seed=number))
            pq.write_table(table, folder / f"part-{number:03}.parquet", use_dictionary=False)
            writer.write_table(table)
    return folder, whole


def database_and_file(work: Work) -> tuple[str, Path]:
    """Writes the same rows to a table of a database and to a file; returns a URL and a path."""
    database, whole = work.folder / "plant.db", work.folder / "plant.parquet"
    if not whole.exists():
        table = as_table(random_rows(ROWS_OF_A_DATABASE))
        pq.write_table(table, whole, use_dictionary=False)
        with closing(sqlite3.connect(database)) as connection, connection:
            table.to_pandas().to_sql("readings", connection, index=False, chunksize=20_000)
    return f"sqlite:///{database}", whole


def detect_seconds(work: Work, source: str, query: str | None = None) -> float:
    model, _ = work.pair("small", SMALL_NET, LATENT_DIM)
    pair = isthmus.load(model, settings=work.settings)
    began_s = time.perf_counter()
    pair.detect(source, str(work.folder / "scores.parquet"), query=query, force=True)
    return time.perf_counter() - began_s


def prepare_seconds(source: str, **data: str) -> float:
    job = check_job({"name": "read", "data": {"path": source, **data}, "latent_dim": 4})
    began_s = time.perf_counter()
    prepare(job).close()
    return time.perf_counter() - began_s


def folder_detect(work: Work) -> bool:
    folder, whole = folder_and_file(work)
    return compare(
        "folder-detect",
        lambda: detect_seconds(work, str(folder)),
        lambda: detect_seconds(work, str(whole)),
        target=1.05,
        better="lower",
        unit="s",
        files=FILES,
        rows=FILES * ROWS_OF_A_FILE,
    )


def folder_prepare(work: Work) -> bool:
    folder, whole = folder_and_file(work)
    return compare(
        "folder-prepare",
        lambda: prepare_seconds(str(folder)),
        lambda: prepare_seconds(str(whole)),
        target=1.05,
        better="lower",
        pairs=3,
        unit="s",
        files=FILES,
        rows=FILES * ROWS_OF_A_FILE,
    )


def sql_detect(work: Work) -> bool:
    address, whole = database_and_file(work)
    return compare(
        "sql-detect",
        lambda: detect_seconds(work, address, "SELECT * FROM readings"),
        lambda: detect_seconds(work, str(whole)),
        target=None,
        better="lower",
        unit="s",
        rows=ROWS_OF_A_DATABASE,
    )


def sql_prepare(work: Work) -> bool:
    address, whole = database_and_file(work)
    return compare(
        "sql-prepare",
        lambda: prepare_seconds(address, query="SELECT * FROM readings"),
        lambda: prepare_seconds(str(whole)),
        target=None,
        better="lower",
        unit="s",
        rows=ROWS_OF_A_DATABASE,
    )


BENCHMARKS: dict[str, Callable[[Work], bool]] = {
    "folder-detect": folder_detect,
    "folder-prepare": folder_prepare,
    "sql-detect": sql_detect,
    "sql-prepare": sql_prepare,
}


def main() -> None:
    # torch follows OMP_NUM_THREADS, but pyarrow has a setting of its own.
    pa.set_cpu_count(1)
    torch.set_num_threads(1)
    names = wanted(tuple(BENCHMARKS))
    with tempfile.TemporaryDirectory(prefix="isthmus-reading-") as folder:
        work = Work(Path(folder), Settings.from_environment({}, Path(folder)))
        for name in names:
            BENCHMARKS[name](work)


if __name__ == "__main__":
    main()
