"""Compares a challenger with the champion on the same held-out rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.data import fit_scaling, read_rows, split_rows
from isthmus.errors import DataError
from isthmus.registry import Pair, load
from isthmus.spec import JobSpec, Settings
from isthmus.types import DataKind, ScalingMode

_RESAMPLES = 2000
_CONFIDENCE = 0.95
# Rows of one call of the bootstrap: its table of draws must not grow with the data.
_RESAMPLES_AT_ONCE = 50


@dataclass(frozen=True)
class Comparison:
    """What a challenger is worth beside the champion.

    Attributes:
        challenger: Name and version.
        champion: Name and version.
        rows: Held-out rows that both were given.
        challenger_error: Mean squared reconstruction error, in units that both share.
        champion_error: The same of the champion.
        improvement: Share of the champion's error that the challenger does without; negative if
            it has more.
        interval: Of the improvement, 95 %, by a paired bootstrap over rows.
    """

    challenger: str
    champion: str
    rows: int
    challenger_error: float
    champion_error: float
    improvement: float
    interval: tuple[float, float]

    @property
    def is_better(self) -> bool:
        """Whether the challenger's error is lower, beyond chance."""
        return self.interval[0] > 0

    def __str__(self) -> str:
        gain, low, high = (f"{100 * share:+.1f}" for share in (self.improvement, *self.interval))
        return (
            f"on {self.rows:,} held-out rows {self.challenger} has an error of "
            f"{self.challenger_error:.5g} and {self.champion} of {self.champion_error:.5g}: "
            f"{gain} % better (95 % interval {low} to {high} %)"
        )


def compare(challenger: str, champion: str, spec: JobSpec, settings: Settings) -> Comparison:
    """Reconstructs the job's held-out rows with both pairs.

    Rows are held out by their content and the seed, so a row that the champion never saw is
    held out from the challenger too. Each pair scales in its own way, so errors are measured in
    the units of the data, scaled by the job's own training rows.

    Args:
        challenger: A reference, `digits/4`.
        champion: A reference, `digits@champion`.
        spec: The challenger's job: its data are read again.
        settings: Where the registry is.

    Raises:
        DataError: If the two do not take the same rows.
        ModelNotFound: If there is no such pair.
    """
    new, old = load(challenger, settings), load(champion, settings)
    _refuse_unlike(new, old)
    rows, data = read_rows(spec.data)
    split = split_rows(rows, data, spec.training.seed)
    scale = fit_scaling(
        rows.values[split.train],
        ScalingMode(data.scaling),
        DataKind(data.kind),
        data.indicators,
    ).scale
    test = rows.values[split.test]
    new_errors, old_errors = (_errors(pair, test, scale) for pair in (new, old))
    draws = _bootstrap(new_errors, old_errors, spec.training.seed)
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return Comparison(
        challenger=new.reference,
        champion=old.reference,
        rows=len(test),
        challenger_error=float(new_errors.mean()),
        champion_error=float(old_errors.mean()),
        improvement=float(1 - new_errors.mean() / old_errors.mean()),
        interval=(float(low), float(high)),
    )


def _refuse_unlike(new: Pair, old: Pair) -> None:
    shapes = [pair.manifest.plan.row_shape for pair in (new, old)]
    columns = [pair.manifest.data.feature_names for pair in (new, old)]
    if shapes[0] != shapes[1] or columns[0] != columns[1]:
        raise DataError(
            f"{new.reference} takes rows of shape {shapes[0]} and {old.reference} of "
            f"{shapes[1]}, or other columns, so they cannot be compared; promote by hand with "
            f"isthmus promote {new.manifest.name} VERSION, or give the job another name"
        )


def _errors(
    pair: Pair, rows: NDArray[np.float32], scale: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Mean squared error of each row, shape (N,); missing values count for nothing."""
    difference = (pair.reconstruct(rows) - rows) / scale
    errors: NDArray[np.float64] = np.nanmean(
        difference.reshape(len(rows), -1) ** 2, axis=1, dtype=np.float64
    )
    return errors


def _bootstrap(
    new: NDArray[np.float64], old: NDArray[np.float64], seed: int
) -> NDArray[np.float64]:
    """Improvements of resampled rows, both errors of a row drawn together; shape (R,).

    Source: Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 8 (paired data).
    """
    generator = np.random.default_rng(seed)
    parts = []
    for _ in range(_RESAMPLES // _RESAMPLES_AT_ONCE):
        drawn = generator.integers(0, len(new), (_RESAMPLES_AT_ONCE, len(new)))
        parts.append(1 - new[drawn].mean(axis=1) / old[drawn].mean(axis=1))
    return np.concatenate(parts)
