"""What a job leaves open is settled by its data, and what contradicts itself is refused."""

from __future__ import annotations

import pytest

from isthmus.errors import SpecError
from isthmus.jobs.specs import check_job, plan_for
from isthmus.types import ScalingMode


def plan(shape, **job):
    spec = check_job({"name": "a", "data": "x.npz", **job})
    kind = {1: "tabular", 2: "series", 3: "images"}[len(shape)]
    return plan_for(
        spec, spec.data.model_copy(update={"kind": kind, "scaling": ScalingMode.MINMAX}), shape
    )


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


def test_a_likelihood_learns_its_variance_unless_the_job_says_otherwise():
    assert plan((5,), variant="vae").reconstruction == "gaussian_nll"
    assert plan((5,)).reconstruction == "mse"
    assert plan((5,), variant="vae", reconstruction="bce").reconstruction == "bce"


REFUSALS = {
    "masked on one column": ((1,), {"variant": "masked"}, "use plain"),
    "vit on series": ((2, 64), {"net": "vit"}, '"vit" does not take series; use auto or'),
    "skips and a prior": ((1, 8, 8), {"net": "unet", "variant": "vae"}, "learn to copy; use"),
    "a latent of a net's own size": (
        (1, 8, 8),
        {"net": "unet", "variant": "denoising", "latent_dim": 4},
        "use latent_dim: auto",
    ),
    "neighbours in a table": ((5,), {"variant": "noise2void"}, "does not take tabular"),
    "one look for two": ((5,), {"variant": "noise2noise"}, "data.paired_path"),
    "whole-row loss, masked numbers": (
        (1, 8, 8),
        {"variant": "masked", "reconstruction": "ssim"},
        "use l1",
    ),
    "likeness of tables": ((5,), {"reconstruction": "ssim"}, "use mse"),
    "places that do not divide": (
        (1, 8, 8),
        {"net": {"name": "conv", "bottleneck": "spatial"}, "latent_dim": 7},
        "use ",
    ),
    "tied weights of convolutions": (
        (1, 8, 8),
        {"variant": {"name": "plain", "tied": True}, "net": "conv"},
        "use net dense",
    ),
}


@pytest.mark.parametrize(("shape", "job", "instead"), REFUSALS.values(), ids=REFUSALS.keys())
def test_what_does_not_go_together_is_refused_with_what_does(shape, job, instead):
    with pytest.raises(SpecError) as caught:
        plan(shape, **job)
    assert instead in str(caught.value)
