"""A pair that was trained on patches denoises images of any size, and says what else it takes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from isthmus import registry, variants
from isthmus.errors import DataError
from isthmus.jobs.specs import check_job, plan_for
from isthmus.registry import Pair, TrainedPair, any_size, register_pair
from isthmus.scores import detector_of
from isthmus.spec import RowSchema, Settings
from isthmus.tracking import RunLog
from isthmus.types import DataKind, ScalingMode, Shape

NETS = {
    "drunet": {"channels": [8, 8], "blocks": 1, "noise_level": "estimated"},
    "dncnn": {"depth": 4, "channels": 8},
    "unet": {"channels": [8, 8]},
}


def pair_of(settings: Settings, name: str, row_shape: Shape = (1, 16, 16)) -> Pair:
    """A registered and loaded pair of random weights, of patches of images."""
    spec = check_job(
        {
            "name": f"{name}-{row_shape[0]}",
            "data": {"path": "images.npy", "kind": "images", "patch": row_shape[1]},
            "variant": "denoising",
            "net": {"name": name, **NETS[name]},
            "scoring": "own",
        }
    )
    data = spec.data.model_copy(update={"scaling": ScalingMode.MINMAX})
    torch.manual_seed(0)
    module = variants.build(plan_for(spec, data, row_shape)).eval()
    module.scaling.fit(torch.tensor(10.0), torch.tensor(200.0))
    detector = detector_of(module)
    detector.calibration.fit(torch.rand(50))
    log = RunLog.start(spec, settings)
    log.finish()
    rows = np.random.default_rng(0).random((4, *row_shape), dtype=np.float32)
    schema = RowSchema(kind=DataKind.IMAGES, shape=row_shape)
    trained = TrainedPair(
        *(detector, spec, data, "0" * 64, {}, log.run_id, rows), row_schema=schema
    )
    return registry.load(str(register_pair(trained, settings)), settings)


@pytest.fixture(scope="module")
def grey(settings: Settings) -> Pair:
    return pair_of(settings, "drunet")


def images(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)


@pytest.mark.parametrize("name", NETS)
def test_images_of_any_size_come_back_in_their_size_as_a_module_of_that_size_makes_them(
    name: str, settings: Settings
) -> None:
    pair = pair_of(settings, name)
    x = images(3, 40, 24)
    with torch.inference_mode():
        rows = torch.from_numpy(x[:, None].astype(np.float32))
        expected = pair.module.at((1, 40, 24)).reconstruct(rows)[:, 0].numpy()
    for found in (pair.denoise(x), pair.denoise(x[:, None])[:, 0], pair.reconstruct(x)):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("size", [(16, 16), (1, 1), (5, 90), (37, 41)], ids=str)
def test_odd_and_small_sizes_are_kept(grey: Pair, size: tuple[int, int]) -> None:
    found = grey.denoise(images(2, *size))
    assert found.shape == (2, *size)
    assert np.isfinite(found).all()


def test_the_patch_itself_is_denoised_as_before(grey: Pair) -> None:
    x = images(3, 16, 16)
    assert grey.denoise(x.reshape(3, 256)).shape == (3, 256)
    np.testing.assert_array_equal(grey.denoise(x), grey.decode(grey.encode(x))[:, 0])


def test_colours_are_kept_apart_from_grey(settings: Settings) -> None:
    pair = pair_of(settings, "drunet", (3, 16, 16))
    assert pair.denoise(images(1, 3, 30, 20)).shape == (1, 3, 30, 20)
    with pytest.raises(DataError, match=r"rows of shape \(30, 20\) do not fit drunet-3/"):
        pair.denoise(images(1, 30, 20))
    with pytest.raises(DataError, match=r"rows of shape \(4, 30, 20\) do not fit drunet-3/"):
        pair.denoise(images(1, 4, 30, 20))


@pytest.mark.parametrize("as_read", [False, True])
@pytest.mark.parametrize("use", ["encode", "detect"])
def test_what_needs_the_patch_refuses_another_size_in_one_line(
    grey: Pair, use: str, as_read: bool
) -> None:
    x = images(2, 1, 20, 30).astype(np.float32)
    with pytest.raises(DataError) as error:
        getattr(grey, use)(x, as_read=as_read)
    said = str(error.value)
    assert said.startswith("rows of shape (1, 20, 30) do not fit drunet-1/")
    assert said.endswith("it only denoises and reconstructs images of other sizes")
    assert "\n" not in said


def test_a_list_of_images_is_an_array_if_they_have_one_size(grey: Pair) -> None:
    assert grey.denoise([images(20, 30), images(20, 30)]).shape == (2, 20, 30)
    with pytest.raises(DataError, match="give those of one shape in a call"):
        grey.denoise([images(20, 30), images(30, 20)])


def test_a_missing_pixel_is_refused_as_in_patches(grey: Pair) -> None:
    x = images(1, 20, 30).astype(np.float32)
    x[0, 3, 4] = np.nan
    with pytest.raises(DataError, match="missing"):
        grey.denoise(x)


def test_an_image_that_does_not_fit_into_memory_is_denoised_in_tiles(
    grey: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, told = images(2, 200, 150), []
    whole = grey.denoise(x)
    monkeypatch.setattr(any_size, "_FEW_NUMBERS", 0)
    monkeypatch.setattr(any_size, "free_memory_bytes", lambda: 2**16)
    tiled = grey.denoise(x, on_rows=lambda *rows: told.append(rows))
    assert np.abs(tiled - whole).max() < 1e-4 * 255
    assert len(told) > 4
    assert told[-1] == (2, 2)


def test_a_pair_that_is_moved_uses_the_weights_where_they_are(grey: Pair) -> None:
    x = images(1, 24, 20)
    before = grey.denoise(x)
    again = grey.to("cpu")
    with torch.no_grad():
        for weight in again.module.parameters():
            weight.mul_(1.5)
    assert not np.array_equal(again.denoise(x), before)
    with torch.no_grad():
        for weight in again.module.parameters():
            weight.div_(1.5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
def test_a_gpu_gives_what_the_cpu_gives(grey: Pair) -> None:
    x = images(2, 90, 70)
    on_cpu = grey.denoise(x)
    np.testing.assert_allclose(grey.to("gpu").denoise(x), on_cpu, atol=1e-2)
    grey.to("cpu")
