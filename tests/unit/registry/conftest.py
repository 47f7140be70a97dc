"""Pairs registered without training: what the registry does is the same, and takes no Ray."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from isthmus import variants
from isthmus.jobs.specs import check_job, plan_for
from isthmus.registry import RegisteredPair, TrainedPair, register_pair
from isthmus.spec import Settings
from isthmus.tracking import RunLog
from isthmus.types import DataKind, ScalingMode

ROW_SHAPE = (6,)


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    # Not the folder that the tests run in: MLflow's own default store is another one.
    return Settings.from_environment({}, tmp_path_factory.mktemp("registry"))


@pytest.fixture(scope="session")
def trained(settings: Settings) -> Callable[..., TrainedPair]:
    """Makes a pair that is ready to register."""

    def make(name: str, seed: int = 0, store: Settings = settings) -> TrainedPair:
        spec = check_job({"name": name, "data": {"path": "rows.csv"}, "latent_dim": 2})
        data = spec.data.model_copy(
            update={"kind": DataKind.TABULAR, "scaling": ScalingMode.STANDARD}
        )
        torch.manual_seed(seed)
        module = variants.build(plan_for(spec, data, ROW_SHAPE)).eval()
        rows = np.random.default_rng(seed).standard_normal((50, *ROW_SHAPE)).astype(np.float32)
        module.calibration.fit(torch.rand(50))
        log = RunLog.start(spec, store)
        log.finish()
        return TrainedPair(
            module=module,
            spec=spec,
            data=data,
            fingerprint="0" * 64,
            metrics={"test_reconstruction_mse": 0.5, "test_pca_mse": 0.6},
            run_id=log.run_id,
            example=rows,
        )

    return make


@pytest.fixture(scope="session")
def register(settings: Settings, trained) -> Callable[..., RegisteredPair]:
    """Registers a pair of random weights."""

    def run(name: str, seed: int = 0) -> RegisteredPair:
        return register_pair(trained(name, seed), settings)

    return run
