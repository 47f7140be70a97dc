"""Jobs on patches of images of any size, and on noisy rows with clean versions beside them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import isthmus
from isthmus.bundle.held_out import Places
from isthmus.errors import SpecError
from isthmus.jobs.held_out import draw_sample
from isthmus.jobs.preparation import Prepared, prepare
from isthmus.jobs.specs import check_job
from isthmus.loaders.scaled_rows import are_patches
from isthmus.spec import JobSpec, Settings
from isthmus.tracking import fit_pca
from tests.conftest import run_command

RNG = np.random.default_rng(0)
SMALL_NET = {"name": "unet", "channels": [4, 4], "skip_channels": 2}


def job(path: str = "photos", variant: Any = "denoising", **data: Any) -> JobSpec:
    return check_job(
        {
            "name": "photos",
            "data": {"path": path, "patch": 16, **data},
            "variant": variant,
            "net": SMALL_NET,
            "training": {"epochs": 2, "global_batch_size": 128},
        }
    )


def photos(folder: str, count: int = 16, change: Callable[[Any], Any] = lambda x: x) -> None:
    """Smooth pictures of several sizes, the same in every folder but for the change."""
    Path(folder).mkdir()
    for number in range(count):
        height, width = 20 + number % 3, 24 + number % 5
        y, x = np.mgrid[:height, :width]
        shades = 128 + 80 * np.sin(x / 4 + number) * np.cos(y / (3 + number % 4))
        pixels = np.clip(change(shades), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(Path(folder) / f"{number:02}.png")


def noisy(shades: Any) -> Any:
    return shades + 30 * RNG.standard_normal(shades.shape)


@pytest.fixture
def prepared(here: Path) -> Prepared:
    photos("photos", change=noisy)
    photos("clean")
    return prepare(job(clean_path="clean"))


# -- what does not go together -----------------------------------------------------------------


def faults(**content: Any) -> list[str]:
    with pytest.raises(SpecError) as caught:
        check_job({"name": "a", "variant": "denoising", **content})
    return [str(fault) for fault in caught.value.faults]


def test_what_does_not_go_with_patches_is_told_all_at_once() -> None:
    told = faults(
        data={"path": "p", "patch": 32, "image_size": [64, 64], "kind": "series"},
        variant="plain",
        net="dense",
    )
    assert told == [
        "data.image_size: resizes images, and data.patch leaves them at their size; leave one out",
        "data.patch: is cut out of images, and this is series; use data.window",
        'variant: "plain" has a bottleneck of one size, and data.patch makes a pair for images of '
        "any size; use denoising, hyperprior, masked, noise2noise, noise2void, or data.image_size "
        "instead of data.patch",
        'net: "dense" takes images of one size, and data.patch makes a pair for images of any '
        "size; use auto or dncnn, drunet, unet",
    ]


def test_what_is_about_patches_needs_them() -> None:
    told = faults(data={"path": "p", "augment": ["flip"], "patches_per_epoch": 10})
    message = "is about patches of images; set data.patch, or leave it out"
    assert told == [f"data.augment: {message}", f"data.patches_per_epoch: {message}"]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"patch": 4}, "data.patch: 4 is not allowed; use greater than or equal to 8"),
        ({"patch": 2048}, "data.patch: 2048 is not allowed; use less than or equal to 1024"),
        ({"patch": 16, "augment": ["spin"]}, "data.augment"),
    ],
    ids=str,
)
def test_values_out_of_range_are_refused(data: dict[str, Any], told: str) -> None:
    assert told in faults(data={"path": "p", **data})[0]


def test_clean_rows_are_for_the_variant_that_learns_from_them() -> None:
    assert faults(data={"path": "a.npy", "clean_path": "b.npy"}, variant="plain") == [
        "data.clean_path: plain does not learn from clean rows; leave it out, or use variant "
        "denoising"
    ]


def test_the_net_of_images_of_any_size_is_chosen_by_itself(here: Path) -> None:
    photos("photos")
    spec = check_job({"name": "a", "data": {"path": "photos", "patch": 16}, "variant": "denoising"})
    assert prepare(spec).plan.net.name == "drunet"


# -- preparation -------------------------------------------------------------------------------


def test_a_job_on_patches_is_prepared_with_bounded_samples_and_the_places_of_its_images(
    here: Path,
) -> None:
    photos("photos")
    found = prepare(job())
    assert found.plan.row_shape == (1, 16, 16)
    assert are_patches(found.scaled.train)
    assert found.split_sizes["train"] == 2048
    assert found.first_view.shape[1:] == (1, 16, 16)
    assert 0 <= found.first_view.min() < found.first_view.max() <= 1
    assert found.calibration is found.validation  # no image is kept from training for scores
    assert found.clean_test is None
    sample = draw_sample(found, fit_pca(found.first_view, 8))
    assert isinstance(sample.places, Places)
    other_seed = prepare(job().model_copy(update={"training": job().training.model_copy(
        update={"seed": 3})}))  # fmt: skip
    theirs = draw_sample(other_seed, fit_pca(found.first_view, 8)).places
    assert theirs is not None
    unseen = sample.places.unseen_by(theirs)
    trained = set(theirs.trained.tolist())
    assert unseen.tolist() == [place not in trained for place in sample.places.of_rows.tolist()]


def test_patches_of_images_with_other_labels_are_kept_for_the_gate(here: Path) -> None:
    Path("photos").mkdir()
    photos("photos/sharp")
    photos("photos/blurred", 5, lambda shades: shades / 2)
    found = prepare(job(labels="folder", keep_labels=["sharp"]))
    assert found.test_labels is not None
    assert set(found.test_labels) == {"sharp"}
    sample = draw_sample(found, fit_pca(found.first_view, 8))
    assert sample.others.shape == (5, 1, 16, 16)
    assert sample.others.max() < 110


def test_the_job_says_how_many_patches_an_epoch_has(here: Path) -> None:
    photos("photos")
    assert prepare(job(patches_per_epoch=300)).split_sizes["train"] == 300


def test_clean_versions_go_with_the_rows_of_every_part(prepared: Prepared) -> None:
    train = prepared.scaled.train
    assert train.shape == (2048, 2, 1, 16, 16)
    assert prepared.scaled.validation.shape == (len(prepared.validation), 2, 1, 16, 16)
    assert prepared.first_view.shape[1:] == (1, 16, 16)
    for rows, clean in (
        (prepared.validation, prepared.clean_validation),
        (prepared.test, prepared.clean_test),
    ):
        assert clean is not None
        assert clean.shape == rows.shape
        assert 100 < np.square(rows - clean).mean() < 1000  # noise of 30, clipped at the ends


def test_rows_that_are_no_patches_have_clean_versions_too(here: Path) -> None:
    clean = RNG.standard_normal((200, 6)).astype(np.float32)
    np.save("clean.npy", clean)
    np.save("noisy.npy", clean + 1)
    spec = check_job(
        {"name": "a", "data": {"path": "noisy.npy", "clean_path": "clean.npy"},
         "variant": "denoising"}
    )  # fmt: skip
    found = prepare(spec)
    assert found.scaled.train.shape[1:] == (2, 6)
    assert found.clean_test is not None
    np.testing.assert_array_equal(found.clean_test + 1, found.test)


# -- training ----------------------------------------------------------------------------------


def settings() -> Settings:
    return Settings.from_environment({}, Path.cwd())


def test_a_denoiser_of_photos_of_any_size_trains_and_takes_photos_of_any_size(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photos("photos")
    result = isthmus.train(job(augment=["flip", "turn"]), settings=settings())
    assert result.pair is not None
    assert np.isfinite(result.metrics["validation/loss"])
    pair = isthmus.load("photos/1", settings=settings())
    assert pair.manifest.data.patch == 16
    assert pair.manifest.detector.scoring.name == "own"  # others are for one size of images
    photos("new", 4, noisy)
    Image.fromarray(np.full((5, 7), 90, np.uint8)).save("new/tiny.png")  # smaller than a patch
    done = run_command(
        monkeypatch, capsys, "denoise", "--model", "photos/1", "new", "clean", "--device", "cpu"
    )
    assert done.code == 0, done.err
    for path in Path("new").glob("*.png"):
        with Image.open(path) as before, Image.open(Path("clean") / path.name) as after:
            assert (after.size, after.mode) == (before.size, "L")
            made = pair.denoise(np.asarray(before, dtype=np.float32)[None])[0]
            expected = np.clip(made, 0, 255)
            np.testing.assert_allclose(np.asarray(after), expected, atol=0.51)
    np.savez("stack.npz", x=np.full((3, 30, 21), 0.5, np.float32))
    done = run_command(
        monkeypatch, capsys, "denoise", "--model", "photos/1", "stack.npz", "out.npz"
    )
    assert done.code == 0, done.err
    with np.load("out.npz") as archive:
        assert archive["x"].shape == (3, 30, 21)


def test_clean_rows_teach_what_the_noise_is(here: Path) -> None:
    photos("photos", change=noisy)
    photos("clean")
    spec = job(clean_path="clean")
    longer = spec.training.model_copy(update={"epochs": 40, "learning_rate": 0.01})
    result = isthmus.train(spec.model_copy(update={"training": longer}), settings=settings())
    assert result.pair is not None
    pair = isthmus.load("photos/1", settings=settings())
    found = prepare(spec)
    assert found.clean_test is not None
    made = pair.denoise(found.test)
    before = np.square(found.test - found.clean_test).mean()
    assert np.square(made - found.clean_test).mean() < 0.6 * before


def test_two_noisy_photos_of_each_thing_are_cut_alike_for_noise2noise(here: Path) -> None:
    photos("photos", change=noisy)
    photos("again", change=noisy)
    found = prepare(job(variant="noise2noise", paired_path="again"))
    assert are_patches(found.scaled.train)
    assert found.clean_test is None
    module = isthmus.build("noise2noise", row_shape=(1, 16, 16), latent_dim="auto", net=SMALL_NET)
    loss = module.loss(torch.from_numpy(found.scaled.train.sample(8)))
    assert torch.isfinite(loss.total)
