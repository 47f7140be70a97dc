"""Measures how well `isthmus detect` finds anomalies in tables, beside six reference methods.

One job file serves all sets: a name and the data, nothing else. A random half of a set's normal
rows is trained on; the rest of them and all anomalies are scored. Sets above 10,000 rows are
sampled. The references see the same rows, standardised by the training rows: the distance to the
fifth neighbour, PyOD's AutoEncoder, an isolation forest, the error of a PCA that keeps 90 % of the
variance, PyOD's ECOD, and DTE-NP, the mean distance to the five nearest rows (Livernoche et al.
2023, arXiv:2305.18593). Published tables of one-class ADBench were made by resampling before the
split and are not comparable.

It prints a JSON line for each set and seed, and at the end one with the means; beside them the
share of normal test rows that are flagged, and the share that was promised.

    python tests/benchmarks/detect_quality.py [--sets NAME,...] [--seeds 0,1] [--folder FOLDER]
        [--scoring NAME] [--no-references]
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from measuring import tell
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.neighbors import NearestNeighbors

import isthmus
from isthmus.spec import Settings

FOLDER = Path(__file__).parents[3] / "shared/data/adbench"
MOST_ROWS = 10_000
NEIGHBOURS = 5
TARGET = 0.93

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Task:
    """Rows to train on, and rows to score with their labels (1 is an anomaly)."""

    train: Floats
    test: Floats
    labels: NDArray[np.int64]

    def standardised(self) -> tuple[Floats, Floats]:
        centre, spread = self.train.mean(axis=0), self.train.std(axis=0)
        spread = np.where(spread > 1e-9, spread, 1.0)
        return (self.train - centre) / spread, (self.test - centre) / spread


def task(file: Path, seed: int) -> Task:
    stored = np.load(file)
    rows, labels = stored["X"].astype(np.float64), stored["y"].astype(np.int64)
    draw = np.random.default_rng(seed)
    if len(rows) > MOST_ROWS:
        taken = draw.choice(len(rows), MOST_ROWS, replace=False)
        rows, labels = rows[taken], labels[taken]
    normal = draw.permutation(np.flatnonzero(labels == 0))
    half = len(normal) // 2
    tested = np.concatenate([normal[half:], np.flatnonzero(labels == 1)])
    return Task(rows[normal[:half]], rows[tested], labels[tested])


# -- what is compared ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Ours:
    """What the registered pair finds in the test rows.

    Attributes:
        scores: Shape (N,).
        false_alarms: The share of the normal rows that are flagged.
        promised: The rate that the pair was calibrated for.
    """

    scores: Floats
    false_alarms: float
    promised: float


def ours(given: Task, asked: argparse.Namespace, seed: int) -> Ours:
    """Trains by the minimal job file, and scores with the registered pair."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.from_environment({}, Path(folder))
        file = Path(folder) / "rows.npy"
        np.save(file, given.train.astype(np.float32))
        job: dict[str, Any] = {"name": "quality", "data": str(file)}
        if asked.scoring is not None:
            job["scoring"] = asked.scoring
        if seed:
            job["training"] = {"seed": seed}
        isthmus.train(job, settings=settings)
        pair = isthmus.load("quality/1", settings=settings)
        found = pair.detect(given.test.astype(np.float32))
        return Ours(
            np.asarray(found.scores, dtype=np.float64),
            float(found.anomalies[given.labels == 0].mean()),
            pair.detector.calibration.rate,
        )


def fifth_neighbour(train: Floats, test: Floats, seed: int) -> Floats:
    return distances(train, test)[:, -1]


def dte_np(train: Floats, test: Floats, seed: int) -> Floats:
    return distances(train, test).mean(axis=1)


def distances(train: Floats, test: Floats) -> Floats:
    found: Floats = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(train).kneighbors(test)[0]
    return found


def pyod_autoencoder(train: Floats, test: Floats, seed: int) -> Floats:
    from pyod.models.auto_encoder import AutoEncoder

    return np.asarray(AutoEncoder(random_state=seed, verbose=0).fit(train).decision_function(test))


def ecod(train: Floats, test: Floats, seed: int) -> Floats:
    from pyod.models.ecod import ECOD

    return np.asarray(ECOD().fit(train).decision_function(test))


def isolation_forest(train: Floats, test: Floats, seed: int) -> Floats:
    return -np.asarray(IsolationForest(random_state=seed).fit(train).score_samples(test))


def pca_error(train: Floats, test: Floats, seed: int) -> Floats:
    fitted = PCA(0.9, svd_solver="full").fit(train)
    rest = test - fitted.inverse_transform(fitted.transform(test))
    return np.asarray(np.square(rest).mean(axis=1))


REFERENCES: dict[str, Callable[[Floats, Floats, int], Floats]] = {
    "knn": fifth_neighbour,
    "pyod_autoencoder": pyod_autoencoder,
    "isolation_forest": isolation_forest,
    "pca": pca_error,
    "ecod": ecod,
    "dte_np": dte_np,
}


# -- the run ------------------------------------------------------------------------------------


def quality(labels: NDArray[np.int64], scores: Floats) -> tuple[float, float]:
    """Returns AUROC and average precision; a score that is no number counts as the highest."""
    ranked = np.nan_to_num(scores, nan=np.inf, posinf=1e300)
    return float(roc_auc_score(labels, ranked)), float(average_precision_score(labels, ranked))


def measured(
    file: Path, seed: int, asked: argparse.Namespace
) -> tuple[dict[str, tuple[float, float]], Ours]:
    given = task(file, seed)
    began_s = time.perf_counter()
    mine = ours(given, asked, seed)
    found = {"isthmus": quality(given.labels, mine.scores)}
    seconds = time.perf_counter() - began_s
    references = {} if asked.no_references else REFERENCES
    for name, method in references.items():
        found[name] = quality(given.labels, method(*given.standardised(), seed))
    tell(
        "detect-quality-set",
        met=None,
        set=file.stem,
        seed=seed,
        rows=len(given.train),
        seconds=seconds,
        false_alarms=mine.false_alarms,
        promised_false_alarms=mine.promised,
        auroc={name: each[0] for name, each in found.items()},
        average_precision={name: each[1] for name, each in found.items()},
    )
    return found, mine


def files(asked: argparse.Namespace) -> Iterator[Path]:
    names = asked.sets.split(",") if asked.sets else None
    for file in sorted(asked.folder.glob("*.npz")):
        if names is None or file.stem in names or file.stem.partition("_")[2] in names:
            yield file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", default="")
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--scoring", default=None)
    parser.add_argument("--no-references", action="store_true")
    asked = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    seeds = [int(seed) for seed in asked.seeds.split(",")]
    both = [measured(file, seed, asked) for seed in seeds for file in files(asked)]
    runs, alarms = [run for run, _ in both], [mine for _, mine in both]
    means = {name: [mean(run[name][part] for run in runs) for part in (0, 1)] for name in runs[0]}
    mine, others = means["isthmus"], [each for name, each in means.items() if name != "isthmus"]
    tell(
        "detect-quality",
        met=mine[0] >= TARGET
        and all(mine[part] > each[part] for each in others for part in (0, 1)),
        target=TARGET,
        runs=len(runs),
        false_alarms=mean(each.false_alarms for each in alarms),
        worst_false_alarms=max(each.false_alarms for each in alarms),
        promised_false_alarms=mean(each.promised for each in alarms),
        auroc={name: each[0] for name, each in means.items()},
        average_precision={name: each[1] for name, each in means.items()},
    )


if __name__ == "__main__":
    main()
