"""Draws the sample of held-out rows that is stored with a version, and on which it is judged."""

from __future__ import annotations

import logging
from math import prod

import numpy as np
from numpy.typing import NDArray

from isthmus.bundle.held_out import Floats, HeldOutSample, Numbers, squared_errors
from isthmus.data import ScalingStatistics, collect, open_all_rows
from isthmus.data.many import KeptLabels
from isthmus.data.splits import hash_rows
from isthmus.data.stored import FloatRows, rows_at
from isthmus.errors import DataError
from isthmus.jobs.preparation import Prepared
from isthmus.spec import JobSpec
from isthmus.tracking import PcaBaseline
from isthmus.types import Shape

_logger = logging.getLogger(__name__)
_MOST_ROWS = 10_000
_MOST_BYTES = 64 << 20
_FLOAT_BYTES = 4
_NUMBERS_AT_ONCE = 4_000_000


def most_rows(row_shape: Shape, shares: int = 1) -> int:
    """Returns how many rows a sample has at most: 10,000, or fewer if they are large.

    Args:
        row_shape: The shape of a row.
        shares: The number of samples that share the 64 MiB.
    """
    return max(1, min(_MOST_ROWS, _MOST_BYTES // (shares * prod(row_shape) * _FLOAT_BYTES)))


def draw_sample(prepared: Prepared, pca: PcaBaseline) -> HeldOutSample:
    """Draws the sample of a job's held-out rows.

    A row is drawn by the hash of its content that the split goes by, the lowest first. The same
    rows therefore give the same sample, and the samples of two versions have most rows in common.

    Args:
        prepared: The prepared job.
        pca: The PCA of its training rows.
    """
    job, row_shape = prepared.spec, tuple(prepared.test.shape[1:])
    seed, keep = job.training.seed, job.data.keep_labels
    most = most_rows(row_shape, shares=1 if keep is None else 2)
    numbers = _lowest(prepared.test, most, seed)
    rows = rows_at(prepared.test, numbers)
    others = np.empty((0, *row_shape), dtype=np.float32)
    if keep is not None:
        found = _others(job)
        others = rows_at(found, _lowest(found, most, seed)) if len(found) else others
    offset, scale = prepared.scaled.offset, prepared.scaled.scale
    return HeldOutSample(
        rows=rows,
        others=others,
        offset=offset,
        scale=scale,
        pca_errors=_pca_errors(pca, rows, offset, scale),
        pca_components=len(pca.components),
        places=None if prepared.places is None else prepared.places.take(numbers),
    )


def _pca_errors(pca: PcaBaseline, rows: Floats, offset: Floats, scale: Floats) -> Numbers:
    """Returns the mean squared error of PCA on each row, shape (N,), scaled units."""
    scaled = ScalingStatistics(offset, scale).scaled(rows)
    made = pca.reconstruct(scaled) * scale + offset
    return squared_errors(made.astype(np.float32), rows, scale)


def _others(job: JobSpec) -> Floats:
    """Reads the rows whose labels the job does not keep.

    If they cannot be read any more, a warning says so: it must not lose the training.
    """
    assert job.data.keep_labels is not None  # noqa: S101 (the caller asks)
    try:
        source, data = open_all_rows(job.data)
        others = KeptLabels(source, job.data.keep_labels, data.shown_path, is_others=True)
        return collect(others).values
    except DataError as error:
        _logger.warning("rows with other labels are not kept with the version: %s", error)
        return np.empty((0,), dtype=np.float32)


def _lowest(rows: FloatRows, most: int, seed: int) -> NDArray[np.int64]:
    """Returns the numbers of the rows with the lowest hashes, sorted."""
    if len(rows) <= most:
        return np.arange(len(rows))
    at_once = max(1, _NUMBERS_AT_ONCE // prod(rows.shape[1:]))
    hashes = np.concatenate(
        [hash_rows(rows[first : first + at_once], seed) for first in range(0, len(rows), at_once)]
    )
    return np.sort(np.argsort(hashes, kind="stable")[:most])
