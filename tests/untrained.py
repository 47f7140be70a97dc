"""Pairs of weights as they are drawn: what the registry does with them is the same, without Ray."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from isthmus import variants
from isthmus.core import Autoencoder, CodedAutoencoder, IntTable
from isthmus.data import moments_of, open_rows, read_opened, remembered
from isthmus.jobs.specs import check_job, plan_for
from isthmus.registry import Pair, PairManifest, RegisteredPair, TrainedPair, register_pair
from isthmus.scores import detector_of
from isthmus.spec import DataSpec, RowSchema, Settings
from isthmus.tracking import RunLog
from isthmus.types import DataKind, ScalingMode, Shape


def untrained_pair(
    name: str,
    settings: Settings,
    seed: int = 0,
    *,
    shape: Shape = (6,),
    kind: DataKind = DataKind.TABULAR,
    **job: object,
) -> TrainedPair:
    """Ready to register, with a run of its own."""
    # The score that needs no rows to be fitted to.
    plain = {"data": {"path": "rows.csv"}, "latent_dim": 2, "scoring": "own"}
    spec = check_job({"name": name, **plain, **job})
    data = spec.data.model_copy(update={"kind": kind, "scaling": ScalingMode.STANDARD})
    torch.manual_seed(seed)
    module = variants.build(plan_for(spec, data, shape)).eval()
    detector = detector_of(module)
    detector.calibration.fit(torch.rand(50))
    log = RunLog.start(spec, settings)
    log.finish()
    example = np.random.default_rng(seed).standard_normal((50, *shape)).astype(np.float32)
    return TrainedPair(
        detector=detector,
        spec=spec,
        data=data,
        fingerprint="0" * 64,
        metrics={"test/reconstruction_mse": 0.5, "test/pca_mse": 0.6},
        run_id=log.run_id,
        example=example,
        code_tables=code_tables_of(module, example),
    )


def code_tables_of(module: Autoencoder, rows: NDArray[np.float32]) -> tuple[IntTable, ...]:
    """Returns the tables of a module whose latent is whole numbers; none of others."""
    if not isinstance(module, CodedAutoencoder):
        return ()
    with torch.inference_mode():
        streams = module.symbols(torch.from_numpy(rows)) if module.TABLES_FROM_ROWS else []
        return tuple(module.code_tables(streams))


def manifest_of(
    module: Autoencoder, data: DataSpec, schema: RowSchema | None = None
) -> PairManifest:
    """Returns the manifest of a pair that is in no registry."""
    halves = {"encoder": "m-0", "decoder": "m-1"}
    return PairManifest.model_validate(
        {
            **{"pair_id": "0123456789abcdef", "name": "plant", "plan": module.plan},
            **{"data": data, "spec": {}, "fingerprint": "", "sha256": halves, "models": halves},
            **{"run_id": "", "metrics": {}, "isthmus_version": "", "libraries": {}, "created": ""},
            "row_schema": schema,
        }
    )


def pair_of(path: str, *, net: str = "auto", variant: str | None = None, **data: object) -> Pair:
    """A pair of drawn weights that remembers the rows of a file."""
    of_net = {"latent_dim": 2} if net == "auto" else {"net": net, "variant": "denoising"}
    if variant is not None:
        of_net["variant"] = variant
    spec = check_job({"name": "plant", "data": {"path": path, **data}, **of_net})
    source, settled = open_rows(spec.data)
    rows = read_opened(source, settled)
    torch.manual_seed(0)
    module = variants.build(plan_for(spec, settled, rows.values.shape[1:])).eval()
    detector = detector_of(module)
    with torch.inference_mode():
        detector.calibration.fit(detector.score(torch.from_numpy(np.nan_to_num(rows.values))))
    manifest = manifest_of(
        module, settled, remembered(source.schema, moments_of(rows.values), rows.values)
    )
    # What a pair remembers must survive its file.
    again = PairManifest.model_validate_json(manifest.model_dump_json())
    assert again.model_dump_json() == manifest.model_dump_json()
    return Pair(detector, again, "plant/1", code_tables_of(module, np.nan_to_num(rows.values)))


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


def plant_frame(generator: np.random.Generator, rows: int) -> pd.DataFrame:
    """Returns readings of a plant: two numbers and a category."""
    return pd.DataFrame(
        {
            "flow": generator.normal(100, 10, rows),
            "heat": generator.normal(20, 2, rows),
            "colour": generator.choice(["red", "green"], rows),
        }
    )
