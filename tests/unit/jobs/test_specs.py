"""What a job leaves open is settled by its data, and what contradicts itself is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import isthmus
from isthmus.errors import SpecError
from isthmus.jobs.preparation import prepare
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


@pytest.mark.parametrize(
    ("variant", "kind", "loss"),
    [
        ("denoising", "audio", "snr"),
        ("denoising", "series", "mse"),
        ("noise2void", "audio", "mse"),
        ("vae", "audio", "gaussian_nll"),
    ],
)
def test_loud_sounds_do_not_decide_what_is_learned_of_denoising(variant, kind, loss):
    spec = check_job({"name": "a", "data": "x.npz", "variant": variant})
    data = spec.data.model_copy(update={"kind": kind, "scaling": ScalingMode.NONE})
    assert plan_for(spec, data, (1, 64)).reconstruction == loss


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
    "noise in other units": (
        (1, 8, 8),
        {"variant": {"name": "denoising", "level": 25}},
        "25 is 25 times the whole range of the rows; set level_in: data",
    ),
    "noise of other data": (
        (2, 64),
        {"variant": {"name": "denoising", "corruption": "jpeg"}},
        '"jpeg" is noise of images, and the data are series',
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


def test_the_plan_holds_the_noise_that_auto_means_for_the_data():
    found = plan((1, 8, 8), variant="denoising").variant.options
    assert (found["corruption"], found["level"], found["level_in"]) == (
        "gaussian",
        [0.02, 0.22],
        "scaled",
    )


def images(brightest: int, kind: str, **variant):
    """A job on images from black to so bright, read."""
    pixels = np.random.default_rng(0).integers(0, brightest + 1, (60, 8, 8)).astype(kind)
    pixels[:, 0, :2] = 0, brightest
    np.save("images.npy", pixels)
    variant = {"name": "denoising", **variant}
    job = {"name": "a", "data": {"path": "images.npy", "kind": "images"}, "variant": variant}
    found = prepare(check_job(job)).plan.variant.options
    return found["level"], found["level_in"]


def test_the_noise_of_images_is_that_of_the_papers_however_dark_the_training_images_are(here):
    for brightest in (255, 100):
        assert images(brightest, "uint8") == ([5, 55], "data")
    assert images(60_000, "uint16") == ([5 * 257, 55 * 257], "data")


def test_the_noise_of_images_is_a_share_of_their_range_where_white_says_nothing(here):
    for brightest, kind in ((1, "float32"), (4095, "uint16"), (50, "uint8")):
        assert images(brightest, kind) == ([0.02, 0.22], "scaled")
    # Noise that is defined by the range of the rows, and levels that the job gives.
    assert images(100, "uint8", corruption="poisson") == ([0.02, 0.22], "scaled")
    assert images(100, "uint8", level=[0.1, 0.2]) == ([0.1, 0.2], "scaled")


def test_a_level_in_units_of_the_data_is_refused_if_the_rows_have_no_such_range():
    variant = {"name": "denoising", "level": 100, "level_in": "data"}
    job = check_job({"name": "a", "data": "sklearn:digits", "variant": variant})
    with pytest.raises(SpecError) as caught:
        prepare(job)
    said = "variant.level: 100 is 6.25 times the whole range of the rows, 16; lower it"
    assert str(caught.value) == said


def test_noise_that_is_in_the_data_needs_the_clean_rows_and_no_level():
    clean = {"path": "noisy/", "clean_path": "clean/", "kind": "images"}
    job = check_job({"name": "a", "data": clean, "variant": "denoising"})
    data = job.data.model_copy(update={"scaling": ScalingMode.MINMAX})
    assert plan_for(job, data, (1, 8, 8)).variant.options["corruption"] == "none"
    with pytest.raises(SpecError, match="has no effect on the noise of the data; leave it out"):
        check_job({"name": "a", "data": clean, "variant": {"name": "denoising", "level": 0.1}})
    asked = {"name": "denoising", "corruption": "jpeg"}
    job = check_job({"name": "a", "data": clean, "variant": asked})
    assert plan_for(job, data, (1, 8, 8)).variant.options["corruption"] == "jpeg"
    with pytest.raises(SpecError, match=r"none needs clean rows; name them in data\.clean_path"):
        check_job({"name": "a", "data": "x", "variant": {**asked, "corruption": "none"}})


def test_a_module_for_noisy_and_clean_rows_of_ones_own_is_built_without_data():
    module = isthmus.build({"name": "denoising", "corruption": "none"}, row_shape=(6,))
    assert torch.isfinite(module.loss(torch.rand(4, 2, 6)).total)
