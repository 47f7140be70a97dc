"""Two trainings of one job: what the second one's latents say of the first one's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

import isthmus as package
from isthmus.tracking import open_store

pytestmark = pytest.mark.slow
JOB = {
    "name": "twins",
    "data": {"path": "sklearn:digits"},
    "variant": {"name": "plain"},
    "net": {"name": "dense"},
    "latent_dim": 8,
    "training": {"workers": 1, "epochs": 20},
}


def test_a_retrained_pair_gives_latents_that_the_first_ones_decoder_understands(here):
    first = package.train(JOB)
    assert "latent_affine_error" not in first.metrics
    package.promote("twins", 1, undecided=True)
    again = {**JOB, "training": {**JOB["training"], "seed": 1}}
    second = package.train(again)
    errors = {kind: second.metrics[f"latent_{kind}_error"] for kind in ("procrustes", "affine")}
    assert 0 < errors["affine"] < errors["procrustes"] < 1
    run = open_store(package.api._settings()).get_run(second.run_id)
    said = float(run.data.tags["isthmus.latent_affine_error"])
    assert said == pytest.approx(errors["affine"], rel=1e-5)

    rows = load_digits().images.astype(np.float32)
    old = package.load("twins/1")
    mapped = package.load("twins/2", compatible_with="twins/1").encode(rows)
    decoded = np.square(old.decode(mapped).reshape(rows.shape) - rows).mean()
    foreign = package.load("twins/2").encode(rows).values
    wrong = package.registry.Latents(foreign, old.manifest.pair_id)
    nonsense = np.square(old.decode(wrong).reshape(rows.shape) - rows).mean()
    itself = np.square(old.reconstruct(rows) - rows).mean()
    assert itself < decoded < itself + 0.3 * (nonsense - itself)
