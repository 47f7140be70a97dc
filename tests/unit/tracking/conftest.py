"""One embedded store for the room's tests: creating its tables takes longer than most of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from isthmus.progress.reporter import EpochReport
from isthmus.spec import JobSpec, ModelPlan, Settings
from isthmus.tracking import RunReport
from isthmus.types import Shape


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    # A name that is no URL: spaces and signs are common in people's folders.
    folder = tmp_path_factory.mktemp("a store #1")
    return Settings.from_environment({}, folder)


@pytest.fixture(scope="session")
def client(settings: Settings):
    from isthmus.tracking import open_store

    return open_store(settings)


@pytest.fixture
def spec(request: pytest.FixtureRequest) -> JobSpec:
    """A job named as the test: experiments do not meet."""
    return JobSpec.model_validate(
        {
            "name": request.node.originalname[:90],
            "data": {"path": "digits.npz"},
            "variant": {"name": "vae", "beta": 2.0},
        }
    )


@pytest.fixture(scope="session")
def new_experiment(settings: Settings, client) -> Callable[[str], str]:
    """Creates an experiment as another program would; MLflow's own default is this folder."""

    def create(name: str) -> str:
        root = Path(settings.local_artifact_root or "") / name
        return client.create_experiment(name, artifact_location=root.as_uri())

    return create


@pytest.fixture
def plan() -> ModelPlan:
    return plan_of("images", (1, 8, 8))


def plan_of(kind: str, row_shape: Shape, latent_dim: int = 4) -> ModelPlan:
    return ModelPlan.model_validate(
        {
            "kind": kind,
            "row_shape": row_shape,
            "latent_dim": latent_dim,
            "variant": "vae",
            "net": "conv" if kind == "images" else "dense",
            "reconstruction": "mse",
        }
    )


@pytest.fixture(scope="session")
def epoch() -> Callable[..., EpochReport]:
    def report(number: int, loss: float | None = None) -> EpochReport:
        loss = 10.0 / number if loss is None else loss
        return EpochReport(
            epoch=number,
            train={"loss": loss, "kl": 0.5},
            validation={"loss": loss * 1.1, "kl": 0.6},
            learning_rate=1e-3,
            rows_per_s=50_000.0,
        )

    return report


@pytest.fixture(scope="session")
def report_of(epoch: Callable[..., EpochReport]) -> Callable[..., RunReport]:
    def report(kind: str, row_shape: Shape, *, rows: int = 60, latent_dim: int = 4) -> RunReport:
        random = np.random.default_rng(0)
        inputs = random.random((rows, *row_shape), dtype=np.float32)
        reconstructions = inputs + 0.1 * random.standard_normal(inputs.shape, dtype=np.float32)
        errors = np.square(reconstructions - inputs).reshape(rows, -1).mean(axis=1)
        return RunReport(
            plan=plan_of(kind, row_shape, latent_dim),
            inputs=inputs,
            reconstructions=reconstructions,
            latents=random.standard_normal((rows, latent_dim), dtype=np.float32),
            labels=np.arange(rows) % 3,
            errors=errors,
            pca_errors=errors * 1.5,
            threshold=float(np.quantile(errors, 0.99)),
            history=[epoch(number) for number in range(1, 11)],
        )

    return report


@pytest.fixture
def folder_settings(tmp_path: Path) -> Settings:
    """A store of the test's own, not yet created."""
    return Settings.from_environment({}, tmp_path)
