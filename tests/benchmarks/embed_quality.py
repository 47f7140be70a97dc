"""Measures how good latents are as features, and how fast `isthmus embed` writes them.

embed-probe-SET-VARIANT is the accuracy of a linear probe, the standard protocol: the autoencoder is
trained without labels on two thirds of the rows, its encoder is frozen, and a logistic regression
on standardised latents is trained on the same two thirds and tested on the last third. The strength
of its penalty is chosen by five-fold cross-validation within its training rows. The accuracy is
averaged over three stratified folds, each of which is the last third once. The default job is
trained: only the variant and the seed are chosen, and the accuracy is averaged over three seeds
too. `target` is the same probe on PCA with as many components as the code has numbers (for top-k
codes, as many as are not zero): the better one of PCA on the rows as they are and on standardised
rows. `rows` is the same probe on the rows themselves.

The sets are scikit-learn's digits (10 classes) and ADBench's mnist (2 classes, of which 9 % of the
rows are the rare one), where ISTHMUS_DATA names a folder that holds it, or `shared/data/adbench`
beside the repository does.

embed-rate compares `isthmus embed` from npy to parquet, including the loading of the pair, with the
forward pass of the bare encoder on the same rows in memory, in the batches that suit it best. The
figures are rows per second by the clock, as a user waits for them: measure on cores that do nothing
else. The line that ends in -by-cpu has their ratio by the CPU time of all threads together, and no
target.
embed-rate-table does the same for a table of 32 columns and a small dense net; it has no target,
because such a net takes less time than reading and writing its rows.

    python tests/benchmarks/embed_quality.py [probe] [rate]
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from measuring import compare, tell, wanted
from numpy.typing import NDArray
from scoring import IMAGES, ROWS, SIDE, SMALL_NET, Work, best_batch, forward, random_rows, timed
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from isthmus import registry
from isthmus.allocation import raise_malloc_thresholds
from isthmus.execution.request import Request
from isthmus.execution.running import run
from isthmus.jobs.specs import check_job
from isthmus.jobs.train import train
from isthmus.registry import Pair
from isthmus.spec import Settings
from isthmus.uses.embed import Embed

VARIANTS = ("plain", "masked", "topk", "denoising")
FOLDS = 3
SEEDS = (0, 1, 2)
PENALTIES = np.logspace(-3, 3, 7)

Floats = NDArray[np.float32]
Classes = NDArray[np.int64]


# -- the quality of latents ---------------------------------------------------------------------


def probe(_: Work) -> None:
    for name, rows, classes in data_sets():
        folds = list(
            StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(np.empty(len(rows)), classes)
        )
        of_rows = [accuracy(flat(rows), classes, *fold) for fold in folds]
        for variant in VARIANTS:
            tell_variant(name, variant, rows, classes, folds, fmean(of_rows))


def data_sets() -> Iterator[tuple[str, Floats, Classes]]:
    """Yields a name, rows and their classes."""
    digits = load_digits()
    yield "digits", digits.images.astype(np.float32), digits.target.astype(np.int64)
    beside = Path(__file__).parents[3] / "shared" / "data" / "adbench"
    path = Path(os.environ.get("ISTHMUS_DATA", beside)) / "24_mnist.npz"
    if not path.exists():
        print(f"{path} is not there: no figures of mnist", file=sys.stderr)
        return
    with np.load(path) as found:
        yield "mnist", found["X"].astype(np.float32), found["y"].astype(np.int64).ravel()


def tell_variant(
    name: str,
    variant: str,
    rows: Floats,
    classes: Classes,
    folds: list[tuple[Classes, Classes]],
    of_rows: float,
) -> None:
    """Prints the line of one variant on one set."""
    ours: list[list[float]] = []
    theirs: dict[str, list[float]] = {"as they are": [], "standardised": []}
    sizes = set()
    for fold in folds:
        by_seed = []
        for seed in SEEDS:
            pair = trained(variant, rows[fold[0]], seed)
            by_seed.append(accuracy(pair.encode(rows).values, classes, *fold))
        ours.append(by_seed)
        size = pair.module.code_size
        sizes.add((pair.latent_dim, size))
        for how, found in theirs.items():
            found.append(accuracy(components(flat(rows), fold[0], size, how), classes, *fold))
    pca = max(fmean(found) for found in theirs.values())
    value = fmean(fmean(by_seed) for by_seed in ours)
    ((latent_dim, code_size),) = sizes
    tell(
        f"embed-probe-{name}-{variant}",
        met=value >= pca,
        value=value,
        target=pca,
        rows=of_rows,
        latent_dim=latent_dim,
        code_size=code_size,
        by_fold_and_seed=ours,
        pca_by_fold=theirs,
    )


def trained(variant: str, rows: Floats, seed: int) -> Pair:
    """Returns the pair of the default job on rows without labels."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npy"
        np.save(path, rows)
        settings = Settings.from_environment({}, Path(folder))
        job = {"name": "probed", "data": {"path": str(path)}, "variant": variant}
        training = {"threads_per_worker": 1, "seed": seed}
        spec = check_job({**job, "scoring": "own", "training": training})
        result = train(spec, settings)
        assert result.pair is not None
        return registry.load(str(result.pair), settings)


def components(rows: Floats, train_on: Classes, size: int, how: str) -> Floats:
    """Returns the first principal components, fitted to the training rows."""
    steps = [StandardScaler()] if how == "standardised" else []
    found: Any = make_pipeline(*steps, PCA(size, random_state=0)).fit(rows[train_on])
    return found.transform(rows)


def accuracy(features: Floats, classes: Classes, train_on: Classes, test_on: Classes) -> float:
    """Returns the share of the test rows whose class a linear probe tells."""
    probed = make_pipeline(StandardScaler(), LogisticRegression(max_iter=3000))
    search = GridSearchCV(probed, {"logisticregression__C": PENALTIES}, cv=5)
    return float(
        search.fit(features[train_on], classes[train_on]).score(features[test_on], classes[test_on])
    )


def flat(rows: Floats) -> Floats:
    return rows.reshape(len(rows), -1)


# -- the speed of embedding ---------------------------------------------------------------------


def rate(work: Work) -> None:
    images = np.random.default_rng(0).random((2 * IMAGES, 1, SIDE, SIDE), dtype=np.float32)
    model, pair = work.pair("pictures", {"name": "conv"}, "auto", images.shape[1:])
    source = work.folder / "images.npy"
    np.save(source, images[:, 0])
    tell_rate("embed-rate", work, model, pair, source, images, 0.9, f"conv, {SIDE}x{SIDE}x1")
    model, pair = work.pair("table", SMALL_NET, 16)
    table, rows = work.table(ROWS, ".parquet"), random_rows(ROWS)
    tell_rate("embed-rate-table", work, model, pair, table, rows, None, "dense, 32-64-16")


def tell_rate(
    name: str,
    work: Work,
    model: str,
    pair: Pair,
    source: Path,
    rows: Floats,
    target: float | None,
    net: str,
) -> None:
    """Prints the line of one net, measured in turns with its bare encoder."""
    output, encoder = work.folder / "latents.parquet", pair.module.encoder
    batch = best_batch(encoder, rows[:8192])

    asked = (Embed(), model, str(source), output, work.settings, Request(force=True))
    cpu_s: tuple[list[float], list[float]] = ([], [])

    def measured(side: int, once: Callable[[], object]) -> float:
        began_s = time.process_time()
        taken_s = timed(once)
        cpu_s[side].append(time.process_time() - began_s)
        return len(rows) / taken_s

    compare(
        name,
        lambda: measured(0, lambda: run(*asked)),
        lambda: measured(1, lambda: forward(encoder, rows, batch)),
        target=target,
        batch_of_reference=batch,
        net=net,
    )
    ratios = [theirs / ours for ours, theirs in zip(*cpu_s, strict=True)]
    tell(f"{name}-by-cpu", met=None, ratio=median(ratios))


BENCHMARKS = {"probe": probe, "rate": rate}


def main() -> None:
    pa.set_cpu_count(1)
    torch.set_num_threads(1)
    # A loaded pair does this at its first batch. The references must not be measured without it.
    raise_malloc_thresholds()
    with tempfile.TemporaryDirectory() as folder:
        work = Work(Path(folder), Settings.from_environment({}, Path(folder)))
        for name in wanted(tuple(BENCHMARKS)):
            BENCHMARKS[name](work)


if __name__ == "__main__":
    main()
