"""Registered pairs that take noise away, in other people's pipelines."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import isthmus
from isthmus.registry import register_pair
from isthmus.sklearn import Denoiser
from isthmus.spec import Settings
from isthmus.types import DataKind
from tests.unit.sklearn.any_width import OfAnyWidth, passes_own_checks
from tests.untrained import untrained_pair

ROWS = np.random.default_rng(0).standard_normal((40, 6))
FRAME = pd.DataFrame(ROWS, columns=list("abcdef"))


def test_it_gives_the_rows_that_the_pair_denoises(register):
    model = register("clean")
    expected = isthmus.load(model).denoise(ROWS)
    np.testing.assert_array_equal(Denoiser(model).fit_transform(ROWS), expected)
    assert make_pipeline(Denoiser(model), StandardScaler()).fit_transform(ROWS).shape == (40, 6)


def test_columns_of_a_frame_come_out_under_their_names(register):
    model = register("framed")
    found = Denoiser(model).set_output(transform="pandas").fit_transform(FRAME[list("fedcba")])
    assert list(found.columns) == list("abcdef")
    np.testing.assert_allclose(found, isthmus.load(model).denoise(ROWS), atol=1e-6)


def test_images_keep_their_shape(register):
    register("table")  # in whose folder the registry then is
    settings = Settings.from_environment()
    pair = untrained_pair("pictures", settings, shape=(1, 8, 8), kind=DataKind.IMAGES)
    model = str(register_pair(pair, settings))
    images = np.random.default_rng(0).random((3, 8, 8), dtype=np.float32)
    assert Denoiser(model).fit(images).transform(images).shape == (3, 8, 8)


class DenoiserOfAnyWidth(OfAnyWidth, Denoiser):
    """Takes rows of the widths of scikit-learn's checks."""


@pytest.mark.slow
def test_it_passes_all_of_scikit_learns_own_checks(register):
    passes_own_checks(DenoiserOfAnyWidth("width"), register)
