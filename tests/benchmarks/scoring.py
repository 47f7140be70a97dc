"""Measures how fast a pair scores and denoises files, beside PyOD and beside the bare net.

Both sides use one thread. The nets have random weights, because speed does not depend on them; the
pairs are registered and loaded as users' pairs are. Each benchmark prints a JSON line:

- detect-rate compares `isthmus.uses.detect` from parquet to parquet, including the loading of the
  pair, with PyOD's AutoEncoder in memory: its `decision_function`, with layers of the same sizes,
  which are PyOD's default. Ours scores by `reconstruction`. detect-rate-csv does the same
  from csv, and detect-rate-auto with the score that `scoring: auto` chooses for tables.
- detect-limit compares `Pair.detect` in memory with the forward pass of its net,
  `decoder(encoder(x))`, in batches of the size that suits the net best, without keeping its output.
  The net is the one that `net: dense` gives for the columns. detect-limit-small does the same for
  the net of detect-rate.
- denoise-rate compares `isthmus.uses.denoise` from npy to npy with the forward pass of its net.
- denoise-whole compares `Pair.denoise` of whole photos, which are larger than the patches that the
  pair was trained on, with the forward pass of the same net for that size. denoise-tiles does the
  same with so little memory that each photo is cut into tiles: what overlaps is computed twice.
- memory-scoring is the peak memory of the detect job on ten times the rows, over that on one time
  the rows, each in its own process.
- growth-scoring is the time that the detect job takes for a row once the pair is loaded, from the
  opening of the parquet to the finished output. The ratio is of the slowest to the fastest size
  from 1,000,000 rows. Smaller files are printed without a target: opening and closing the two files
  takes a few milliseconds, which few rows share.

    python tests/benchmarks/scoring.py [NAME ...]
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import torch
from measuring import compare, tell, wanted
from numpy.typing import NDArray

import isthmus
from isthmus import registry, scores, variants
from isthmus.allocation import raise_malloc_thresholds
from isthmus.core import Autoencoder
from isthmus.data import fit_scaling, moments_of, remembered
from isthmus.jobs.specs import check_job, plan_for
from isthmus.registry import Pair, TrainedPair, any_size, register_pair
from isthmus.scores import Detector, Views
from isthmus.spec import PluginSpec, RowSchema, Settings
from isthmus.tracking import RunLog
from isthmus.types import DataKind, ScalingMode, Shape

COLUMNS = 32
ROWS = 1_000_000
# PyOD's own default is 32-64-32-64-32 with ReLU between the layers.
HIDDEN, LATENT_DIM = (64,), 32
SMALL_NET = {"name": "dense", "hidden": list(HIDDEN), "activation": "relu"}
IMAGES, SIDE = 2048, 64
PHOTO, LARGE_PHOTO = 512, 1024
# Half of it holds the maps of a tile of 632 x 632 pixels: four a photo, and 1.4 times the work.
BYTES_OF_TILES = 200_000_000
BATCHES = (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
ROWS_OF_MEMORY = (500_000, 5_000_000)
ROWS_OF_GROWTH = (10_000, 100_000, 1_000_000, 10_000_000)
LEAST_ROWS_OF_GROWTH_TARGET = 1_000_000
ROW_GROUP = 100_000

Floats = NDArray[np.float32]


# -- what is measured ---------------------------------------------------------------------------


def detect_rate(work: Work) -> bool:
    if importlib.util.find_spec("pyod") is None:
        return tell(
            "detect-rate", met=None, why="PyOD is not installed: pip install 'isthmus[bench]'"
        )
    rows = random_rows(ROWS)
    theirs = fitted_pyod(rows[:2000])
    met = True
    for name, ending, scoring, target in (
        ("detect-rate", ".parquet", "reconstruction", 10.0),
        ("detect-rate-csv", ".csv", "reconstruction", 10.0),
        ("detect-rate-auto", ".parquet", "consensus", 3.0),
    ):
        source = work.table(ROWS, ending)
        model, _ = work.pair(scoring, SMALL_NET, LATENT_DIM, scoring=scoring)

        def ours(source: Path = source, model: str = model) -> float:
            output = work.folder / f"scores{source.suffix}"
            return ROWS / timed(lambda: detect(model, source, output, work.settings))

        met &= compare(
            name,
            ours,
            lambda: ROWS / timed(lambda: theirs.decision_function(rows)),
            target=target,
            files=ending,
            net="32-64-32-64-32",
            scoring=scoring,
        )
    return met


def detect_limit(work: Work) -> bool:
    rows = random_rows(ROWS // 4)
    met = True
    for name, layers, latent_dim in (
        ("detect-limit", {"name": "dense"}, "auto"),
        ("detect-limit-small", SMALL_NET, LATENT_DIM),
    ):
        _, pair = work.pair(name, layers, latent_dim)
        net = bare_net(pair.module)
        batch = best_batch(net, rows)
        met &= compare(
            name,
            lambda pair=pair: len(rows) / timed(lambda: pair.detect(rows)),
            lambda net=net, batch=batch: len(rows) / timed(lambda: forward(net, rows, batch)),
            target=0.9,
            pairs=15,  # a turn takes a third of a second, in which a machine's speed may change
            batch_of_reference=batch,
            net=widths(pair),
        )
    return met


def denoise_rate(work: Work) -> bool:
    model, pair = work.pair("pictures", {"name": "conv"}, "auto", (1, SIDE, SIDE))
    images = np.random.default_rng(0).random((IMAGES, 1, SIDE, SIDE), dtype=np.float32)
    source, output = work.folder / "noisy.npy", work.folder / "clean.npy"
    np.save(source, images[:, 0])
    net = bare_net(pair.module)
    batch = best_batch(net, images[:512])
    pixels = images.size / 1e6
    return compare(
        "denoise-rate",
        lambda: pixels / timed(lambda: denoise(model, source, output, work.settings)),
        lambda: pixels / timed(lambda: forward(net, images, batch)),
        target=0.9,
        unit="megapixels/s",
        batch_of_reference=batch,
        net=f"conv, {SIDE}x{SIDE}x1",
    )


def denoise_photos(work: Work) -> bool:
    _, pair = work.pair("photos", "drunet", "auto", (1, SIDE, SIDE), data={"patch": SIDE})
    met = True
    for name, side, most, target in (
        ("denoise-whole", PHOTO, None, 0.8),
        ("denoise-tiles", LARGE_PHOTO, BYTES_OF_TILES, None),
    ):
        count = 2 if side == PHOTO else 1
        photos = np.random.default_rng(0).random((count, 1, side, side), dtype=np.float32)
        net = bare_net(pair.module.at((1, side, side)))
        with limited_memory(most):
            met &= compare(
                name,
                lambda photos=photos: photos.size / 1e6 / timed(lambda: pair.denoise(photos)),
                lambda photos=photos, net=net: (
                    photos.size / 1e6 / timed(lambda: forward(net, photos, 1))
                ),
                target=target,
                unit="megapixels/s",
                net=f"drunet, {side}x{side}x1",
                bytes_free=most,
            )
    return met


@contextmanager
def limited_memory(most_bytes: int | None) -> Iterator[None]:
    """Lets the registry believe that no more memory is free."""
    before = any_size.free_memory_bytes
    if most_bytes is not None:
        any_size.free_memory_bytes = lambda: most_bytes
    try:
        yield
    finally:
        any_size.free_memory_bytes = before


def memory(work: Work) -> bool:
    model, _ = work.pair("small", SMALL_NET, LATENT_DIM)
    peaks = [peak_of_detect(work, model, rows) for rows in ROWS_OF_MEMORY]
    ratio = peaks[1] / peaks[0]
    return tell(
        "memory-scoring",
        ratio=ratio,
        target=1.1,
        met=ratio <= 1.1,
        better="lower",
        unit="MiB at the peak",
        ours=[peaks[1]],
        reference=[peaks[0]],
        rows=list(ROWS_OF_MEMORY),
    )


def growth(work: Work) -> bool:
    model, _ = work.pair("small", SMALL_NET, LATENT_DIM)
    pair = isthmus.load(model, settings=work.settings)
    output = work.folder / "scores.parquet"
    per_row: dict[int, float] = {}
    for rows in ROWS_OF_GROWTH:
        source = str(work.table(rows, ".parquet"))
        turns = 3 if rows > ROWS else 9
        pair.detect(source, output, force=True)
        spent = []
        for _ in range(turns):
            output.unlink()
            spent.append(timed(lambda path=source: pair.detect(path, output)))
        per_row[rows] = median(spent) / rows * 1e9
    held = [spent for rows, spent in per_row.items() if rows >= LEAST_ROWS_OF_GROWTH_TARGET]
    ratio = max(held) / min(held)
    return tell(
        "growth-scoring",
        ratio=ratio,
        target=1.1,
        met=ratio <= 1.1,
        better="lower",
        unit="ns a row",
        ours=list(per_row.values()),
        rows=list(ROWS_OF_GROWTH),
        least_rows_of_target=LEAST_ROWS_OF_GROWTH_TARGET,
        ratio_of_all_sizes=max(per_row.values()) / min(per_row.values()),
    )


BENCHMARKS: dict[str, Callable[[Work], bool]] = {
    "detect-rate": detect_rate,
    "detect-limit": detect_limit,
    "denoise-rate": denoise_rate,
    "denoise-photos": denoise_photos,
    "memory": memory,
    "growth": growth,
}


# -- what it is measured with -------------------------------------------------------------------


@dataclass(frozen=True)
class Work:
    """A temporary folder with a registry.

    Attributes:
        folder: The folder of all files that the benchmarks write.
        settings: The settings of the registry in the folder.
    """

    folder: Path
    settings: Settings

    def pair(
        self,
        name: str,
        net: dict[str, Any] | str,
        latent_dim: int | str,
        shape: Shape = (COLUMNS,),
        scoring: str = "own",
        data: dict[str, Any] | None = None,
    ) -> tuple[str, Pair]:
        """Registers and loads a scaled and calibrated pair of a net with random weights."""
        kind = DataKind.TABULAR if len(shape) == 1 else DataKind.IMAGES
        spec = check_job(
            {
                "name": name,
                "data": {"path": "rows.npy", "kind": kind, **(data or {})},
                "variant": "denoising" if data else "plain",
                "net": net,
                "latent_dim": latent_dim,
            }
        )
        columns = column_names() if kind is DataKind.TABULAR else None
        settled = spec.data.model_copy(update={"scaling": ScalingMode.STANDARD, "columns": columns})
        torch.manual_seed(0)
        module = variants.build(plan_for(spec, settled, shape)).eval()
        # A memory is as large as for a large table.
        count = 2000 if scoring == "own" else 20_000
        rows = np.random.default_rng(1).random((count, *shape), dtype=np.float32)
        statistics = fit_scaling(rows, ScalingMode.STANDARD, kind)
        module.scaling.fit(torch.from_numpy(statistics.offset), torch.from_numpy(statistics.scale))
        chosen = PluginSpec(name=scoring)
        score, known = scores.build(chosen), torch.from_numpy(rows)
        with torch.no_grad():
            score.fit(Views(module, known), Views(module, known[:2000]), 0)
            detector = Detector(module, [score]).eval()
            detector.calibration.fit(detector.score(known[:2000]))
        log = RunLog.start(spec, self.settings)
        log.finish()
        schema = remembered(RowSchema(kind=kind, shape=shape, features=columns), moments_of(rows))
        trained = TrainedPair(
            *(detector, spec, settled, "0" * 64, {}, log.run_id, rows[:2]),
            row_schema=schema,
            scoring=chosen,
        )
        reference = str(register_pair(trained, self.settings))
        return reference, registry.load(reference, self.settings)

    def table(self, rows: int, ending: str) -> Path:
        """Returns a file of that many rows in row groups; it is written at the first call."""
        path = self.folder / f"rows-{rows}{ending}"
        if path.exists():
            return path
        if ending == ".csv":
            pa_csv.write_csv(as_table(random_rows(rows)), path)
            return path
        schema = pa.schema([(name, pa.float32()) for name in column_names()])
        with pq.ParquetWriter(path, schema, use_dictionary=False) as writer:
            for first in range(0, rows, ROW_GROUP):
                part = random_rows(min(ROW_GROUP, rows - first), seed=first)
                writer.write_table(as_table(part))
        return path


def fitted_pyod(rows: Floats) -> Any:
    """Returns PyOD's detector with layers of the same sizes, trained on few rows."""
    from pyod.models.auto_encoder import AutoEncoder

    detector = AutoEncoder(
        hidden_neuron_list=[*HIDDEN, LATENT_DIM],
        batch_norm=False,
        dropout_rate=0.0,
        epoch_num=1,
        verbose=0,
    )
    return detector.fit(rows)


def bare_net(module: Autoencoder) -> torch.nn.Module:
    """Returns the encoder and the decoder without scaling and scores."""
    return torch.nn.Sequential(module.encoder, module.decoder).eval()


def forward(net: torch.nn.Module, rows: Floats, batch: int) -> None:
    """Applies the net in batches, which is the least that any scoring has to do."""
    with torch.inference_mode():
        for part in torch.from_numpy(rows).split(batch):
            net(part)


def best_batch(net: torch.nn.Module, rows: Floats) -> int:
    """Returns the batch size with which the net is fastest."""
    sizes = [size for size in BATCHES if size <= len(rows)]
    forward(net, rows, sizes[0])
    spent = {
        size: min(timed(lambda s=size: forward(net, rows, s)) for _ in range(3)) for size in sizes
    }
    return min(spent, key=lambda size: spent[size])


def peak_of_detect(work: Work, model: str, rows: int) -> float:
    """Returns the peak memory of the job in a process of its own, in MiB."""
    source = work.table(rows, ".parquet")
    output = work.folder / "scores.parquet"
    arguments = ["--peak", model, str(source), str(output), str(work.folder)]
    done = subprocess.run(
        [sys.executable, __file__, *arguments], check=True, capture_output=True, text=True
    )
    return float(json.loads(done.stdout)["peak_mib"])


def detect(model: str, source: Path, output: Path, settings: Settings) -> None:
    isthmus.load(model, settings=settings).detect(source, output, force=True)


def denoise(model: str, source: Path, output: Path, settings: Settings) -> None:
    isthmus.load(model, settings=settings).denoise(source, output, force=True)


def print_peak(model: str, source: str, output: str, folder: str) -> None:
    detect(model, Path(source), Path(output), Settings.from_environment({}, Path(folder)))
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    (peak,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    print(json.dumps({"peak_mib": int(peak.split()[1]) / 1024}))


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def random_rows(rows: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).random((rows, COLUMNS), dtype=np.float32)


def column_names() -> tuple[str, ...]:
    return tuple(f"sensor_{number}" for number in range(COLUMNS))


def as_table(rows: Floats) -> pa.Table:
    columns = np.ascontiguousarray(rows.T)
    return pa.table(dict(zip(column_names(), columns, strict=True)))


def widths(pair: Pair) -> str:
    """Returns the sizes of the layers, such as `32-64-32-64-32`."""
    linear = [module for module in pair.module.modules() if isinstance(module, torch.nn.Linear)]
    return "-".join(str(size) for size in [COLUMNS, *(layer.out_features for layer in linear)])


def main() -> None:
    # torch follows OMP_NUM_THREADS, but pyarrow has a setting of its own.
    pa.set_cpu_count(1)
    torch.set_num_threads(1)
    # A loaded pair does this at its first batch. The references must not be measured without it.
    raise_malloc_thresholds()
    if sys.argv[1:2] == ["--peak"]:
        print_peak(*sys.argv[2:])
        return
    names = wanted(tuple(BENCHMARKS))
    with tempfile.TemporaryDirectory() as folder:
        work = Work(Path(folder), Settings.from_environment({}, Path(folder)))
        for name in names:
            BENCHMARKS[name](work)


if __name__ == "__main__":
    main()
