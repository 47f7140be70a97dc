"""Training on tables of any size: what memory it takes, and how its time grows with the rows.

- memory-training: peak memory of `isthmus train` on ten times the rows, each in its own process;
  both tables are larger than what is kept in memory.
- growth-training: seconds a row of training, from the first step to the end of the last epoch,
  validation and checkpoints and all; of each size the median of five turns, in which all sizes
  come one after another. The ratio is of the most to the least. From the third to the fourth size
  the rows no longer are in memory.

    python tests/benchmarks/large.py [NAME ...]
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from measuring import Clock, tell, wanted

from isthmus.jobs.train import train
from isthmus.spec import Settings

NAMES = ("memory-training", "growth-training")
COLUMNS = 32
ROW_GROUP = 100_000
ROWS_OF_MEMORY = (2_500_000, 25_000_000)
# And the epochs of each: so many that what a training does once is little of its time.
ROWS_OF_GROWTH = {10_000: 300, 100_000: 30, 1_000_000: 3, 10_000_000: 1}
TURNS = 5


def memory(folder: Path) -> bool:
    peaks = [peak_of_training(folder, rows) for rows in ROWS_OF_MEMORY]
    ratio = peaks[1] / peaks[0]
    return tell(
        "memory-training",
        ratio=ratio,
        target=1.1,
        met=ratio <= 1.1,
        better="lower",
        unit="MiB at the peak",
        ours=[peaks[1]],
        reference=[peaks[0]],
        rows=list(ROWS_OF_MEMORY),
    )


def growth(folder: Path) -> bool:
    trained(folder, table(folder, 1000), epochs=1, batch=256)  # MLflow is imported once
    tables = {rows: table(folder, rows) for rows in ROWS_OF_GROWTH}
    turns: dict[int, list[float]] = {rows: [] for rows in ROWS_OF_GROWTH}
    for _ in range(TURNS):
        for rows, epochs in ROWS_OF_GROWTH.items():
            clock = trained(folder, tables[rows], epochs, batch=256)
            # A tenth of the rows is validated and a tenth held out.
            turns[rows].append(clock.seconds / (0.8 * rows * epochs) * 1e9)
    per_row = [median(found) for found in turns.values()]
    ratio = max(per_row) / min(per_row)
    return tell(
        "growth-training",
        ratio=ratio,
        target=1.1,
        met=ratio <= 1.1,
        better="lower",
        unit="ns a row",
        ours=per_row,
        rows=list(ROWS_OF_GROWTH),
        turns=list(turns.values()),
    )


def peak_of_training(folder: Path, rows: int) -> float:
    """MiB that a process of its own held at its peak."""
    path = table(folder, rows)
    command = [sys.executable, __file__, "--peak", str(folder), str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    path.unlink()
    return float(json.loads(done.stdout.splitlines()[-1])["peak_mib"])


def print_peak(folder: str, path: str) -> None:
    trained(Path(folder), Path(path), epochs=1, batch=4096)
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    (peak,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    print(json.dumps({"peak_mib": int(peak.split()[1]) / 1024}))


def trained(folder: Path, path: Path, epochs: int, batch: int) -> Clock:
    clock = Clock()
    job = {
        "name": "large",
        "data": {"path": str(path)},
        "net": {"name": "dense", "hidden": [64]},
        "latent_dim": 16,
        "training": {
            "epochs": epochs,
            "global_batch_size": batch,
            "early_stopping": None,
            "threads_per_worker": 1,
        },
    }
    train(job, Settings.from_environment({}, folder), clock)
    return clock


def table(folder: Path, rows: int) -> Path:
    """A parquet of that many rows, in row groups."""
    path = folder / f"rows-{rows}.parquet"
    names = [f"sensor_{number}" for number in range(COLUMNS)]
    schema = pa.schema([(name, pa.float32()) for name in names])
    mixing = np.random.default_rng(0).standard_normal((8, COLUMNS), dtype=np.float32)
    with pq.ParquetWriter(path, schema, use_dictionary=False, compression="none") as writer:
        for first in range(0, rows, ROW_GROUP):
            generator = np.random.default_rng(first)
            count = min(ROW_GROUP, rows - first)
            values = generator.standard_normal((count, 8), dtype=np.float32) @ mixing
            columns = np.ascontiguousarray(values.T)
            writer.write_table(pa.table(dict(zip(names, columns, strict=True))))
    return path


def main() -> None:
    pa.set_cpu_count(1)
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["--peak"]:
        print_peak(*sys.argv[2:])
        return
    names = wanted(NAMES)
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            {"memory-training": memory, "growth-training": growth}[name](Path(folder))


if __name__ == "__main__":
    main()
