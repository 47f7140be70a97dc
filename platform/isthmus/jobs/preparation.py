"""Reads, splits and scales the rows of a job for training, and finds all faults in them."""

from __future__ import annotations

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
from isthmus.data.splits import hash_rows
from isthmus.errors import DataError
from isthmus.jobs.specs import plan_for
from isthmus.loaders.scaled_rows import ScaledRows, is_distributed
from isthmus.spec import DataSpec, JobSpec, ModelPlan, RowSchema
from isthmus.types import DataKind, ScalingMode

if TYPE_CHECKING:
    from isthmus.data.distributed_table import DistributedRows


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
        validation: The rows for calibrating scores, in data units.
        test: The rows that training never sees, in data units.
        test_labels: The labels of the test rows, if they have labels that are in memory.
        part_sizes: The number of all rows in each part, if only samples of the held-out parts are
            here.
        validation_files: The number of audio files that the validation rows are windows of; `None`
            for other kinds of data.
        places: The positions of the rows of `test` beside those that are trained on, for windows.
        validation_starts: The first step of each row of `validation`, for windows of series.
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
    test: NDArray[np.float32] | StoredRows
    test_labels: Labels | None = None
    part_sizes: Mapping[str, int] | None = None
    validation_files: int | None = None
    places: Places | None = None
    validation_starts: NDArray[np.int64] | None = None
    is_crossed: bool = False

    def close(self) -> None:
        """Deletes the files of rows that are not in memory."""
        if isinstance(self.test, StoredRows):
            self.test.close()

    @property
    def split_sizes(self) -> dict[str, int]:
        """The number of rows of each part, by name; with `test_total` if `test` is a sample."""
        sizes = {
            "train": len(self.scaled.train),
            "validation": len(self.validation),
            "test": len(self.test),
        }
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
        validation: The rows for calibrating scores, in data units.
        test: The rows that training never sees, in data units.
        paired: Other measurements of the training and of the validation rows, in data units.
        test_labels: The labels of the test rows.
        sizes: The number of all rows in each part, if those here are samples.
        validation_files: The number of audio files that the validation rows are windows of.
        places: The positions of the rows of `test` beside those that are trained on, for windows.
        validation_starts: The first step of each row of `validation`, for windows of series.
    """

    moments: Moments
    fingerprint: str
    train: NDArray[np.float32] | StoredRows | DistributedRows
    validation: NDArray[np.float32] | StoredRows
    test: NDArray[np.float32] | StoredRows
    paired: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None
    test_labels: Labels | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)
    validation_files: int | None = None
    places: Places | None = None
    validation_starts: NDArray[np.int64] | None = None


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
    seed = spec.training.seed
    parts = None if ray_address is None else _distributed(source, data, spec, ray_address)
    if parts is None:
        parts = (
            _stored(source, data, seed)
            if is_large(source, data)
            else _in_memory(source, data, seed)
        )
    count = len(parts.train)
    if count < spec.training.most_workers:
        raise DataError(
            f"{data.shown_path}: {count} rows to train on are fewer than training.workers="
            f"{spec.training.most_workers}; lower training.workers"
        )
    return Prepared(
        spec=spec,
        data=data,
        schema=remembered(source.schema, parts.moments),
        plan=plan,
        fingerprint=parts.fingerprint,
        scaled=_scaled(parts, data, plan),
        validation=parts.validation,
        test=parts.test,
        test_labels=parts.test_labels,
        part_sizes=parts.sizes or None,
        validation_files=parts.validation_files,
        places=parts.places,
        validation_starts=parts.validation_starts,
    )


def _in_memory(source: RowSource, data: DataSpec, seed: int) -> _Parts:
    rows = read_opened(source, data)
    paired = read_paired_rows(data, rows)
    split = split_rows(rows, data, seed)
    views: list[Rows] = [rows] if paired is None else [rows, paired]
    train = rows.values[split.train]
    starts = starts_in_one_line(rows)
    return _Parts(
        moments=moments_of(train),
        fingerprint=fingerprint(*views),
        train=train,
        validation=rows.values[split.validation],
        test=rows.values[split.test],
        paired=None
        if paired is None
        else (paired.values[split.train], paired.values[split.validation]),
        test_labels=None if rows.labels is None else rows.labels[split.test],
        validation_files=_count_files(rows, split.validation),
        places=_places(rows, split),
        validation_starts=None if starts is None else starts[split.validation],
    )


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
    split = store_split(source, data, seed)
    return _Parts(split.moments, split.fingerprint, split.train, split.validation, split.test)


def _distributed(
    source: RowSource, data: DataSpec, spec: JobSpec, ray_address: str
) -> _Parts | None:
    """Splits a table of many files on the cluster; returns `None` for any other source."""
    from isthmus.data.distributed_table import distributable, distribute_split

    files = distributable(source, data)
    if files is None:
        return None
    from isthmus.launch.session import ray_session  # this import loads Ray

    with ray_session(ray_address, spec.training.most_workers):
        split = distribute_split(files, data, spec.training.seed)
    return _Parts(
        moments=split.moments,
        fingerprint=split.fingerprint,
        train=split.train,
        validation=split.validation,
        test=split.test,
        sizes=split.sizes,
    )


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
