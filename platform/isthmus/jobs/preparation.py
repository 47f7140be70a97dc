"""From a job to rows that can be trained on: read, split, scaled; all faults are found here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.data import (
    Rows,
    Split,
    fingerprint,
    fit_scaling,
    read_rows,
    read_second_look,
    split_rows,
)
from isthmus.errors import DataError
from isthmus.jobs.specs import plan_for
from isthmus.spec import DataSpec, JobSpec, ModelPlan
from isthmus.training import ScaledRows
from isthmus.types import ScalingMode


@dataclass(frozen=True)
class Prepared:
    """A job's rows, split and scaled.

    Attributes:
        spec: The job.
        data: Its data with nothing left open.
        rows: All rows, in data units.
        split: Which of them are trained on, and which held out.
        plan: The autoencoder to build.
        fingerprint: sha256 of the data.
        scaled: What training sees.
    """

    spec: JobSpec
    data: DataSpec
    rows: Rows
    split: Split
    plan: ModelPlan
    fingerprint: str
    scaled: ScaledRows

    @property
    def split_sizes(self) -> dict[str, int]:
        """Rows of each part, by its name."""
        return {
            "train": len(self.split.train),
            "validation": len(self.split.validation),
            "test": len(self.split.test),
        }

    @property
    def first_look(self) -> NDArray[np.float32]:
        """The scaled training rows, one measurement of each."""
        train = self.scaled.train
        return train if self.data.second is None else train[:, 0]

    @property
    def test(self) -> NDArray[np.float32]:
        """The rows that training never sees, in data units."""
        return self.rows.values[self.split.test]


def prepare(spec: JobSpec) -> Prepared:
    """Reads, splits and scales; whatever is wrong with the data is found here, before any run.

    Raises:
        DataError: If the data cannot be trained on.
        SpecError: If the job's variant, net or loss does not suit them.
    """
    rows, data = read_rows(spec.data)
    second = read_second_look(data, rows)
    split = split_rows(rows, data, spec.training.seed)
    plan = plan_for(spec, data, rows.values.shape[1:])
    train_rows = rows.values[split.train]
    if len(train_rows) < spec.training.workers:
        raise DataError(
            f"{data.path}: {len(train_rows)} rows to train on are fewer than training.workers="
            f"{spec.training.workers}; lower training.workers"
        )
    scaling = ScalingMode(data.scaling)
    statistics = fit_scaling(train_rows, scaling, plan.kind, data.indicators)
    looks = [rows] if second is None else [rows, second]

    def scaled(part: NDArray[np.int64]) -> NDArray[np.float32]:
        # As `core.Scaling` does; here once for all epochs instead of at every step.
        scaled_looks = [
            np.nan_to_num((look.values[part] - statistics.offset) / statistics.scale, nan=0.0)
            for look in looks
        ]
        return scaled_looks[0] if second is None else np.stack(scaled_looks, axis=1)

    return Prepared(
        spec=spec,
        data=data,
        rows=rows,
        split=split,
        plan=plan,
        fingerprint=fingerprint(*looks),
        scaled=ScaledRows(
            train=scaled(split.train),
            validation=scaled(split.validation),
            offset=statistics.offset,
            scale=statistics.scale,
        ),
    )
