"""Maps of latents in two dimensions."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from isthmus.data import Provenance, read_provenance
from isthmus.embedding.plane import draw, fit_plane
from isthmus.embedding.spool import Spooled
from isthmus.errors import DataError

LATENTS = np.random.default_rng(0).standard_normal((300, 5)).astype(np.float32) * [5, 4, 1, 1, 1]


def spooled(latents, tmp_path):
    return Spooled(np.asarray(latents, dtype=np.float32), tmp_path / "names")


def test_pca_gives_the_first_two_components_up_to_their_signs(tmp_path):
    found = fit_plane("pca", spooled(LATENTS, tmp_path)).places(LATENTS)
    expected = PCA(2).fit_transform(LATENTS)
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-4)


@pytest.mark.parametrize("rows", [1, 2, 40])
def test_latents_of_one_number_and_of_few_rows_have_a_map(tmp_path, rows):
    latents = np.arange(rows, dtype=np.float32)[:, None]
    found = fit_plane("pca", spooled(latents, tmp_path)).places(latents)
    assert found.shape == (rows, 2)
    assert np.isfinite(found).all()
    assert (found[:, 1] == 0).all()


def test_the_picture_is_a_png_that_names_the_pair(tmp_path):
    latents = spooled(LATENTS, tmp_path)
    picture = tmp_path / "z.map.png"
    draw(fit_plane("pca", latents), latents, picture, Provenance("id", "digits/3", "today", {}))
    assert picture.read_bytes().startswith(b"\x89PNG")
    (tmp_path / "z.map.png.pair.json").unlink()
    said = read_provenance(picture)
    assert said is not None
    assert said.pair_id == "id"


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("umap") is None, reason="umap-learn is not installed")
def test_umap_keeps_neighbours_together_and_is_the_same_each_time(tmp_path):
    groups = np.repeat(np.eye(3, 5) * 20, 40, axis=0)
    latents = spooled(groups + np.random.default_rng(0).standard_normal(groups.shape), tmp_path)
    found = fit_plane("umap", latents).places(latents.z_ND)
    np.testing.assert_array_equal(found, fit_plane("umap", latents).places(latents.z_ND))
    near = NearestNeighbors(n_neighbors=6).fit(found).kneighbors(found)[1]
    assert (near // 40 == np.arange(120)[:, None] // 40).all()
    with pytest.raises(DataError, match="UMAP needs at least 5 rows, and there are 3; use --map"):
        fit_plane("umap", spooled(LATENTS[:3], tmp_path))
