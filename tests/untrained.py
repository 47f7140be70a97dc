"""Pairs of weights as they are drawn: what the registry does with them is the same."""

from __future__ import annotations

import numpy as np
import torch

from isthmus import variants
from isthmus.jobs.specs import check_job, plan_for
from isthmus.registry import TrainedPair
from isthmus.spec import Settings
from isthmus.tracking import RunLog
from isthmus.types import DataKind, ScalingMode

ROW_SHAPE = (6,)


def untrained_pair(name: str, settings: Settings, seed: int = 0) -> TrainedPair:
    """Ready to register, with a run of its own."""
    spec = check_job({"name": name, "data": {"path": "rows.csv"}, "latent_dim": 2})
    data = spec.data.model_copy(update={"kind": DataKind.TABULAR, "scaling": ScalingMode.STANDARD})
    torch.manual_seed(seed)
    module = variants.build(plan_for(spec, data, ROW_SHAPE)).eval()
    module.calibration.fit(torch.rand(50))
    log = RunLog.start(spec, settings)
    log.finish()
    return TrainedPair(
        module=module,
        spec=spec,
        data=data,
        fingerprint="0" * 64,
        metrics={"test_reconstruction_mse": 0.5, "test_pca_mse": 0.6},
        run_id=log.run_id,
        example=np.random.default_rng(seed).standard_normal((50, *ROW_SHAPE)).astype(np.float32),
    )
