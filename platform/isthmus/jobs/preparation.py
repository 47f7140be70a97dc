"""Reads, splits and scales the rows of a job for training, and finds all faults in them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.bundle.held_out import Places
from isthmus.data import Labels, StoredRows, open_rows, remembered, scaling_by
from isthmus.data.columns.units import warn_of_units
from isthmus.data.prepared.scaling import ScalingStatistics, SlicedRows
from isthmus.data.prepared.splits import settled
from isthmus.errors import DataError
from isthmus.jobs.division import Parts, divide
from isthmus.jobs.few_rows import fitted_to
from isthmus.jobs.sizes import size_of
from isthmus.jobs.specs import data_of, plan_for, plan_of_rows, refuse_once_scaled
from isthmus.jobs.starting import Start
from isthmus.loaders.scaled_rows import ScaledRows, are_patches, is_distributed
from isthmus.spec import DataSpec, JobSpec, ModelPlan, RowSchema
from isthmus.types import ScalingMode

_logger = logging.getLogger(__name__)
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
        schema: The schema of the training rows; the pair will remember it.
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
        clean_validation: The clean versions of the rows of `validation`, in data units, if the job
            has `data.clean_path`; those of `validation` itself hold noise.
        clean_test: The clean versions of the rows of `test`, likewise.
        start: The pair that training starts from, if it starts from one.
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
    clean_validation: NDArray[np.float32] | None = None
    clean_test: NDArray[np.float32] | None = None
    start: Start | None = None

    def close(self) -> None:
        """Deletes the files of rows that are not in memory."""
        if are_patches(self.scaled.train):
            self.scaled.train.close()
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
        """The scaled training rows, one measurement of each.

        Of rows that Ray Data reads, and of patches that are cut as they are needed, it is a sample.
        """
        train = self.scaled.train
        if is_distributed(train):
            return train.sample
        if isinstance(train, StoredRows):
            return train
        rows = train.sample() if are_patches(train) else train
        return rows if self.data.partner_path is None else np.ascontiguousarray(rows[:, 0])


def prepare(spec: JobSpec, ray_address: str | None = None, start: Start | None = None) -> Prepared:
    """Reads, splits and scales the rows; finds all faults in the data before a run is started.

    Rows that are too many for the memory are copied to files on this machine, which training reads.
    On a cluster Ray Data reads a table of many files, block by block, as often as training needs
    its rows.

    Args:
        spec: The job.
        ray_address: The address of the cluster that trains; `None` if this machine does.
        start: The pair that training starts from, whose scaling the rows get.

    Raises:
        DataError: If the data cannot be trained on.
        SpecError: If the job's variant, net or loss does not suit the data, or if its autoencoder
            is another than that of the pair to start from.
        ClusterError: If the cluster does not answer.
    """
    source, data = open_rows(data_of(spec))
    plan = plan_for(spec, data, source.schema.shape)
    parts = divide(source, data, spec, ray_address)
    # Pairs for images of any size are trained to denoise, so that no image is kept from training
    # for the sake of scores.
    is_meant = data.patch is not None and data.calibration_fraction == "auto"
    data = settled(data, parts.calibration_fraction)
    if not data.calibration_share and not parts.is_crossed and not is_meant:
        _logger.warning(_SHARED, data.shown_path)
    schema = remembered(source.schema, parts.moments, _rows_of(parts))
    plan = plan_of_rows(plan, spec, data, schema)
    if start is not None:
        start.refuse_others(plan, data, schema)
        start.warn_of_other_split(spec, data)
        warn_of_units(schema.units, start.pair.manifest.rows_taken, data.shown_path)
    count = len(parts.train)
    clean = parts.partners if data.clean_path is not None else None
    if count < spec.training.most_workers:
        raise DataError(
            f"{data.shown_path}: {count} rows to train on are fewer than training.workers="
            f"{spec.training.most_workers}; lower training.workers"
        )
    return Prepared(
        spec=fitted_to(spec, count, size_of(spec, plan.net.name)),
        data=data,
        schema=schema,
        plan=plan,
        fingerprint=parts.fingerprint,
        scaled=_scaled(parts, data, plan, None if start is None else start.statistics(schema)),
        validation=parts.validation,
        calibration=parts.calibration if data.calibration_share else parts.validation,
        test=parts.test,
        test_labels=parts.test_labels,
        part_sizes=parts.sizes or None,
        calibration_files=parts.calibration_files,
        places=parts.places,
        calibration_starts=parts.calibration_starts,
        is_crossed=parts.is_crossed,
        clean_validation=None if clean is None else clean.validation,
        clean_test=None if clean is None else clean.test,
        start=start,
    )


def _rows_of(parts: Parts) -> SlicedRows | None:
    """Returns the training rows in data units, or a sample; `None` of patches."""
    train = parts.train
    if is_distributed(train):
        return train.sample * train.statistics.scale + train.statistics.offset
    return None if are_patches(train) else train


def _scaled(
    parts: Parts, data: DataSpec, plan: ModelPlan, given: ScalingStatistics | None
) -> ScaledRows:
    """Scales the rows as `core.Scaling` does, but once for all epochs and not at every step."""
    statistics = given or scaling_by(
        parts.moments, ScalingMode(data.scaling), plan.kind, len(plan.row_shape), data.indicators
    )
    refuse_once_scaled(plan, data, float(statistics.scale.max()))

    def scaled(
        rows: NDArray[np.float32] | StoredRows, other: NDArray[np.float32] | None
    ) -> NDArray[np.float32] | StoredRows:
        if isinstance(rows, StoredRows):
            return rows.scaled_by(statistics)
        if other is None:
            return statistics.scaled(rows)
        both = np.stack([rows, other], axis=1)
        statistics.scale_in_place(both)  # so that no view is in the memory once more
        return both

    partners, train = parts.partners, parts.train
    if are_patches(train):
        train = train.scaled_by(statistics)
    elif not is_distributed(train):
        train = scaled(train, None if partners is None else partners.train)
    return ScaledRows(
        train=train,
        validation=scaled(parts.validation, None if partners is None else partners.validation),
        offset=statistics.offset,
        scale=statistics.scale,
    )
