"""Jobs on a Ray of three nodes, in a process of its own: prints a JSON object of what came of them.

Call: `python -m tests.distributed.three_nodes FOLDER`. Another Ray may run in the process of the
tests, and the memory of this driver is to be measured.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

NODES, CPUS, STORE_BYTES = 3, 2, 120 << 20
FILES, ROWS_IN_A_FILE, FEATURES = 48, 58_000, 64
LARGE_BYTES = FILES * ROWS_IN_A_FILE * FEATURES * 4
SMALL_ROWS = 3009  # of which even numbers train and validate: two workers have equally many
_WATCH_EVERY_S = 0.1


@dataclass
class Outcome:
    """What came of a job.

    Attributes:
        train: The loss of each epoch over the training rows.
        validation: The same over the held-out rows.
        rows: Rows of each part, as the run says.
        peaks: The most private bytes of one process, by the part that it plays.
        seconds: The time that it took.
    """

    train: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
    peaks: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0


def write_large(folder: Path) -> Path:
    """Writes a table of many files that no object store of the cluster could hold."""
    generator = np.random.default_rng(0)
    return _write(folder, (_values(generator, ROWS_IN_A_FILE, FEATURES) for _ in range(FILES)))


def write_small(folder: Path) -> tuple[Path, Path]:
    """Writes the same rows as three files, in which they are sorted, and as one."""
    values = _values(np.random.default_rng(1), SMALL_ROWS, 8)
    values = values[values[:, 0].argsort()]
    whole = _write(folder.with_name("whole"), iter([values]))
    return _write(folder, iter(np.array_split(values, 3))), whole / "part-000.parquet"


def _values(generator: np.random.Generator, rows: int, features: int) -> np.ndarray:
    factors = generator.standard_normal((rows, 2), dtype=np.float32)
    noise = generator.standard_normal((rows, features), dtype=np.float32)
    mixing = np.random.default_rng(2).standard_normal((2, features), dtype=np.float32)
    return factors @ mixing + 3 + noise / 10


def _write(folder: Path, parts: Iterator[np.ndarray]) -> Path:
    folder.mkdir()
    for number, values in enumerate(parts):
        table = pa.table({f"c{column}": each for column, each in enumerate(values.T)})
        path = folder / f"part-{number:03}.parquet"
        # A reader holds a row group; of a table this small they are small too.
        pq.write_table(table, path, 8192, compression="none", use_dictionary=False)
    return folder


@contextmanager
def _watched(outcome: Outcome) -> Iterator[None]:
    """Notes the memory of this process and of Ray's below it that no other process shares."""
    is_over = threading.Event()

    def note(role: str, process: psutil.Process) -> None:
        memory = process.memory_info()
        private = memory.rss - memory.shared
        outcome.peaks[role] = max(outcome.peaks.get(role, 0), private)

    def watch() -> None:
        me = psutil.Process()
        while not is_over.wait(_WATCH_EVERY_S):
            note("driver", me)
            for process in me.children(recursive=True):
                try:
                    title = " ".join(process.cmdline())
                    if title.startswith("ray::RayTrainWorker"):
                        note("worker", process)
                    elif title.startswith(("ray::Map", "ray::IDLE")):
                        note("task", process)
                except psutil.Error:
                    continue  # it has ended meanwhile

    thread = threading.Thread(target=watch)
    thread.start()
    began_s = time.monotonic()
    try:
        yield
    finally:
        outcome.seconds = time.monotonic() - began_s
        is_over.set()
        thread.join()


def _train(path: Path, address: str | None, **training: object) -> Outcome:
    """Trains as `isthmus train` does."""
    from mlflow import MlflowClient

    from isthmus.jobs.train import train
    from isthmus.progress.reporter import EpochReport
    from isthmus.spec import Settings

    outcome = Outcome()

    class Recorder:
        def on_start(self, epochs: int, rows: int, first_epoch: int) -> None:
            pass

        def on_rows(self, epoch: int, done: int) -> None:
            pass

        def on_epoch(self, report: EpochReport) -> None:
            outcome.train.append(report.train["loss"])
            outcome.validation.append(report.validation["loss"])

    settings = Settings.from_environment().model_copy(update={"ray_address": address})
    job = {
        "name": "table",
        "data": {"path": str(path)},
        # A memory of many rows would import sklearn, whose megabytes are not those of the table.
        "scoring": "own",
        "latent_dim": 2,
        "net": {"name": "dense", "hidden": [16]},
        "training": {"device": "cpu", "early_stopping": None, **training},
    }
    with _watched(outcome):
        result = train(job, settings, Recorder())
    assert result.pair is not None
    params = MlflowClient(settings.tracking_uri).get_run(result.run_id).data.params
    outcome.rows = {
        name.removeprefix("rows."): int(value)
        for name, value in params.items()
        if name.startswith("rows.")
    }
    return outcome


def main(folder: Path) -> dict[str, object]:
    """Runs the jobs in a new folder."""
    from isthmus.quiet import quieten

    quieten()
    os.chdir(folder)
    # Processes of Ray may still write to it at the end.
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp", ignore_cleanup_errors=True) as place:
        # Else a Ray that another test starts meanwhile would be found to be this one.
        # And each node would start a process for each CPU, which Ray Train's workers do not use.
        os.environ |= {"RAY_TMPDIR": place, "RAY_prestart_worker_first_driver": "0"}
        return _run(folder)


def _run(folder: Path) -> dict[str, object]:
    files, whole = write_small(folder / "small")
    large = write_large(folder / "large")
    # One step an epoch, whatever the order of the rows; and steps of some rows in their order.
    at_once = {"epochs": 5, "global_batch_size": 4096, "learning_rate": 0.01}
    in_steps = {"epochs": 5, "global_batch_size": 64, "learning_rate": 0.01}
    outcomes = {
        "at_once_in_memory": _train(whole, None, **at_once),
        "in_steps_in_memory": _train(whole, None, **in_steps),
    }
    from ray.cluster_utils import Cluster

    node = {"num_cpus": CPUS, "object_store_memory": STORE_BYTES}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    try:
        for _ in range(NODES - 1):
            cluster.add_node(**node)
        address, workers = cluster.address, {"workers": 2}
        outcomes["at_once"] = _train(files, address, **at_once, **workers)
        outcomes["in_steps"] = _train(files, address, **in_steps, **workers)
        outcomes["again"] = _train(files, address, **in_steps, **workers)
        more = {"epochs": 1, "global_batch_size": 4096}
        outcomes["large"] = _train(large, address, **more, **workers)
    finally:
        cluster.shutdown()
    return {name: asdict(outcome) for name, outcome in outcomes.items()}


if __name__ == "__main__":
    sys.stdout.write("\n" + json.dumps(main(Path(sys.argv[1]))) + "\n")
