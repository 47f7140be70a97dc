"""Training of small jobs, in this process, for what is compared by its losses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from isthmus import variants
from isthmus.jobs.specs import check_job, plan_for
from isthmus.launch.in_process import fit_in_process
from isthmus.loaders.scaled_rows import ScaledRows
from isthmus.progress.reporter import Reporters
from isthmus.progress.result import FitResult
from isthmus.progress.storage import CheckpointStorage
from isthmus.spec import PluginSpec
from isthmus.types import DataKind, ScalingMode

SHAPES = {DataKind.TABULAR: (12,), DataKind.SERIES: (2, 32), DataKind.IMAGES: (1, 16, 16)}
ROWS, BATCH = 1000, 64


def kind_of(name: str, room: Any) -> DataKind:
    """A kind of data that a variant or net takes."""
    return next(kind for kind in SHAPES if kind in room.get(name).KINDS)


def job_of(variant: str) -> tuple[DataKind, dict[str, Any]]:
    """A small job of a variant, and the kind of data that it takes."""
    kind = kind_of(variant, variants)
    if kind is DataKind.IMAGES:
        return kind, {"variant": variant, "net": {"name": "conv", "channels": [8, 8]}}
    return kind, {"variant": variant, "net": {"name": "dense", "hidden": [32]}}


def trained(folder: Path, kind: DataKind, job: dict[str, Any], **training: Any) -> list[float]:
    """The losses of each epoch, in training and validation."""
    return [
        loss
        for each in fitted(folder, kind, job, **training).progress.history
        for loss in (each.train["loss"], each.validation["loss"])
    ]


def fitted(folder: Path, kind: DataKind, job: dict[str, Any], **training: Any) -> FitResult:
    """What training of a small job comes to."""
    views = variants.get(PluginSpec.model_validate(job.get("variant", "plain")).name).VIEWS
    second = {"paired_path": "again.npy"} if views == 2 else {}
    content = {
        "name": "recorded",
        "data": {"path": "rows.npy", "kind": kind, **second},
        "latent_dim": 4,
        **job,
        "training": {"epochs": 4, "global_batch_size": BATCH, **training},
    }
    spec = check_job(content)
    data = spec.data.model_copy(update={"scaling": ScalingMode.NONE})
    shape = SHAPES[kind]
    plan = plan_for(spec, data, shape)
    shape = shape if views == 1 else (views, *shape)
    rows = np.random.default_rng(0).random((ROWS + 200, *shape), dtype=np.float32)
    ones = np.ones((1,) * len(SHAPES[kind]), np.float32)
    return fit_in_process(
        plan,
        spec.training,
        ScaledRows(train=rows[:ROWS], validation=rows[ROWS:], offset=0 * ones, scale=ones),
        storage=lambda: CheckpointStorage(str(folder), "run"),
        is_resumed=False,
        reporter=Reporters(),
    )
