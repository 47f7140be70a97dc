from __future__ import annotations

import time

import numpy as np
import pytest

from isthmus.tracking import fit_pca


def _low_rank(rows: int, features: int, rank: int, noise: float = 0.05) -> np.ndarray:
    random = np.random.default_rng(0)
    values = random.standard_normal((rows, rank)) @ random.standard_normal((rank, features))
    values += noise * random.standard_normal(values.shape)
    return values.astype(np.float32)


@pytest.mark.parametrize("features", [20, 900], ids=["exact solver", "randomized solver"])
def test_errors_are_those_of_the_best_linear_reconstruction(features):
    values = _low_rank(400, features, 6)
    train, evaluation = values[:300], values[300:]
    errors = fit_pca(train, latent_dim=3).errors(evaluation)
    mean = train.mean(axis=0, dtype=np.float64)
    axes = np.linalg.svd(train - mean, full_matrices=False)[2][:3]
    best = (evaluation - mean) @ axes.T @ axes + mean
    expected = np.square(best - evaluation).mean(axis=1)
    np.testing.assert_allclose(errors, expected, rtol=0.02)


def test_rows_of_any_shape_come_back_in_their_shape():
    images = np.random.default_rng(0).random((50, 3, 8, 8), dtype=np.float32)
    baseline = fit_pca(images, latent_dim=4)
    reconstructed = baseline.reconstruct(images[:10])
    assert reconstructed.shape == (10, 3, 8, 8)
    expected = np.square(reconstructed - images[:10]).reshape(10, -1).mean(axis=1)
    np.testing.assert_allclose(baseline.errors(images[:10]), expected, rtol=1e-4)


@pytest.mark.parametrize(("rows", "features"), [(5, 40), (40, 5)], ids=["few rows", "few features"])
def test_a_latent_larger_than_the_data_keeps_all_there_is(rows, features):
    train = np.random.default_rng(0).random((rows, features), dtype=np.float32)
    baseline = fit_pca(train, latent_dim=32)
    assert baseline.components.shape == (5, features)
    np.testing.assert_allclose(baseline.errors(train), 0, atol=1e-6)


def test_a_large_data_set_is_thinned_out_and_fitted_in_seconds():
    train = _low_rank(120_000, 64, 6)
    began_s = time.process_time()
    baseline = fit_pca(train, latent_dim=6)
    assert time.process_time() - began_s < 5
    assert baseline.fit_rows <= 20_000
    assert baseline.errors(train[:1000]).mean() == pytest.approx(0.05**2 * 58 / 64, rel=0.05)
