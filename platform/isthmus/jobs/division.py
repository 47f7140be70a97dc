"""Divides the rows of a job into the parts of the split, by whichever way suits them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from isthmus.bundle.held_out import Places
from isthmus.data import (
    Labels,
    Moments,
    Rows,
    RowSource,
    Split,
    StoredRows,
    TrainingPatches,
    fingerprint,
    is_large,
    moments_of,
    open_partner,
    read_opened,
    read_partner_rows,
    split_by,
    split_patches,
    split_rows,
    starts_in_one_line,
    store_split,
)
from isthmus.data.prepared.splits import auto_calibration_fraction, hash_rows, is_ordered, settled
from isthmus.data.prepared.storing import rows_expected
from isthmus.kinds import facts_of
from isthmus.spec import DataSpec, JobSpec

if TYPE_CHECKING:
    from isthmus.data.prepared.distributed_table import DistributedRows, DistributedSplit
    from isthmus.data.prepared.storing import StoredSplit

_logger = logging.getLogger(__name__)
# The pair's own member, which is trained on all rows, and two that leave out a half each.
_FEWEST_CROSSED = 3
# Fewer rows go to the memory, where those that are too few for four parts are known.
_FEWEST_DISTRIBUTED = 2000


@dataclass(frozen=True)
class Partners:
    """The second views of the rows of three parts, in data units.

    Attributes:
        train: Those of the training rows; `None` for patches, which have them with them.
        validation: Those of the rows for early stopping.
        test: Those of the rows that training never sees.
    """

    train: NDArray[np.float32] | None
    validation: NDArray[np.float32]
    test: NDArray[np.float32]


@dataclass(frozen=True)
class Parts:
    """The rows of a job by the parts of the split, wherever they are kept meanwhile.

    Attributes:
        moments: The moments of the training rows.
        fingerprint: The sha256 of the data.
        train: The training rows, in data units if they are not scaled already.
        validation: The rows for early stopping, in data units.
        calibration: The rows for calibrating scores, in data units; none if they are those of
            `validation`.
        test: The rows that training never sees, in data units.
        partners: The second views of the rows, if there are any.
        test_labels: The labels of the test rows.
        sizes: The number of all rows in each part, if those here are samples.
        calibration_files: The number of audio files that the calibration rows are windows of.
        places: The positions of the rows of `test` beside those that are trained on, for windows.
        calibration_starts: The first step of each row of `calibration`, for windows of series.
        calibration_fraction: `data.calibration_fraction`, settled.
        is_crossed: Whether calibration uses the training rows, as in `Prepared`.
    """

    moments: Moments
    fingerprint: str
    train: NDArray[np.float32] | StoredRows | DistributedRows | TrainingPatches
    validation: NDArray[np.float32] | StoredRows
    calibration: NDArray[np.float32] | StoredRows
    test: NDArray[np.float32] | StoredRows
    partners: Partners | None = None
    test_labels: Labels | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)
    calibration_files: int | None = None
    places: Places | None = None
    calibration_starts: NDArray[np.int64] | None = None
    calibration_fraction: float = 0.0
    is_crossed: bool = False


def divide(source: RowSource, data: DataSpec, spec: JobSpec, ray_address: str | None) -> Parts:
    """Reads the rows of a job and splits them.

    Args:
        source: The rows.
        data: The job's data section with every `auto` resolved.
        spec: The job.
        ray_address: The address of the cluster that trains; `None` if this machine does.

    Raises:
        DataError: If the data cannot be trained on.
        ClusterError: If the cluster does not answer.
    """
    parts = None if ray_address is None else _distributed(source, data, spec, ray_address)
    if parts is not None:
        return parts
    if data.patch is not None:
        return _patches(source, data, spec.training.seed)
    if is_large(source, data):
        return _stored(source, data, spec.training.seed)
    return _in_memory(source, data, spec)


def _patches(source: RowSource, data: DataSpec, seed: int) -> Parts:
    split = split_patches(source, open_partner(data, source.schema), data, seed)
    partners = None
    if split.validation.partners is not None and split.test.partners is not None:
        partners = Partners(None, split.validation.partners, split.test.partners)
    return Parts(
        moments=split.moments,
        fingerprint=split.fingerprint,
        train=split.train,
        validation=split.validation.values,
        calibration=split.calibration.values,
        test=split.test.values,
        partners=partners,
        test_labels=split.test.labels,
        places=Places("file", split.test.contents, split.trained_contents),
        calibration_fraction=split.calibration_fraction,
    )


def _in_memory(source: RowSource, data: DataSpec, spec: JobSpec) -> Parts:
    rows = read_opened(source, data)
    second = read_partner_rows(data, rows)
    contents = split_by(data, rows, second)
    split, is_crossed = _split(contents, data, spec)
    views: list[Rows] = [rows] if second is None else [rows, second]
    train = rows.values[split.train]
    starts = starts_in_one_line(rows)
    calibration = split.calibration if split.calibration_fraction else split.validation
    return Parts(
        moments=moments_of(train),
        fingerprint=fingerprint(*views),
        train=train,
        validation=rows.values[split.validation],
        calibration=rows.values[split.calibration],
        test=rows.values[split.test],
        partners=None
        if second is None
        else Partners(
            *(second.values[part] for part in (split.train, split.validation, split.test))
        ),
        test_labels=None if rows.labels is None else rows.labels[split.test],
        calibration_files=_count_files(rows, calibration),
        places=_places(rows, contents, split),
        calibration_starts=None if starts is None else starts[calibration],
        calibration_fraction=split.calibration_fraction,
        is_crossed=is_crossed,
    )


def _split(rows: Rows, data: DataSpec, spec: JobSpec) -> tuple[Split, bool]:
    """Splits the rows; returns also whether calibration is crossed, as little data have no part."""
    seed = spec.training.seed
    split = split_rows(rows, data, seed)
    is_left_out = data.calibration_fraction == "auto" and not split.calibration_fraction
    if not is_left_out or is_ordered(rows):
        return split, False
    if spec.training.ensemble == "auto" or spec.training.ensemble >= _FEWEST_CROSSED:
        return split, True
    # So few members cannot leave rows out in turn, so some rows are left out of all of them.
    split = split_rows(rows, settled(data, auto_calibration_fraction(data)), seed)
    _logger.warning(
        "%s: training.ensemble: %d spares %d rows for the calibration; with 3 or more, or auto, it "
        "rests on all training rows",
        *(data.shown_path, spec.training.ensemble, len(split.calibration)),
    )
    return split, False


def _places(rows: Rows, contents: Rows, split: Split) -> Places | None:
    groups = contents.groups
    if groups is not None and not set(groups[split.train]) & set(groups[split.test]):
        by: Literal["file", "content"] = "file" if contents is rows else "content"
        return Places(by, groups[split.test], np.unique(groups[split.train]))
    is_one_series = rows.lengths is None or len(np.unique(rows.lengths)) == 1
    if rows.starts is not None and rows.groups is None and is_one_series:
        trained_to = int(rows.starts[split.train].max()) + rows.values.shape[-1]
        first = int(np.argmin(rows.starts))
        origin = int(hash_rows(rows.values[first : first + 1], 0)[0])
        return Places("time", rows.starts[split.test], np.array([trained_to]), origin)
    return None


def _count_files(rows: Rows, part: NDArray[np.int64]) -> int | None:
    if facts_of(rows.schema.kind).split_by != "file" or rows.groups is None:
        return None
    return len(np.unique(rows.groups[part]))


def _stored(source: RowSource, data: DataSpec, seed: int) -> Parts:
    data = _with_calibration(data)
    return _parts_of(store_split(source, data, seed), data)


def _parts_of(
    split: StoredSplit | DistributedSplit, data: DataSpec, sizes: Mapping[str, int] | None = None
) -> Parts:
    return Parts(
        moments=split.moments,
        fingerprint=split.fingerprint,
        train=split.train,
        validation=split.validation,
        calibration=split.calibration,
        test=split.test,
        sizes=sizes or {},
        calibration_fraction=data.calibration_share,
    )


def _with_calibration(data: DataSpec) -> DataSpec:
    """Returns the data section of many rows, with `data.calibration_fraction` settled."""
    if data.calibration_fraction != "auto":
        return data
    return settled(data, auto_calibration_fraction(data))


def _distributed(
    source: RowSource, data: DataSpec, spec: JobSpec, ray_address: str
) -> Parts | None:
    """Splits a table of many files on the cluster; returns `None` for few rows, or no table."""
    if rows_expected(source) < _FEWEST_DISTRIBUTED:
        return None
    from isthmus.data.prepared.distributed_table import distributable, distribute_split

    files = distributable(source, data)
    if files is None:
        return None
    from isthmus.launch.session import ray_session  # this import loads Ray

    data = _with_calibration(data)
    with ray_session(ray_address, spec.training.most_workers):
        split = distribute_split(files, data, spec.training.seed)
    return _parts_of(split, data, split.sizes)
