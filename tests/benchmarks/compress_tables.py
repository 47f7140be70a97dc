"""Bytes of tables, series and sounds at a guaranteed error, beside general tools at the same error.

Real data: the tables of adbench, the metric series of NAB with their times, the spoken digits of
fsdd. Each is compressed without loss, and within 0.1 % and 1 % of the range of each column. The
others get the very same error:

- parquet with zstd, at its default level and at 19, and zstd 19 of the raw floats or whole numbers:
  of values that are rounded to multiples of twice the error.
- zfp (`zfpy`), in its mode of a fixed accuracy, and its lossless one, of each column.
- FLAC, for sounds without loss.

Ours is the size of the chunks that `isthmus compress --max-error` writes, with all checksums of the
file, without any pair. `pair` measures what a pair adds or takes off: half of the rows, of the
steps or of the sounds trains a `hyperprior` of three rates for some seconds, and the other half is
compressed with it and without. `curved` is made here: 32 columns that follow from two numbers by
curves, with noise.

    python tests/benchmarks/compress_tables.py [adbench | nab | fsdd | pair] ... [--data FOLDER]
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import time

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import soundfile
from measuring import machine, tell
from numpy.typing import NDArray

import isthmus
from isthmus.compression.within_error.coding import coders, exact_files
from isthmus.compression.within_error.columns import TableCoder, part_errors
from isthmus.compression.within_error.rate_choice import best_quality
from isthmus.execution.inputs import files_of
from isthmus.quiet import quieten
from isthmus.registry import Pair
from isthmus.spec import Settings

FOLDER = Path(__file__).parents[3] / "shared" / "data"
SHARES = (0.0, 0.001, 0.01)
# The frame and the checksum of a chunk, and where its rows belong.
OF_CHUNK = 21 + 4 + 16
Sizes = dict[str, int]


def tables_of(kind: str, data: Path) -> Iterator[tuple[str, pa.Table]]:
    """Yields each data set of a kind with its name, as a table."""
    match kind:
        case "adbench":
            for path in sorted((data / "adbench").glob("*.npz")):
                x = np.load(path)["X"]
                columns = [np.ascontiguousarray(each) for each in x.T]
                yield path.stem, pa.table(columns, names=[str(n) for n in range(len(columns))])
        case "nab":
            for path in sorted((data / "nab").rglob("*.csv")):
                yield path.stem, pa_csv.read_csv(path)
        case "fsdd":
            for path in sorted((data / "fsdd").glob("*.wav")):
                yield path.stem, pa.table({"0": soundfile.read(path, dtype="int16")[0]})


def numbers_in(table: pa.Table) -> dict[str, NDArray]:
    """Returns the columns that may have an error."""
    return {
        name: table.column(name).to_numpy()
        for name in table.column_names
        if pa.types.is_integer(table.schema.field(name).type)
        or pa.types.is_floating(table.schema.field(name).type)
    }


def rounded(values: NDArray, error: float) -> NDArray:
    """Returns values rounded to multiples of twice an error, in their own type."""
    if error == 0 or (values.dtype.kind in "iu" and error < 0.5):
        return values
    step = 2 * int(error) + 1 if values.dtype.kind in "iu" else 2 * error
    return (np.rint(values / step) * step).astype(values.dtype)


def general(table: pa.Table, errors: dict[str, float]) -> Sizes:
    """Returns the bytes of the general tools."""
    coarse = table
    for name, values in numbers_in(table).items():
        place = table.column_names.index(name)
        coarse = coarse.set_column(place, name, [rounded(values, errors[name])])
    plain = [np.asarray(each.cast(pa.int64()) if pa.types.is_temporal(each.type) else each)
             for each in coarse.columns]  # fmt: skip
    raw = np.rec.fromarrays(plain).tobytes()
    return {
        "parquet_zstd": parquet_bytes(coarse, None),
        "parquet_zstd_19": parquet_bytes(coarse, 19),
        "zstd_19": len(pa.Codec("zstd", 19).compress(raw, asbytes=True)),
    }


def parquet_bytes(table: pa.Table, level: int | None) -> int:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", compression_level=level)
    return sink.tell()


def zfp_bytes(table: pa.Table, errors: dict[str, float]) -> int:
    """Returns the bytes of zfp, with other columns as zstd packs them."""
    import zfpy

    total = 0
    for name, values in numbers_in(table).items():
        if values.dtype.kind not in "f":
            values = values.astype(np.int32 if values.dtype.itemsize < 4 else values.dtype)
        told = {"tolerance": errors[name]} if errors[name] and values.dtype.kind == "f" else {}
        if errors[name] and not told:
            told, values = {"tolerance": errors[name]}, values.astype(np.float64)
        total += len(zfpy.compress_numpy(np.ascontiguousarray(values), write_header=True, **told))
    others = [name for name in table.column_names if name not in numbers_in(table)]
    return total + (parquet_bytes(table.select(others), 19) if others else 0)


def flac_bytes(table: pa.Table) -> int:
    sink = io.BytesIO()
    samples = table.column(0).to_numpy()
    soundfile.write(sink, samples, 8000, "PCM_16", format="FLAC", compression_level=1.0)
    return len(sink.getvalue())


def ours(table: pa.Table, errors: dict[str, float]) -> tuple[int, float, float]:
    """Returns our bytes, and the seconds of compression and of decompression."""
    coder = TableCoder(table.schema, errors)
    size, coding_s, decoding_s = 0, 0.0, 0.0
    for first in range(0, table.num_rows, coder.rows_at_once):
        part = table.slice(first, coder.rows_at_once)
        began = time.perf_counter()
        coded = coder.encode(part)
        coded_at = time.perf_counter()
        found = part_errors(part, coder.decode(coded.data))
        coding_s += coded_at - began
        decoding_s += time.perf_counter() - coded_at
        beyond = {name for name, error in found.items() if error > errors.get(name, 0.0)}
        if beyond:
            raise SystemExit(f"beyond the error: {beyond}")
        size += len(coded.data) + OF_CHUNK
    return size, coding_s, decoding_s


def measure(kind: str, share: float, data: Path) -> bool:
    """Prints the line of a kind of data and an error."""
    totals: Sizes = {}
    ratios, worst = [], ("", 0.0)
    raw, coding_s, decoding_s = 0, 0.0, 0.0
    for name, table in tables_of(kind, data):
        numbers = numbers_in(table)
        errors = {key: share * (float(each.max()) - float(each.min()))
                  for key, each in numbers.items()}  # fmt: skip
        sizes = {**general(table, errors), "zfp": zfp_bytes(table, errors)}
        if kind == "fsdd" and share == 0:
            sizes["flac"] = flac_bytes(table)
        size, one, other = ours(table, errors)
        ratios.append(size / min(sizes.values()))
        worst = max(worst, (name, ratios[-1]), key=lambda each: each[1])
        raw += table.nbytes
        coding_s, decoding_s = coding_s + one, decoding_s + other
        for key, value in {**sizes, "ours": size}.items():
            totals[key] = totals.get(key, 0) + value
    beside = {key: value for key, value in totals.items() if key != "ours"}
    best = min(beside, key=lambda key: beside[key])
    return tell(
        f"compress-{kind}-{share:g}",
        unit="bytes",
        ours=totals["ours"],
        target=beside[best],
        target_of=best,
        met=totals["ours"] <= beside[best] if share == 0 else totals["ours"] < beside[best],
        better="lower",
        ratio=totals["ours"] / beside[best],
        ratio_of_files=float(np.exp(np.mean(np.log(ratios)))),
        worst_file=worst[0],
        worst_ratio=worst[1],
        files=len(ratios),
        raw=raw,
        coding_mb_s=raw / 1e6 / coding_s,
        decoding_mb_s=raw / 1e6 / decoding_s,
        **beside,
        **machine(),
    )


def halves(data: Path, folder: Path) -> Iterator[tuple[str, dict[str, object], int]]:
    """Writes `half` and `other` of each data set into a folder of its own in turn.

    Yields:
        The name of the folder, the data section of the job but for its path, and the epochs.
    """
    for name in ("curved", "6_cardio", "28_pendigits", "30_satellite", "24_mnist"):
        rows = curved() if name == "curved" else np.load(data / "adbench" / f"{name}.npz")["X"]
        (folder / name).mkdir()
        for half, first in (("half", 0), ("other", 1)):
            np.save(folder / name / f"{half}.npy", rows[first::2].astype(np.float32))
        yield name, {"path": "half.npy"}, 200_000 // len(rows)
    for name in ("realKnownCause/nyc_taxi", "realAWSCloudwatch/ec2_cpu_utilization_5f5533"):
        steps = pa_csv.read_csv(next((data / "nab").rglob(f"{name.split('/')[1]}.csv")))
        short = name.split("/")[1]
        (folder / short).mkdir()
        middle = steps.num_rows // 2
        for half, part in (("half", steps.slice(0, middle)), ("other", steps.slice(middle))):
            pq.write_table(part.select(["value"]), folder / short / f"{half}.parquet")
        yield short, {"path": "half.parquet", "window": 64, "kind": "series"}, 100
    (folder / "fsdd").mkdir()
    for number, path in enumerate(sorted((data / "fsdd").glob("*.wav"))[:120]):
        half = folder / "fsdd" / ("other" if number % 2 else "half")
        half.mkdir(exist_ok=True)
        shutil.copy(path, half)
    yield "fsdd", {"path": "half", "window": 256}, 30


def curved() -> NDArray:
    """Returns rows on a curved surface of two dimensions, with noise of a thousandth of a range."""
    rng = np.random.default_rng(0)
    hidden = rng.uniform(-1, 1, size=(8000, 2))
    bent = np.sin(hidden @ rng.normal(size=(2, 32)) * 2)
    return bent + rng.normal(scale=0.002, size=bent.shape)


def bytes_beside(source: Path, pair: Pair, max_error: str) -> tuple[int, int, float | None, int]:
    """Returns the bytes of the chunks with a pair and without, its quality, and its columns."""
    files = files_of(str(source), None)
    form = exact_files(files, pair, max_error)
    quality = best_quality(files, form, pair)
    sizes, used = [0, 0], 0
    for number, coder in enumerate(coders(form, pair, quality)):
        path, called = files.path(number), files.called(number)
        parts = form.files[number].parts(path, called, pair.manifest.data, coder.rows_at_once)
        for part in parts:
            coded = coder.encode(part)
            sizes[0] += len(coded.data) + OF_CHUNK
            sizes[1] += len(replace(coder, predictor=None).encode(part).data) + OF_CHUNK
            used += sum(each.startswith("the pair") for each in coded.predictors.values())
    return sizes[0], sizes[1], quality, used


def measure_pair(data: Path) -> bool:
    """Prints what trained pairs add: the other half of data, with a pair and without it."""
    quieten()
    met = True
    with tempfile.TemporaryDirectory() as temporary:
        settings = Settings.from_environment({}, Path(temporary))
        for name, section, epochs in halves(data, Path(temporary)):
            folder = Path(temporary) / name
            path = folder / str(section["path"])
            job = {
                "name": "half",
                "data": {**section, "path": str(path)},
                "variant": {"name": "hyperprior", "rate": [0.001, 0.02, 0.5]},
                "latent_dim": 2 if name == "curved" else 8,
                "training": {"epochs": epochs},
            }
            began = time.process_time()
            pair = isthmus.load(str(isthmus.train(job, settings=settings).pair), settings=settings)
            spent = time.process_time() - began
            for share in SHARES[1:]:
                other = path.with_name(path.name.replace("half", "other"))
                beside, alone, quality, used = bytes_beside(other, pair, f"{100 * share:g}%")
                met &= tell(
                    f"compress-pair-{name}-{share:g}",
                    unit="bytes",
                    ours=beside,
                    target=alone,
                    met=beside <= 1.01 * alone,
                    better="lower",
                    ratio=beside / alone,
                    quality=quality,
                    columns_of_pair=used,
                    training_s=spent,
                    **machine(),
                )
    return met


KINDS = ("nab", "adbench", "fsdd")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kinds", nargs="*", default=[], metavar="KIND")
    parser.add_argument("--data", type=Path, default=FOLDER)
    asked = parser.parse_args()
    for kind in asked.kinds or [*KINDS, "pair"]:
        if kind == "pair":
            measure_pair(asked.data)
            continue
        for share in SHARES:
            measure(kind, share, asked.data)


if __name__ == "__main__":
    main()
