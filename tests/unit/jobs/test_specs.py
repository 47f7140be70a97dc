"""What a job leaves open is settled by its data, and what contradicts itself is refused."""

from __future__ import annotations

import numpy as np
import pytest

from isthmus.errors import SpecError
from isthmus.jobs.compare import _bootstrap
from isthmus.jobs.specs import check_job, plan_for


def plan(shape, **job):
    spec = check_job({"name": "a", "data": "x.npz", **job})
    kind = {1: "tabular", 2: "series", 3: "images"}[len(shape)]
    return plan_for(spec, spec.data.model_copy(update={"kind": kind, "scaling": "minmax"}), shape)


@pytest.mark.parametrize(
    ("shape", "latent_dim"), [((3,), 2), ((40,), 10), ((1, 8, 8), 16), ((3, 64, 64), 32)]
)
def test_the_latent_is_a_quarter_of_the_row_within_bounds(shape, latent_dim):
    assert plan(shape).latent_dim == latent_dim


def test_the_net_is_chosen_by_the_kind_of_the_data():
    assert plan((1, 8, 8)).net.name == "conv"
    assert plan((5,)).net.name == "dense"


def test_a_net_that_does_not_take_the_data_is_refused_with_what_does():
    with pytest.raises(SpecError, match='"conv" does not take tabular; use auto or dense'):
        plan((5,), net="conv")


def test_a_bce_loss_wants_values_between_zero_and_one():
    with pytest.raises(SpecError, match=r"set data\.scaling: minmax"):
        check_job(
            {"name": "a", "data": {"path": "x.csv", "scaling": "standard"}, "reconstruction": "bce"}
        )


def test_the_bootstrap_finds_no_difference_in_equal_errors_and_finds_a_real_one():
    errors = np.random.default_rng(0).gamma(2.0, 1.0, 300)
    others = np.roll(errors, 1)  # other rows are easy, the mean is the same
    same = np.quantile(_bootstrap(others, errors, 0), [0.025, 0.975])
    better = np.quantile(_bootstrap(0.9 * errors, errors, 0), [0.025, 0.975])
    assert same[0] < 0 < same[1]
    np.testing.assert_allclose(better, 0.1)
