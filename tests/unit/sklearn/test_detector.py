"""Registered pairs as outlier detectors in other people's pipelines."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score

import isthmus
from isthmus.errors import DataError, UsageError
from isthmus.sklearn import AutoencoderDetector
from tests.unit.sklearn.any_width import OfAnyWidth, passes_own_checks

ROWS = np.random.default_rng(0).standard_normal((60, 6))
ROWS[:5] *= 50
FRAME = pd.DataFrame(ROWS, columns=list("abcdef"))


def test_it_flags_the_rows_that_the_pair_flags(register):
    model = register("flagging")
    found = AutoencoderDetector(model).fit(ROWS)
    pair = isthmus.load(model)
    expected = pair.detect(ROWS)
    assert expected.anomalies.any()
    np.testing.assert_array_equal(found.predict(ROWS), np.where(expected.anomalies, -1, 1))
    np.testing.assert_array_equal(found.score_samples(ROWS), -expected.scores.astype(float))
    np.testing.assert_allclose(
        found.decision_function(ROWS), pair.threshold - expected.scores, rtol=1e-6
    )
    assert roc_auc_score(np.arange(60) < 5, -found.score_samples(ROWS)) == 1


def test_columns_of_a_frame_are_scored_by_name(register):
    model = register("scored")
    found = AutoencoderDetector(model).fit(FRAME)
    np.testing.assert_allclose(
        found.score_samples(FRAME[list("fedcba")].assign(id="x")), found.score_samples(FRAME)
    )
    with pytest.raises(DataError, match='no column "c", which the model was trained on'):
        found.predict(FRAME.drop(columns="c"))


def test_a_contamination_is_the_share_of_the_fitted_rows_that_are_outliers(register):
    model = register("contaminated")
    found = AutoencoderDetector(model, contamination=0.1)
    assert (found.fit_predict(ROWS) == -1).sum() == 6
    assert (found.predict(ROWS) == -1).sum() == 6


@pytest.mark.parametrize("share", [0, 0.6, "some"])
def test_a_contamination_that_is_no_share_is_refused(register, share):
    with pytest.raises(UsageError, match=f"contamination={share!r} is neither auto nor a share"):
        AutoencoderDetector(register("refusing"), contamination=share).fit(ROWS)


def test_it_keeps_its_version_and_its_cut_in_a_pickle(register):
    fitted = AutoencoderDetector(register("kept"), contamination=0.2).fit(ROWS)
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict(ROWS), fitted.predict(ROWS))
    assert again.model_ == "kept/1"
    with pytest.raises(NotFittedError):
        clone(fitted).predict(ROWS)


# Scores are computed in float32, whose last digits depend on the rows of a batch; the check
# allows a difference of 1e-7.
MAY_FAIL = {
    "check_methods_subset_invariance": "the last digits of float32 depend on the batch",
}


class DetectorOfAnyWidth(OfAnyWidth, AutoencoderDetector):
    """Takes rows of the widths of scikit-learn's checks."""


@pytest.mark.slow
@pytest.mark.parametrize("contamination", ["auto", 0.1])
def test_it_passes_all_of_scikit_learns_own_checks(register, contamination):
    passes_own_checks(DetectorOfAnyWidth("width", contamination=contamination), register, MAY_FAIL)
