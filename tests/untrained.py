"""Pairs of weights as they are drawn: what the registry does with them is the same, without Ray."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from isthmus import variants
from isthmus.jobs.specs import check_job, plan_for
from isthmus.registry import RegisteredPair, TrainedPair, register_pair
from isthmus.scores import detector_of
from isthmus.spec import Settings
from isthmus.tracking import RunLog
from isthmus.types import DataKind, ScalingMode


def untrained_pair(
    name: str, settings: Settings, seed: int = 0, *, columns: int = 6, **job: object
) -> TrainedPair:
    """Ready to register, with a run of its own."""
    # The score that needs no rows to be fitted to.
    plain = {"data": {"path": "rows.csv"}, "latent_dim": 2, "scoring": "own"}
    spec = check_job({"name": name, **plain, **job})
    data = spec.data.model_copy(update={"kind": DataKind.TABULAR, "scaling": ScalingMode.STANDARD})
    torch.manual_seed(seed)
    module = variants.build(plan_for(spec, data, (columns,))).eval()
    detector = detector_of(module)
    detector.calibration.fit(torch.rand(50))
    log = RunLog.start(spec, settings)
    log.finish()
    return TrainedPair(
        detector=detector,
        spec=spec,
        data=data,
        fingerprint="0" * 64,
        metrics={"test_reconstruction_mse": 0.5, "test_pca_mse": 0.6},
        run_id=log.run_id,
        example=np.random.default_rng(seed).standard_normal((50, columns)).astype(np.float32),
    )


# A registry's fixtures, for the `conftest` of a folder to import: each then has one of its own.


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    # Not the folder that the tests run in: MLflow's own default store is another one.
    return Settings.from_environment({}, tmp_path_factory.mktemp("registry"))


@pytest.fixture(scope="session")
def trained(settings: Settings) -> Callable[..., TrainedPair]:
    """Makes a pair that is ready to register."""
    return lambda name, seed=0, store=settings: untrained_pair(name, store, seed)


@pytest.fixture(scope="session")
def register(settings: Settings, trained) -> Callable[..., RegisteredPair]:
    """Registers a pair of random weights."""
    return lambda name, seed=0: register_pair(trained(name, seed), settings)
