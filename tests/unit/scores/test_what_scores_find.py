"""Each score finds what it says that it finds, in planted anomalies."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from isthmus import scores, variants
from isthmus.core import Autoencoder
from isthmus.scores import Score, Views
from isthmus.spec import DataSpec, JobSpec, ModelPlan, PluginSpec
from isthmus.types import DataKind, ReconstructionLoss

FEATURES = 6
DRAW = np.random.default_rng(0)
# Normal rows lie in two clusters of a plane within six dimensions, with little noise around it.
PLANE = np.linalg.qr(DRAW.standard_normal((FEATURES, 2)))[0].T
MIDDLES = np.array([[-4.0, 0.0], [4.0, 0.0]])


def on_the_plane(points: np.ndarray) -> torch.Tensor:
    rows = points @ PLANE + 0.05 * DRAW.standard_normal((len(points), FEATURES))
    return torch.from_numpy(rows.astype(np.float32))


def normal_rows(count: int) -> torch.Tensor:
    cluster = DRAW.integers(0, 2, count)
    return on_the_plane(MIDDLES[cluster] + 0.5 * DRAW.standard_normal((count, 2)))


def off_the_manifold(count: int) -> torch.Tensor:
    away = DRAW.standard_normal((count, FEATURES))
    away -= away @ PLANE.T @ PLANE
    away *= 1.5 / np.linalg.norm(away, axis=1, keepdims=True)
    return normal_rows(count) + torch.from_numpy(away.astype(np.float32))


def far_in_the_latent(count: int) -> torch.Tensor:
    return on_the_plane(np.array([0.0, 9.0]) + 0.5 * DRAW.standard_normal((count, 2)))


def between_the_clusters(count: int) -> torch.Tensor:
    return on_the_plane(0.4 * DRAW.standard_normal((count, 2)))


PLANTED = {
    "off the manifold": off_the_manifold,
    "far in the latent": far_in_the_latent,
    "in the gap": between_the_clusters,
}
FOUND = {
    "own": ["off the manifold"],
    "reconstruction": ["off the manifold"],
    "denoising": ["off the manifold"],
    "latent_density": ["far in the latent", "in the gap"],
    "neighbours": list(PLANTED),
    "kernel_denoising": list(PLANTED),
    "consensus": list(PLANTED),
}


@pytest.fixture(scope="module")
def module() -> Autoencoder:
    """A linear autoencoder that maps rows to the plane and back, exactly."""
    plan = ModelPlan(
        kind=DataKind.TABULAR,
        row_shape=(FEATURES,),
        latent_dim=2,
        variant=PluginSpec(name="plain"),
        net=PluginSpec(name="dense", options={"hidden": []}),
        reconstruction=ReconstructionLoss.MSE,
    )
    built = variants.build(plan).eval()
    plane = torch.from_numpy(PLANE.astype(np.float32))
    with torch.no_grad():
        for half, matrix in ((built.encoder, plane), (built.decoder, plane.T)):
            (linear,) = [each for each in half.modules() if isinstance(each, torch.nn.Linear)]
            linear.weight.copy_(matrix)
            linear.bias.zero_()
    return built


def fitted(name: str, module: Autoencoder, rows: int = 400, **options: object) -> Score:
    score = scores.build(PluginSpec(name=name, options=options))
    with torch.no_grad():
        score.fit(Views(module, normal_rows(rows)), Views(module, normal_rows(40)), seed=0)
    return score.eval()


def auroc(score: Score, module: Autoencoder, strange: torch.Tensor) -> float:
    usual = normal_rows(200)
    with torch.inference_mode():
        found = score(Views(module, torch.cat([usual, strange])))
    return float(roc_auc_score([0] * len(usual) + [1] * len(strange), found.numpy()))


def test_every_score_is_told_what_it_finds() -> None:
    assert set(FOUND) == set(scores.names())


@pytest.mark.parametrize(
    ("name", "what"), [(name, what) for name, each in FOUND.items() for what in each]
)
def test_a_score_finds_what_it_is_for(name: str, what: str, module: Autoencoder) -> None:
    assert auroc(fitted(name, module), module, PLANTED[what](100)) > 0.97


def test_the_reconstruction_error_alone_is_blind_to_gaps(module: Autoencoder) -> None:
    assert auroc(fitted("reconstruction", module), module, between_the_clusters(100)) < 0.7


@pytest.mark.parametrize("name", ["neighbours", "kernel_denoising", "consensus"])
def test_a_memory_holds_no_more_rows_than_asked(name: str, module: Autoencoder) -> None:
    score = fitted(name, module, rows=300, memory=32)
    memories = [kept for at, kept in score.state_dict().items() if at.endswith("memory")]
    assert memories
    assert all(len(kept) == 32 for kept in memories)


def test_few_held_out_rows_do_not_tie_the_strangest_rows(module: Autoencoder) -> None:
    score = scores.build(PluginSpec(name="consensus"))
    with torch.no_grad():
        score.fit(Views(module, normal_rows(20)), Views(module, normal_rows(1)), seed=0)
        stranger = normal_rows(1) + torch.tensor([1e1, 1e2, 1e3, 1e4, 1e6, 1e9])[:, None]
        found = score(Views(module, stranger))
    assert (found.diff() > 0).all()


def test_each_feature_is_weighed_by_its_own_usual_error(module: Autoencoder) -> None:
    noisy = torch.tensor([10.0, 1, 1, 1, 1, 1])
    rows = 0.1 * torch.randn(500, FEATURES, generator=torch.Generator().manual_seed(0)) * noisy
    score = scores.build(PluginSpec(name="reconstruction"))
    strange = rows[:1].clone()
    strange[0, 3] += 1.0
    usual = rows[1:2].clone()
    usual[0, 0] += 1.0
    with torch.no_grad():
        score.fit(Views(module, rows[:400]), Views(module, rows[400:]), seed=0)
        assert score(Views(module, strange)) > score(Views(module, usual))


def test_a_job_that_says_nothing_is_scored_by_auto() -> None:
    assert JobSpec(name="job", data=DataSpec(path="rows.csv")).scoring.name == "auto"


@pytest.mark.parametrize("name", ["neighbours", "kernel_denoising", "consensus"])
def test_a_row_scores_the_same_among_many_rows_and_alone(name: str, module: Autoencoder) -> None:
    score, rows = fitted(name, module, memory=32), normal_rows(1200)
    with torch.inference_mode():
        together = score(Views(module, rows))
        alone = torch.cat([score(Views(module, row[None])) for row in rows[::37]])
    np.testing.assert_allclose(together[::37], alone, rtol=1e-4, atol=1e-5)
