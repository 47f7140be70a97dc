"""Every variant on real data, through the product's own path, beside PCA at the same code size.

Prints a JSON line for each, and at the end a table. `value` is the mean squared error of the
reconstruction of held-out rows in scaled units, `target` PCA's on the same rows with as many
components as the code has numbers (for top-k codes, as many as are not zero). A variant that does
not reach it says why in `why`. ADBench's npz files are used besides, where ISTHMUS_DATA names a
folder that holds them, or `shared/data/adbench` beside the repository does.

    python tests/benchmarks/variants.py [VARIANT ...]
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from isthmus import variants
from isthmus.jobs.specs import check_job
from isthmus.jobs.train import TrainResult, train
from isthmus.launch.session import ray_session
from isthmus.spec import Settings

ADBENCH = ("24_mnist.npz", "6_cardio.npz")

_PRIOR = "the objective pays for a latent that follows a prior, in nats, and loses detail for it"
_CODES = "a row becomes a few codes, {bits} bits in all, where PCA keeps 32-bit numbers"
WHY = {
    "vae": _PRIOR,
    "beta_vae": _PRIOR,
    "beta_tcvae": _PRIOR,
    "info_vae": _PRIOR,
    "iwae": _PRIOR,
    "vamp": _PRIOR,
    "hierarchical": _PRIOR,
    "vqvae": _CODES,
    "fsq": _CODES,
    "residual_vq": _CODES,
    "hyperprior": "rounded to integers, and the rate in bits is part of the loss",
    "sparse": "some {active:.0f} numbers of the latent are active for a row; PCA uses them all",
    "noise2void": "never shown a place's own value, and digits of 8 x 8 have few alike neighbours",
    "masked": "trained to fill in what is hidden, and never sees a whole row",
    "deep_svdd": "trained to gather the rows around a centre; reconstruction is second to it",
    "dagmm": "trained for the density of its latent; reconstruction is second to it",
    "contractive": "what does not vary between rows is flattened on purpose",
}


@dataclass(frozen=True)
class DataSet:
    """What to train on.

    Attributes:
        name: For the report.
        data: The job file's `data`.
        latent_dim: Numbers in a latent, unless the variant has its own.
        epochs: The most; early stopping ends sooner.
        batch: Rows of a step.
    """

    name: str
    data: dict[str, Any]
    latent_dim: int
    epochs: int
    batch: int


def data_sets() -> Iterator[DataSet]:
    yield DataSet("digits", {"path": "sklearn:digits"}, 16, 100, 64)
    beside = Path(__file__).parents[3] / "shared" / "data" / "adbench"
    for file in ADBENCH:
        path = Path(os.environ.get("ISTHMUS_DATA", beside)) / file
        if path.exists():
            data = {"path": str(path), "key": "X", "labels": "y", "keep_labels": [0]}
            yield DataSet(path.stem, data, 8, 40, 128)


def main() -> None:
    wanted = sys.argv[1:] or [name for name in variants.names() if variants.get(name).VIEWS == 1]
    table = Table(box=None, header_style="bold")
    for column in ("data", "variant", "error", "PCA", "own figures", "rows/s", "why"):
        table.add_column(column)
    with tempfile.TemporaryDirectory() as name, ray_session(None, 1):
        settings = Settings.from_environment({}, Path(name))
        for data_set in data_sets():
            for variant in wanted:
                line = benchmark(data_set, variant, settings)
                print(json.dumps(line), flush=True)
                own = ", ".join(f"{key} {value:.4g}" for key, value in line["own"].items())
                errors = (f"{line['value']:.5f}", f"{line['target']:.5f}")
                rate = f"{line['rows_per_s']:,.0f}"
                table.add_row(data_set.name, variant, *errors, own, rate, line.get("why", ""))
    Console(stderr=True, width=200).print(table)


def benchmark(data_set: DataSet, variant: str, settings: Settings) -> dict[str, Any]:
    has_its_own = variants.get(variant).auto_latent_dim((64,)) != 16
    spec = check_job(
        {
            "name": f"{data_set.name}-{variant}",
            "data": data_set.data,
            "variant": variant,
            "latent_dim": "auto" if has_its_own else data_set.latent_dim,
            "training": {
                "epochs": data_set.epochs,
                "global_batch_size": data_set.batch,
                "threads_per_worker": 1,
            },
        }
    )
    return report(data_set, variant, train(spec, settings))


def report(data_set: DataSet, variant: str, result: TrainResult) -> dict[str, Any]:
    metrics = result.metrics
    own = {
        name.removeprefix("test/"): value
        for name, value in metrics.items()
        if name.startswith("test/") and name not in ("test/reconstruction_mse", "test/pca_mse")
    }
    value, target = metrics["test/reconstruction_mse"], metrics["test/pca_mse"]
    line = {
        "name": f"variants-{data_set.name}-{variant}",
        "value": round(value, 6),
        "target": round(target, 6),
        "met": value < target,
        "own": {name: round(number, 4) for name, number in own.items()},
        "rows_per_s": round(metrics["rows_per_s"]),
        "epochs": int(metrics["epochs"]),
    }
    if not line["met"]:
        line["why"] = WHY.get(variant, "").format(
            bits=f"{own.get('bits_per_row', 0):.0f}", active=own.get("active_numbers", 0)
        )
    return line


if __name__ == "__main__":
    main()
