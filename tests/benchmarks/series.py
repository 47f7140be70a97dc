"""How well anomalies in series are found: VUS-PR on NAB, ours beside others that are hard to beat.

Every file is trained on its first 40 %, or on what lies before its first labelled window if that is
less, so that nobody trains on a labelled anomaly; all of its steps are scored, and VUS-PR is taken
over all of them. All get the same part. Ours is `isthmus.train` on a job file that names the data
and nothing else, and `isthmus detect`; the others have the settings of their papers or packages:

- Sub-PCA as TSB-AD has it: PyOD's PCA on windows as long as the dominant period.
- IsolationForest and PyOD's AutoEncoder on the windows that ours has, averaged per step as ours.

Files without a labelled window have no VUS-PR; a step without a score takes the lowest one.

    python tests/benchmarks/series.py [FOLDER OF NAB]
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pandas as pd
import torch
from measuring import tell
from numpy.typing import NDArray
from vus_pr import dominant_period, vus_pr

import isthmus
from isthmus.data import mean_of_covering_windows
from isthmus.quiet import quieten
from isthmus.spec import Settings
from isthmus.uses._loaded import LoadedPair

FOLDER = Path(__file__).parents[3] / "shared" / "data" / "nab"
TRAINED_SHARE = 0.4
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Series:
    """A file of NAB.

    Attributes:
        name: The name.
        values: Shape (T,).
        labels: Shape (T,). 1 within a labelled window, else 0.
        trained: The number of steps to train on, from the first.
    """

    name: str
    values: Floats
    labels: NDArray[np.int64]
    trained: int


def series_of(folder: Path) -> Iterator[Series]:
    """Yields the files that have a labelled window."""
    windows = json.loads((folder / "combined_windows.json").read_text(encoding="utf-8"))
    for path in sorted(folder.glob("*/*.csv")):
        table = pd.read_csv(path, parse_dates=["timestamp"]).sort_values("timestamp", kind="stable")
        labels = np.zeros(len(table), dtype=np.int64)
        for first, last in windows[f"{path.parent.name}/{path.name}"]:
            labels[table["timestamp"].between(pd.Timestamp(first), pd.Timestamp(last))] = 1
        if labels.any():
            trained = min(int(TRAINED_SHARE * len(table)), int(np.argmax(labels)))
            yield Series(path.stem, table["value"].to_numpy(np.float64), labels, trained)


# -- ours ---------------------------------------------------------------------------------------


def trained_pair(series: Series, folder: Path, settings: Settings) -> LoadedPair:
    """Trains a pair on the first part of a series; the job names the data and nothing else."""
    part = folder / "part.csv"
    pd.DataFrame({"value": series.values[: series.trained]}).to_csv(part, index=False)
    job = {
        "name": series.name.lower().replace("_", "-"),
        "data": {"path": str(part), "kind": "series"},
    }
    result = isthmus.train(job, settings=settings)
    return isthmus.load(str(result.pair), settings=settings)


def ours(pair: LoadedPair, series: Series, folder: Path) -> dict[str, Floats]:
    """Returns the scores of steps: as `detect` gives them, and of windows that do not overlap."""
    source, output = folder / "whole.csv", folder / "scores.parquet"
    pd.DataFrame({"value": series.values}).to_csv(source, index=False)
    pair.detect(source, output, force=True)
    scores = pd.read_parquet(output)["score"].to_numpy(np.float64)
    window = pair.manifest.plan.row_shape[1]
    starts = np.append(
        np.arange(0, len(series.values) - window, window), len(series.values) - window
    )
    rows = np.stack([series.values[start : start + window] for start in starts])[:, None]
    # In turn, so that the last window, which is moved back, gives only the steps that are left.
    apart = np.zeros(len(series.values))
    for start, score in zip(starts[::-1], pair.detect(rows).scores[::-1], strict=True):
        apart[start : start + window] = score
    return {"series-vus-pr": scores, "series-vus-pr-apart": apart}


# -- the others ---------------------------------------------------------------------------------


def windows_of(values: Floats, window: int) -> Floats:
    return np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(values, window))


def sub_pca(series: Series) -> Floats:
    from pyod.models.pca import PCA

    window = dominant_period(series.values[: series.trained])
    detector = PCA().fit(windows_of(series.values[: series.trained], window))
    scores = detector.decision_function(windows_of(series.values, window))
    # As TSB-AD: the score of a window is that of its middle, and is held at both ends.
    return np.pad(scores, (window // 2, (window - 1) // 2), mode="edge")


def isolation_forest(series: Series, window: int) -> Floats:
    from sklearn.ensemble import IsolationForest

    forest = IsolationForest(random_state=0, n_jobs=1)
    forest.fit(windows_of(series.values[: series.trained], window))
    return per_step(-forest.score_samples(windows_of(series.values, window)), window)


def pyod_autoencoder(series: Series, window: int) -> Floats:
    from pyod.models.auto_encoder import AutoEncoder

    detector = AutoEncoder(verbose=0, random_state=0, device="cpu")
    with contextlib.redirect_stdout(io.StringIO()):
        detector.fit(windows_of(series.values[: series.trained], window))
        scores = detector.decision_function(windows_of(series.values, window))
    return per_step(scores, window)


def per_step(scores: Floats, window: int) -> Floats:
    length = len(scores) + window - 1
    return mean_of_covering_windows(scores, np.arange(len(scores)), window, length)


def main() -> None:
    quieten()
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    figures: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        settings = Settings.from_environment({}, place)
        for series in series_of(folder):
            pair = trained_pair(series, place, settings)
            window = pair.manifest.plan.row_shape[1]
            found = {
                **ours(pair, series, place),
                "sub-pca": sub_pca(series),
                "isolation-forest": isolation_forest(series, window),
                "pyod-autoencoder": pyod_autoencoder(series, window),
            }
            buffer = dominant_period(series.values)
            for name, scores in found.items():
                lowest = np.where(np.isnan(scores), np.nanmin(scores), scores)
                figures.setdefault(name, {})[series.name] = vus_pr(series.labels, lowest, buffer)
    means = {name: float(np.mean(list(each.values()))) for name, each in figures.items()}
    target = means["sub-pca"]
    for name, each in figures.items():
        is_ours = name == "series-vus-pr"
        tell(
            name,
            value=means[name],
            target=target if is_ours else None,
            met=means[name] > target if is_ours else None,
            better="higher",
            files=each,
            **({"mark": 0.52, "mark_of": "PaAno on all of TSB-AD-U"} if is_ours else {}),
        )


if __name__ == "__main__":
    main()
