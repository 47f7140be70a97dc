"""Draws the sample of held-out rows that is stored with a version, and on which it is judged."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from math import prod

import numpy as np
from numpy.typing import NDArray

from isthmus.bundle.held_out import Floats, HeldOutSample, Numbers, peak_of, squared_errors
from isthmus.core import Autoencoder
from isthmus.core.noise_reduction import drawn_noise, measure_for
from isthmus.data import ScalingStatistics, open_all_rows
from isthmus.data.many import KeptLabels
from isthmus.data.patches import WholeImages, fixed_patches, read_images
from isthmus.data.prepared.splits import hash_rows
from isthmus.data.prepared.stored import FloatRows, rows_at
from isthmus.errors import DataError
from isthmus.jobs.preparation import Prepared
from isthmus.spec import JobSpec
from isthmus.tracking import PcaBaseline, filtered_rows, most_filtered
from isthmus.types import DataKind, Shape

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


def draw_sample(
    prepared: Prepared, pca: PcaBaseline | None, module: Autoencoder | None = None
) -> HeldOutSample:
    """Draws the sample of a job's held-out rows.

    A row is drawn by the hash of its content that the split goes by, the lowest first. The same
    rows therefore give the same sample, and the samples of two versions have most rows in common.

    Args:
        prepared: The prepared job.
        pca: The PCA of its training rows; `None` if PCA of the same size says nothing.
        module: The trained module, whose variant says which noise it takes away; `None` if it takes
            none away.
    """
    job, row_shape = prepared.spec, tuple(prepared.test.shape[1:])
    seed, keep = job.training.seed, job.data.keep_labels
    shares = 1 + (keep is not None) + (prepared.clean_test is not None)
    most = most_rows(row_shape, shares)
    numbers = _lowest(prepared.test, most, seed)
    rows = rows_at(prepared.test, numbers)
    others = np.empty((0, *row_shape), dtype=np.float32)
    if keep is not None:
        others = _others(job, others, most)
    clean = None if prepared.clean_test is None else rows_at(prepared.clean_test, numbers)
    scaling = ScalingStatistics(prepared.scaled.offset, prepared.scaled.scale)
    scaled = scaling.scaled(rows)
    noisy = scaled if clean is not None else None
    if clean is None and module is not None:
        noisy = drawn_noise(module, scaled, seed)
    target = rows if clean is None else clean
    return HeldOutSample(
        rows=rows,
        others=others,
        offset=scaling.offset,
        scale=scaling.scale,
        pca_errors=_pca_errors(pca, scaled if noisy is None else noisy, target, scaling),
        pca_components=0 if pca is None else len(pca.components),
        places=None if prepared.places is None else prepared.places.take(numbers),
        clean=clean,
        is_of_noisy=noisy is not None,
        filtered=None
        if noisy is None
        else _filtered(
            *(noisy, scaling.scaled(target), prepared.plan.kind),
            peak=peak_of(target, prepared.schema.white, scaling.scale),
        ),
        white=prepared.schema.white,
    )


def _pca_errors(
    pca: PcaBaseline | None, given: Floats, target: Floats, scaling: ScalingStatistics
) -> Numbers:
    """Returns the mean squared error of PCA on each row, shape (N,), scaled units."""
    if pca is None:
        return np.empty(0)
    made = pca.reconstruct(given) * scaling.scale + scaling.offset
    return squared_errors(made.astype(np.float32), target, scaling.scale)


def _filtered(noisy: Floats, clean: Floats, kind: DataKind, peak: float) -> Numbers | None:
    """Returns the classical filter's number of each row; NaN for those that were not filtered."""
    step = -(-len(noisy) // most_filtered(tuple(noisy.shape[1:])))
    made = filtered_rows(noisy[::step], kind)
    if made is None:
        return None
    found = np.full(len(noisy), np.nan)
    found[::step] = measure_for(kind).numbers(made, clean[::step], peak)
    return found


def _others(job: JobSpec, none: Floats, most: int) -> Floats:
    """Draws a sample of the rows whose labels the job does not keep.

    There may be many more of them than fit into memory, so few are held at a time. If they cannot
    be read any more, a warning says so: it must not lose the training.

    Args:
        job: The job.
        none: The sample of no rows, shape (0, *row_shape).
        most: The most rows that are drawn.
    """
    assert job.data.keep_labels is not None  # noqa: S101 (the caller asks)
    try:
        source, data = open_all_rows(job.data)
        others = KeptLabels(source, job.data.keep_labels, data.shown_path, is_others=True)
        blocks: Iterator[Floats] = (block.values for block in others.blocks())
        if data.patch is not None:
            blocks = _patches_of_each(read_images(others).images, data.patch)
        return _lowest_of(blocks, none, most, job.training.seed)
    except DataError as error:
        _logger.warning("rows with other labels are not kept with the version: %s", error)
        return none


def _patches_of_each(images: WholeImages, patch: int) -> Iterator[Floats]:
    for number in range(len(images)):
        yield fixed_patches(images, patch, np.array([number]))


def _lowest_of(blocks: Iterable[Floats], none: Floats, most: int, seed: int) -> Floats:
    """Returns the rows with the lowest hashes among all of some blocks, in order."""
    kept, hashes = none, np.empty(0, dtype=np.uint64)
    for block in blocks:
        of_block = hash_rows(block, seed)
        if len(kept) == most:
            is_lower = of_block < hashes.max()
            block, of_block = block[is_lower], of_block[is_lower]
        kept, hashes = np.concatenate([kept, block]), np.concatenate([hashes, of_block])
        if len(kept) > most:
            lowest = np.sort(np.argsort(hashes, kind="stable")[:most])
            kept, hashes = kept[lowest], hashes[lowest]
    return kept


def _lowest(rows: FloatRows, most: int, seed: int) -> NDArray[np.int64]:
    """Returns the numbers of the rows with the lowest hashes, sorted."""
    if len(rows) <= most:
        return np.arange(len(rows))
    at_once = max(1, _NUMBERS_AT_ONCE // prod(rows.shape[1:]))
    hashes = np.concatenate(
        [hash_rows(rows[first : first + at_once], seed) for first in range(0, len(rows), at_once)]
    )
    return np.sort(np.argsort(hashes, kind="stable")[:most])
