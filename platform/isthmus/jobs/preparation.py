"""Reads, splits and scales the rows of a job for training, and finds all faults in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from isthmus.bundle.held_out import Places
from isthmus.data import (
    Labels,
    Rows,
    Split,
    StoredRows,
    StoredSplit,
    find_large_table,
    fingerprint,
    fit_scaling,
    read_paired_rows,
    read_rows,
    split_rows,
    store_split,
)
from isthmus.data.splits import hash_rows
from isthmus.errors import DataError
from isthmus.jobs.specs import plan_for
from isthmus.loaders.scaled_rows import ScaledRows, is_distributed
from isthmus.spec import DataSpec, JobSpec, ModelPlan
from isthmus.types import ScalingMode

if TYPE_CHECKING:
    from isthmus.data.distributed_table import DistributedSplit


@dataclass(frozen=True)
class Prepared:
    """A job's rows, split and scaled.

    Attributes:
        spec: The job.
        data: The job's data section with every `auto` resolved.
        plan: The autoencoder to build.
        fingerprint: The sha256 of the data.
        scaled: The scaled rows for training.
        validation: The rows for calibrating scores, in data units.
        test: The rows that training never sees, in data units.
        test_labels: The labels of the test rows, if they have labels that are in memory.
        part_sizes: The number of all rows in each part, if only samples of the held-out parts are
            here.
        places: Where the rows of `test` lie beside those that are trained on, for windows.
    """

    spec: JobSpec
    data: DataSpec
    plan: ModelPlan
    fingerprint: str
    scaled: ScaledRows
    validation: NDArray[np.float32] | StoredRows
    test: NDArray[np.float32] | StoredRows
    test_labels: Labels | None = None
    part_sizes: Mapping[str, int] | None = None
    places: Places | None = None

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


def prepare(spec: JobSpec, ray_address: str | None = None) -> Prepared:
    """Reads, splits and scales the rows; finds all faults in the data before a run is started.

    A table that is too large for memory is copied to files on this machine, which training reads.
    On a cluster Ray Data reads it, block by block, as often as training needs its rows.

    Args:
        spec: The job.
        ray_address: The address of the cluster that trains; `None` if this machine does.

    Raises:
        DataError: If the data cannot be trained on.
        SpecError: If the job's variant, net or loss does not suit the data.
        ClusterError: If the cluster does not answer.
    """
    table = None if ray_address is None else find_large_table(spec.data)
    if table is not None:
        from isthmus.data.distributed_table import distribute_split
        from isthmus.launch.session import ray_session  # this import loads Ray

        with ray_session(ray_address, spec.training.most_workers):
            split = distribute_split(table, spec.training.seed)
        return _prepare_distributed(spec, split, table.settled())
    stored = store_split(spec.data, spec.training.seed)
    return _prepare_stored(spec, *stored) if stored else _prepare_in_memory(spec)


def _prepare_in_memory(spec: JobSpec) -> Prepared:
    rows, data = read_rows(spec.data)
    paired = read_paired_rows(data, rows)
    split = split_rows(rows, data, spec.training.seed)
    plan = plan_for(spec, data, rows.values.shape[1:])
    train_rows = rows.values[split.train]
    _refuse_fewer_than_workers(len(train_rows), spec)
    statistics = fit_scaling(train_rows, ScalingMode(data.scaling), plan.kind, data.indicators)
    views = [rows] if paired is None else [rows, paired]

    def scaled(part: NDArray[np.int64]) -> NDArray[np.float32]:
        # Scales as `core.Scaling` does, but once for all epochs instead of at every step.
        scaled_views = [
            np.nan_to_num((view.values[part] - statistics.offset) / statistics.scale, nan=0.0)
            for view in views
        ]
        return scaled_views[0] if paired is None else np.stack(scaled_views, axis=1)

    return Prepared(
        spec=spec,
        data=data,
        plan=plan,
        fingerprint=fingerprint(*views),
        scaled=ScaledRows(
            train=scaled(split.train),
            validation=scaled(split.validation),
            offset=statistics.offset,
            scale=statistics.scale,
        ),
        validation=rows.values[split.validation],
        test=rows.values[split.test],
        test_labels=None if rows.labels is None else rows.labels[split.test],
        places=_places(rows, split),
    )


def _places(rows: Rows, split: Split) -> Places | None:
    if rows.starts is not None:
        trained_to = int(rows.starts[split.train].max()) + rows.values.shape[-1]
        first = int(np.argmin(rows.starts))
        origin = int(hash_rows(rows.values[first : first + 1], 0)[0])
        return Places("time", rows.starts[split.test], np.array([trained_to]), origin)
    if rows.groups is not None:
        return Places("file", rows.groups[split.test], np.unique(rows.groups[split.train]))
    return None


def _prepare_stored(spec: JobSpec, split: StoredSplit, data: DataSpec) -> Prepared:
    plan = plan_for(spec, data, split.train.shape[1:])
    _refuse_fewer_than_workers(len(split.train), spec)
    statistics = fit_scaling(split.train, ScalingMode(data.scaling), plan.kind)
    return Prepared(
        spec=spec,
        data=data,
        plan=plan,
        fingerprint=split.fingerprint,
        scaled=ScaledRows(
            train=split.train.scaled_by(statistics),
            validation=split.validation.scaled_by(statistics),
            offset=statistics.offset,
            scale=statistics.scale,
        ),
        validation=split.validation,
        test=split.test,
    )


def _prepare_distributed(spec: JobSpec, split: DistributedSplit, data: DataSpec) -> Prepared:
    plan = plan_for(spec, data, split.train.shape[1:])
    _refuse_fewer_than_workers(len(split.train), spec)
    return Prepared(
        spec=spec,
        data=data,
        plan=plan,
        fingerprint=split.fingerprint,
        scaled=ScaledRows(
            train=split.train,
            validation=split.statistics.scaled(split.validation),
            offset=split.statistics.offset,
            scale=split.statistics.scale,
        ),
        validation=split.validation,
        test=split.test,
        part_sizes=split.sizes,
    )


def _refuse_fewer_than_workers(rows: int, spec: JobSpec) -> None:
    if rows < spec.training.most_workers:
        raise DataError(
            f"{spec.data.path}: {rows} rows to train on are fewer than training.workers="
            f"{spec.training.most_workers}; lower training.workers"
        )
