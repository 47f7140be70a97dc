"""Maps between latent spaces: exact where the spaces are one, honest where they are not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ortho_group

from isthmus.core.alignment import LatentMap, fit_affine, fit_procrustes, unexplained_share

RANDOM = np.random.default_rng(0)
Z = RANDOM.normal(size=(400, 8)) @ RANDOM.normal(size=(8, 8)) + 3


def fit(kind: str, z, y) -> LatentMap:
    return fit_affine(z, y) if kind == "affine" else fit_procrustes(z, y)[0]


@pytest.mark.parametrize("kind", ["procrustes", "affine"])
def test_a_rotated_moved_and_enlarged_space_is_found_to_float_precision(kind):
    rotation = ortho_group.rvs(8, random_state=1)
    y = (2.5 * Z @ rotation - 7).astype(np.float32)
    found = fit(kind, Z.astype(np.float32), y)
    np.testing.assert_allclose(found.matrix, 2.5 * rotation, atol=2e-6)
    np.testing.assert_allclose(found.apply(Z), y, atol=2e-5)
    assert unexplained_share(found, Z, y) < 1e-12


def test_the_scale_of_the_procrustes_map_is_by_how_much_distances_grow():
    _, scale = fit_procrustes(Z, 2.5 * Z @ ortho_group.rvs(8, random_state=1))
    assert scale == pytest.approx(2.5)


def test_only_the_affine_map_undoes_a_shear():
    y = Z @ RANDOM.normal(size=(8, 8))
    assert unexplained_share(fit("affine", Z, y), Z, y) < 1e-9
    assert unexplained_share(fit("procrustes", Z, y), Z, y) > 0.05


@pytest.mark.parametrize("sizes", [(8, 5), (5, 8)], ids=["fewer numbers", "more numbers"])
@pytest.mark.parametrize("kind", ["procrustes", "affine"])
def test_spaces_of_other_sizes_are_laid_into_one_another(kind, sizes):
    """Latents of which only the first five carry anything, rotated within the larger space."""
    small = RANDOM.normal(size=(400, 5))
    large = np.pad(small, ((0, 0), (0, 3))) @ ortho_group.rvs(8, random_state=2)
    z, y = (large, small) if sizes == (8, 5) else (small, large)
    found = fit(kind, z, y)
    assert found.matrix.shape == sizes
    assert unexplained_share(found, z, y) < 1e-12


def test_dead_numbers_and_few_rows_do_not_let_the_affine_map_grow():
    z = np.pad(RANDOM.normal(size=(30, 20)), ((0, 0), (0, 12)))
    y = z[:, :4] + 0.01 * RANDOM.normal(size=(30, 4))
    found = fit_affine(z[:20], y[:20])
    assert np.isfinite(found.matrix).all()
    assert np.abs(found.matrix).max() < 10
    assert unexplained_share(found, z[20:], y[20:]) < 2


def test_unrelated_spaces_are_not_explained():
    other = RANDOM.normal(size=(400, 8))
    for kind in ("procrustes", "affine"):
        assert unexplained_share(fit(kind, Z[:200], other[:200]), Z[200:], other[200:]) > 0.9


def test_maps_follow_one_another_and_lead_back():
    first, second = fit_affine(Z, Z @ RANDOM.normal(size=(8, 8)) + 1), fit_procrustes(Z, Z[::-1])[0]
    whole = first.then(second)
    np.testing.assert_allclose(whole.apply(Z), second.apply(first.apply(Z)), rtol=1e-3, atol=1e-3)
    back = whole.inverse()
    assert back is not None
    np.testing.assert_allclose(back.apply(whole.apply(Z)), Z, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "matrix",
    [np.ones((3, 2)), np.diag([1.0, 1.0, 0.0]), np.zeros((2, 2))],
    ids=["fewer numbers", "a dead number", "nothing"],
)
def test_a_map_that_loses_something_has_no_way_back(matrix):
    assert LatentMap(matrix, np.zeros(matrix.shape[1])).inverse() is None
