"""Reads, splits and scales the rows of a job for training, and finds all faults in them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

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
    fingerprint,
    is_large,
    moments_of,
    open_rows,
    read_opened,
    read_paired_rows,
    remembered,
    scaling_by,
    split_rows,
    starts_in_one_line,
    store_split,
)
from isthmus.data.splits import auto_calibration_fraction, hash_rows, is_ordered, settled
from isthmus.data.storing import rows_expected
from isthmus.errors import DataError
from isthmus.jobs.few_rows import fitted_to
from isthmus.jobs.specs import plan_for
from isthmus.loaders.scaled_rows import ScaledRows, is_distributed
from isthmus.spec import DataSpec, JobSpec, ModelPlan, RowSchema
from isthmus.types import DataKind, ScalingMode

if TYPE_CHECKING:
    from isthmus.data.distributed_table import DistributedRows, DistributedSplit
    from isthmus.data.storing import StoredSplit

_logger = logging.getLogger(__name__)
# The pair's own member, which is trained on all rows, and two that leave out a half each.
_FEWEST_CROSSED = 3
# Fewer rows go to the memory, where those that are too few for four parts are known.
_FEWEST_DISTRIBUTED = 2000
_SHARED = (
    "%s: no rows of their own calibrate the scores, so the rows that choose the epoch do: new "
    "normal rows may be flagged more often than the false-alarm rate says; give more data, or "
    "data.calibration_fraction"
)


@dataclass(frozen=True)
class Prepared:
    """A job's rows, split and scaled.

    Attributes:
        spec: The job.
        data: The job's data section with every `auto` resolved.
        schema: What the training rows are like; the pair will remember it.
        plan: The autoencoder to build.
        fingerprint: The sha256 of the data.
        scaled: The scaled rows for training.
        validation: The rows for early stopping, in data units.
        calibration: The rows whose scores say how normal rows score, in data units: rows of their
            own, or those of `validation` where `data.calibration_fraction` is 0.
        test: The rows that training never sees, in data units.
        test_labels: The labels of the test rows, if they have labels that are in memory.
        part_sizes: The number of all rows in each part, if only samples of the held-out parts are
            here.
        calibration_files: The number of audio files that the calibration rows are windows of;
            `None` for other kinds of data.
        places: The positions of the rows of `test` beside those that are trained on, for windows.
        calibration_starts: The first step of each row of `calibration`, for windows of series.
        is_crossed: Whether calibration uses the training rows, each scored by members of an
            ensemble that were not trained on it.
    """

    spec: JobSpec
    data: DataSpec
    schema: RowSchema
    plan: ModelPlan
    fingerprint: str
    scaled: ScaledRows
    validation: NDArray[np.float32] | StoredRows
    calibration: NDArray[np.float32] | StoredRows
    test: NDArray[np.float32] | StoredRows
    test_labels: Labels | None = None
    part_sizes: Mapping[str, int] | None = None
    calibration_files: int | None = None
    places: Places | None = None
    calibration_starts: NDArray[np.int64] | None = None
    is_crossed: bool = False

    def close(self) -> None:
        """Deletes the files of rows that are not in memory."""
        if isinstance(self.test, StoredRows):
            self.test.close()

    @property
    def split_sizes(self) -> dict[str, int]:
        """The number of rows of each part, by name; with `test_total` if `test` is a sample."""
        sizes = {"train": len(self.scaled.train), "validation": len(self.validation)}
        if self.data.calibration_share:
            sizes["calibration"] = len(self.calibration)
        sizes["test"] = len(self.test)
        totals = {
            f"{part}_total": size
            for part, size in (self.part_sizes or {}).items()
            if size != sizes[part]
        }
        return {**sizes, **totals}

    @property
    def first_view(self) -> NDArray[np.float32] | StoredRows:
        """The scaled training rows, one measurement of each; a sample if Ray Data reads them."""
        train = self.scaled.train
        if is_distributed(train):
            return train.sample
        if self.data.paired_path is None or isinstance(train, StoredRows):
            return train
        return train[:, 0]


@dataclass(frozen=True)
class _Parts:
    """The rows of a job by the parts of the split, wherever they are kept meanwhile.

    Attributes:
        moments: The moments of the training rows.
        fingerprint: The sha256 of the data.
        train: The training rows, in data units if they are not scaled already.
        validation: The rows for early stopping, in data units.
        calibration: The rows for calibrating scores, in data units; none if they are those of
            `validation`.
        test: The rows that training never sees, in data units.
        paired: Other measurements of the training and of the validation rows, in data units.
        test_labels: The labels of the test rows.
        sizes: The number of all rows in each part, if those here are samples.
        calibration_files: The number of audio files that the calibration rows are windows of.
        places: The positions of the rows of `test` beside those that are trained on, for windows.
        calibration_starts: The first step of each row of `calibration`, for windows of series.
        calibration_fraction: `data.calibration_fraction`, settled.
        is_crossed: As in `Prepared`.
    """

    moments: Moments
    fingerprint: str
    train: NDArray[np.float32] | StoredRows | DistributedRows
    validation: NDArray[np.float32] | StoredRows
    calibration: NDArray[np.float32] | StoredRows
    test: NDArray[np.float32] | StoredRows
    paired: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None
    test_labels: Labels | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)
    calibration_files: int | None = None
    places: Places | None = None
    calibration_starts: NDArray[np.int64] | None = None
    calibration_fraction: float = 0.0
    is_crossed: bool = False


def prepare(spec: JobSpec, ray_address: str | None = None) -> Prepared:
    """Reads, splits and scales the rows; finds all faults in the data before a run is started.

    Rows that are too many for the memory are copied to files on this machine, which training reads.
    On a cluster Ray Data reads a table of many files, block by block, as often as training needs
    its rows.

    Args:
        spec: The job.
        ray_address: The address of the cluster that trains; `None` if this machine does.

    Raises:
        DataError: If the data cannot be trained on.
        SpecError: If the job's variant, net or loss does not suit the data.
        ClusterError: If the cluster does not answer.
    """
    source, data = open_rows(spec.data)
    plan = plan_for(spec, data, source.schema.shape)
    parts = None if ray_address is None else _distributed(source, data, spec, ray_address)
    if parts is None:
        parts = (
            _stored(source, data, spec.training.seed)
            if is_large(source, data)
            else _in_memory(source, data, spec)
        )
    data = settled(data, parts.calibration_fraction)
    if not data.calibration_share and not parts.is_crossed:
        _logger.warning(_SHARED, data.shown_path)
    count = len(parts.train)
    if count < spec.training.most_workers:
        raise DataError(
            f"{data.shown_path}: {count} rows to train on are fewer than training.workers="
            f"{spec.training.most_workers}; lower training.workers"
        )
    return Prepared(
        spec=fitted_to(spec, count),
        data=data,
        schema=remembered(source.schema, parts.moments),
        plan=plan,
        fingerprint=parts.fingerprint,
        scaled=_scaled(parts, data, plan),
        validation=parts.validation,
        calibration=parts.calibration if data.calibration_share else parts.validation,
        test=parts.test,
        test_labels=parts.test_labels,
        part_sizes=parts.sizes or None,
        calibration_files=parts.calibration_files,
        places=parts.places,
        calibration_starts=parts.calibration_starts,
        is_crossed=parts.is_crossed,
    )


def _in_memory(source: RowSource, data: DataSpec, spec: JobSpec) -> _Parts:
    rows = read_opened(source, data)
    paired = read_paired_rows(data, rows)
    split, is_crossed = _split(rows, data, spec)
    views: list[Rows] = [rows] if paired is None else [rows, paired]
    train = rows.values[split.train]
    starts = starts_in_one_line(rows)
    calibration = split.calibration if split.calibration_fraction else split.validation
    return _Parts(
        moments=moments_of(train),
        fingerprint=fingerprint(*views),
        train=train,
        validation=rows.values[split.validation],
        calibration=rows.values[split.calibration],
        test=rows.values[split.test],
        paired=None
        if paired is None
        else (paired.values[split.train], paired.values[split.validation]),
        test_labels=None if rows.labels is None else rows.labels[split.test],
        calibration_files=_count_files(rows, calibration),
        places=_places(rows, split),
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


def _places(rows: Rows, split: Split) -> Places | None:
    is_by_file = rows.groups is not None and not set(rows.groups[split.train]) & set(
        rows.groups[split.test]
    )
    if rows.groups is not None and is_by_file:
        return Places("file", rows.groups[split.test], np.unique(rows.groups[split.train]))
    is_one_series = rows.lengths is None or len(np.unique(rows.lengths)) == 1
    if rows.starts is not None and rows.groups is None and is_one_series:
        trained_to = int(rows.starts[split.train].max()) + rows.values.shape[-1]
        first = int(np.argmin(rows.starts))
        origin = int(hash_rows(rows.values[first : first + 1], 0)[0])
        return Places("time", rows.starts[split.test], np.array([trained_to]), origin)
    return None


def _count_files(rows: Rows, part: NDArray[np.int64]) -> int | None:
    if rows.schema.kind is not DataKind.AUDIO or rows.groups is None:
        return None
    return len(np.unique(rows.groups[part]))


def _stored(source: RowSource, data: DataSpec, seed: int) -> _Parts:
    data = _with_calibration(data)
    return _parts_of(store_split(source, data, seed), data)


def _parts_of(
    split: StoredSplit | DistributedSplit, data: DataSpec, sizes: Mapping[str, int] | None = None
) -> _Parts:
    return _Parts(
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
) -> _Parts | None:
    """Splits a table of many files on the cluster; returns `None` for few rows, or no table."""
    if rows_expected(source) < _FEWEST_DISTRIBUTED:
        return None
    from isthmus.data.distributed_table import distributable, distribute_split

    files = distributable(source, data)
    if files is None:
        return None
    from isthmus.launch.session import ray_session  # this import loads Ray

    data = _with_calibration(data)
    with ray_session(ray_address, spec.training.most_workers):
        split = distribute_split(files, data, spec.training.seed)
    return _parts_of(split, data, split.sizes)


def _scaled(parts: _Parts, data: DataSpec, plan: ModelPlan) -> ScaledRows:
    """Scales the rows as `core.Scaling` does, but once for all epochs and not at every step."""
    statistics = scaling_by(
        parts.moments, ScalingMode(data.scaling), plan.kind, len(plan.row_shape), data.indicators
    )

    def scaled(
        rows: NDArray[np.float32] | StoredRows, other: NDArray[np.float32] | None
    ) -> NDArray[np.float32] | StoredRows:
        if isinstance(rows, StoredRows):
            return rows.scaled_by(statistics)
        if other is None:
            return statistics.scaled(rows)
        return np.stack([statistics.scaled(rows), statistics.scaled(other)], axis=1)

    train_pair, validation_pair = parts.paired or (None, None)
    return ScaledRows(
        train=parts.train if is_distributed(parts.train) else scaled(parts.train, train_pair),
        validation=scaled(parts.validation, validation_pair),
        offset=statistics.offset,
        scale=statistics.scale,
    )
