"""The rows on which a challenger and the champion are compared, which neither was trained on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.data import StoredRows, collect, open_all_rows
from isthmus.data.many import KeptLabels
from isthmus.data.splits import split_block
from isthmus.errors import DataError
from isthmus.jobs.preparation import Prepared, prepare
from isthmus.jobs.specs import check_job
from isthmus.registry import Pair
from isthmus.spec import JobSpec
from isthmus.tracking import PcaBaseline, fit_pca
from isthmus.types import DataKind

Floats = NDArray[np.float32]
# More rows would hardly narrow the intervals, and each is resampled thousands of times.
_MOST_ROWS = 10_000
_MOST_NUMBERS = 20_000_000
# With fewer rows, bootstrap intervals are too narrow to tell a difference from chance.
_FEWEST_ROWS = 10


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Rows of the challenger's job that were not used in training. Missing values are NaN.

    Attributes:
        rows: Shape (N, *row_shape), data units.
        others: Shape (M, *row_shape), data units. Rows whose labels the job does not keep, which
            detection is to find. Empty if it keeps all labels, or there are none.
        offset: The offset of the challenger's scaling, broadcastable to a row.
        scale: The scale of the challenger's scaling, broadcastable to a row. The errors of both
            pairs are measured in these units.
        pca: A PCA of the challenger's training rows, with as many components as its code has
            values.
        seed: The seed of the job, so that random draws on these rows can be repeated.
    """

    rows: Floats
    others: Floats
    offset: Floats
    scale: Floats
    pca: PcaBaseline
    seed: int

    def scaled(self, rows: Floats) -> Floats:
        """Converts rows to scaled units."""
        return np.asarray((rows - self.offset) / self.scale, dtype=np.float32)


def job_of(pair: Pair) -> JobSpec:
    """Returns the job that a pair was trained by, as its job file was then.

    Raises:
        SpecError: If this Isthmus no longer knows the job's options.
    """
    return check_job(dict(pair.manifest.spec))


def read_held_out(
    challenger: Pair, champion: Pair | None, on_step: Callable[[str], None]
) -> HeldOut:
    """Reads the challenger's data again, and returns the held-out rows that neither pair has seen.

    Rows are held out by their content and the seed. With the same seed, both pairs have the same
    held-out rows. With different seeds, the rows that the champion was trained on are removed. If
    there are many rows, evenly spaced ones are used.

    Args:
        challenger: The pair to be judged.
        champion: The pair to compare it with, if there is one.
        on_step: A function that is called with each step.

    Raises:
        DataError: If the data cannot be read, have changed since the training or have too few rows,
            or if the two pairs do not take the same rows.
        SpecError: If this Isthmus cannot read the job.
    """
    job = job_of(challenger)
    if champion is not None:
        _refuse_unlike(challenger, champion)
    on_step(f"reading {job.data.shown_path}")
    with closing(prepare(job)) as prepared:
        if prepared.fingerprint != challenger.manifest.fingerprint:
            raise DataError(
                f"{job.data.shown_path} has changed since {challenger.reference} was trained on "
                "it; train a version on the data of today"
            )
        rows = _unseen(_spaced(prepared.test), champion, prepared)
        if len(rows) < _FEWEST_ROWS:
            raise DataError(
                f"only {len(rows)} held-out rows, and the gate needs {_FEWEST_ROWS} to tell better "
                "from luck; train a version on more rows, or with a larger data.test_fraction"
            )
        on_step("fitting PCA")
        return HeldOut(
            rows=rows,
            others=_others(job, prepared),
            offset=prepared.scaled.offset,
            scale=prepared.scaled.scale,
            pca=fit_pca(prepared.first_view, challenger.module.code_size),
            seed=job.training.seed,
        )


def _unseen(rows: Floats, champion: Pair | None, prepared: Prepared) -> Floats:
    """Removes the rows that the champion was trained on, where they can be identified."""
    # Series are split by time and audio by file, so rows of another split cannot be identified.
    if champion is None or prepared.data.kind not in (DataKind.TABULAR, DataKind.IMAGES):
        return rows
    seed = job_of(champion).training.seed
    seen = split_block(rows, champion.manifest.data, seed)["train"]
    kept = np.delete(rows, seen, axis=0)
    if len(kept) < min(_FEWEST_ROWS, len(rows)):
        raise DataError(
            f"{champion.reference} was trained with another seed or share of rows, and has seen "
            f"all but {len(kept)} of the {len(rows)} held-out rows; train a version with "
            f"training.seed={seed} and the champion's data.test_fraction"
        )
    return kept


def _others(job: JobSpec, prepared: Prepared) -> Floats:
    keep = job.data.keep_labels
    if keep is None:
        return np.empty((0, *prepared.test.shape[1:]), dtype=np.float32)
    source, data = open_all_rows(job.data)
    others = KeptLabels(source, keep, data.shown_path, is_others=True)
    return _spaced(collect(others).values)


def _spaced(rows: NDArray[np.float32] | StoredRows) -> Floats:
    most = max(_FEWEST_ROWS, min(_MOST_ROWS, _MOST_NUMBERS // prod(rows.shape[1:])))
    every = max(1, -(-len(rows) // most))
    return np.ascontiguousarray(rows[::every])


def _refuse_unlike(new: Pair, old: Pair) -> None:
    shapes: list[Any] = [pair.manifest.plan.row_shape for pair in (new, old)]
    columns = [pair.manifest.data.feature_names for pair in (new, old)]
    if shapes[0] != shapes[1] or columns[0] != columns[1]:
        raise DataError(
            f"{new.reference} takes rows of shape {shapes[0]} and {old.reference} of "
            f"{shapes[1]}, or other columns, so they cannot be compared"
        )
