"""`mlflow models serve` serves the halves of a pair, and its score, without a change."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest

import isthmus
from isthmus.registry import register_pair
from isthmus.servers import free_port, run_server
from isthmus.spec import Settings
from tests.untrained import untrained_pair

pytestmark = pytest.mark.slow
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    settings = Settings.from_environment({}, tmp_path_factory.mktemp("models"))
    register_pair(untrained_pair("six", settings), settings)
    isthmus.promote("six", 1, settings=settings, force=True, why="a test")
    return settings


@contextmanager
def served(model: str, settings: Settings) -> Iterator[str]:
    """Runs MLflow's own server of a model; yields the address that it takes rows at."""
    port = free_port("127.0.0.1")
    command = [
        *(sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", model),
        *("--port", str(port), "--host", "127.0.0.1", "--env-manager", "local"),
    ]
    environment = {
        "MLFLOW_TRACKING_URI": settings.tracking_uri,
        "MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT": "120",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    url = f"http://127.0.0.1:{port}"
    log = settings.home / "serve.log"
    with run_server(
        "model server", command, health=f"{url}/ping", log=log, environment=environment
    ):
        yield f"{url}/invocations"


def ask(url: str, rows: np.ndarray) -> object:
    answer = httpx.post(url, json={"inputs": rows.tolist()}, timeout=120)
    assert answer.status_code == 200, answer.text
    return answer.json()["predictions"]


def test_mlflow_serves_the_score_of_the_champion(settings):
    pair = isthmus.load("six", device="cpu", settings=settings)
    rows = RNG.normal(size=(20, 6)).astype(np.float32)
    with served("models:/six-decoder@champion/data/pair", settings) as url:
        found = ask(url, rows)
    expected = pair.detect(rows)
    np.testing.assert_allclose([row["score"] for row in found], expected.scores, rtol=1e-4)
    np.testing.assert_allclose([row["p_value"] for row in found], expected.p_values, rtol=1e-4)
    assert [row["anomaly"] for row in found] == expected.anomalies.tolist()


def test_mlflow_serves_both_halves_of_the_champion(settings):
    pair = isthmus.load("six", device="cpu", settings=settings)
    rows = RNG.normal(size=(4, 6)).astype(np.float32)
    expected = pair.encode(rows)
    with served("models:/six-encoder@champion", settings) as url:
        latents = np.array(ask(url, rows), dtype=np.float32)
    np.testing.assert_allclose(latents, expected.values, atol=1e-5)
    with served("models:/six-decoder@champion", settings) as url:
        decoded = ask(url, latents)
    np.testing.assert_allclose(decoded, pair.decode(expected), atol=1e-4)
