"""Indexes of latents: what they find, and what is refused."""

from __future__ import annotations

import json

import faiss
import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from isthmus.data import Provenance
from isthmus.embedding import index as module
from isthmus.embedding.index import LatentIndex, write_index
from isthmus.embedding.spool import open_spool
from isthmus.errors import DataError, UsageError

LATENTS = np.random.default_rng(0).standard_normal((500, 6)).astype(np.float32)
PROVENANCE = Provenance("id", "digits/3", "today", {"space": "digits/1", "space_id": "older"})


def written(folder, latents=LATENTS, metric="l2"):
    """Writes the index of latents whose rows have names."""
    with open_spool(folder / "z.parquet") as spool:
        for first in range(0, len(latents), 200):
            part = latents[first : first + 200]
            numbers = np.arange(first, first + len(part))
            spool.add({"row": numbers, "file": numbers.astype(str), "latent": part})
        write_index(spool.finish(), folder / "z.index", metric, PROVENANCE)
    return folder / "z.index"


@pytest.mark.parametrize(("metric", "of_sklearn"), [("l2", "euclidean"), ("cosine", "cosine")])
@pytest.mark.parametrize("asked", ["when written", "when searched"])
def test_it_finds_the_nearest_latents_and_says_how_far_they_are(
    tmp_path, metric, of_sklearn, asked
):
    if asked == "when written":
        index = LatentIndex(written(tmp_path, metric=metric))
    else:
        other = "l2" if metric == "cosine" else "cosine"
        index = LatentIndex(written(tmp_path, metric=other)).measuring(metric)
    rows = LATENTS[:20] + 0.1
    found = index.nearest(rows, 7)
    reference = NearestNeighbors(n_neighbors=7, metric=of_sklearn).fit(LATENTS)
    distances, positions = reference.kneighbors(rows)
    np.testing.assert_array_equal(found.positions_QK, positions)
    np.testing.assert_allclose(found.distances_QK, distances, atol=2e-3)


def test_a_large_index_looks_through_lists_and_finds_nearly_all(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_MOST_ROWS_EXACT", 10_000)
    generator = np.random.default_rng(1)
    centres = generator.standard_normal((40, 12)) * 3
    latents = centres[generator.integers(40, size=20_000)] + generator.standard_normal((20_000, 12))
    latents = latents.astype(np.float32)
    index = LatentIndex(written(tmp_path, latents))
    found = index.nearest(latents[:200], 10).positions_QK
    exact = NearestNeighbors(n_neighbors=10).fit(latents).kneighbors(latents[:200])[1]
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, exact, strict=True)])
    assert recall > 0.95
    with pytest.raises(UsageError, match=r"near by l2; .* isthmus embed --index --metric cosine"):
        index.measuring("cosine")


def test_it_keeps_the_names_of_rows_and_is_a_file_that_faiss_reads(tmp_path):
    folder = written(tmp_path)
    index = LatentIndex(folder)
    names = index.names(np.array([3, 499]))
    assert names["row"].tolist() == [3, 499]
    assert names["file"].tolist() == ["3", "499"]
    assert faiss.read_index(str(folder / "vectors.faiss")).ntotal == len(index) == 500
    assert (index.space, index.space_id) == ("digits/1", "older")
    assert index.nearest(LATENTS[:1], 1000).positions_QK.shape == (1, 500)


def test_a_damaged_index_is_refused_in_one_line(tmp_path):
    folder = written(tmp_path)
    vectors = (folder / "vectors.faiss").read_bytes()
    for damage in (vectors[:100], vectors[:-50], b""):
        (folder / "vectors.faiss").write_bytes(damage)
        with pytest.raises(DataError, match="is no whole index of latents; write it again"):
            LatentIndex(folder)
    (folder / "vectors.faiss").write_bytes(vectors)
    (folder / "index.json").write_text(json.dumps({"format": 2}))
    with pytest.raises(DataError, match="is an index of format 2, and this Isthmus reads 1"):
        LatentIndex(folder)
    (folder / "index.json").write_text("[")
    with pytest.raises(DataError, match="is no whole index"):
        LatentIndex(folder)
    with pytest.raises(DataError, match="gone: is no index; isthmus embed --index writes"):
        LatentIndex(tmp_path / "gone")


def test_an_index_that_does_not_fit_in_memory_is_refused_with_its_size(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "free_memory_bytes", lambda: 1000)
    with pytest.raises(DataError, match=r"the index of 500 latents of 6 numbers takes 16 KiB"):
        written(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_latents_that_are_not_finite_are_refused_with_their_row(tmp_path):
    latents = LATENTS.copy()
    latents[333, 2] = np.inf
    with pytest.raises(DataError, match="the latent of row 333"):
        written(tmp_path, latents)
