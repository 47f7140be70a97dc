"""Images of any size are coded in regions: no seams, exact symbols, damage that stays local."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import isthmus
from isthmus import variants
from isthmus.compression import any_size
from isthmus.compression.any_size import ImagesOfAnySize
from isthmus.core import CodedAutoencoder
from isthmus.core.priors import HyperPrior
from isthmus.core.whole_numbers import evaluate
from isthmus.registry.batches import Floats


@pytest.fixture(scope="module")
def module() -> CodedAutoencoder:
    """A small codec whose convolutions let all that they see reach their output."""
    torch.manual_seed(0)
    net = {"name": "compressive", "fine_channels": 8, "coarse_channels": 12}
    options = {"name": "hyperprior", "hidden": 8, "hyper_dim": 6}
    shape = (1, 32, 32)
    built = isthmus.build(options, row_shape=shape, net=net, latent_dim="auto", kind="images")
    made = built.autoencoder
    assert isinstance(made, CodedAutoencoder)
    for weight in (*made.encoder.correction.parameters(), *made.decoder.correction.parameters()):
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.03)
    return made.eval()


@pytest.fixture(scope="module")
def images(module: CodedAutoencoder) -> ImagesOfAnySize:
    return ImagesOfAnySize(module, module.code_tables([]))


def picture(height: int, width: int) -> Floats:
    down, across = np.mgrid[:height, :width]
    waves = np.sin(down / 9) * np.cos(across / 13) + 0.1 * np.sin(down * across / 50)
    return (0.5 + 0.3 * waves)[None].astype(np.float32)


def coded(images: ImagesOfAnySize, x: Floats, quality: float | None = None) -> list[bytes | None]:
    return list(images.encode(x, quality))


@pytest.mark.parametrize("sides", [(1, 1), (7, 3), (8, 8), (40, 61), (601, 530)])
def test_an_image_of_any_sides_comes_back_in_its_own(images, sides):
    x = picture(*sides)
    parts = coded(images, x, 100)
    assert len(parts) == images.regions_of(x.shape)
    found = images.decode(parts, x.shape, 100)
    assert found.shape == x.shape
    assert np.abs(found - x).mean() < 0.05


def test_more_quality_takes_more_bytes_and_leaves_less_error(images):
    x = picture(96, 96)
    sizes, errors = [], []
    for quality in (0, 30, 60, 100):
        parts = coded(images, x, quality)
        sizes.append(sum(len(each or b"") for each in parts))
        errors.append(float(np.square(images.decode(parts, x.shape, quality) - x).mean()))
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > errors[-1]


def test_tiles_give_what_the_whole_image_gives(module, images, monkeypatch):
    x = picture(640, 300)
    whole = images.decode(coded(images, x), x.shape, None)
    monkeypatch.setattr(any_size, "_TILE", 128)
    tiled = ImagesOfAnySize(module, module.code_tables([]))
    parts = coded(tiled, x)
    assert np.abs(tiled.decode(parts, x.shape, None) - whole).max() < 1e-4


def test_a_lost_region_changes_nothing_far_from_it(images):
    x = picture(64, 1300)
    parts = coded(images, x)
    assert len(parts) == 3
    whole = images.decode(parts, x.shape, None)
    lost = images.decode([parts[0], None, parts[2]], x.shape, None)
    assert np.array_equal(lost[:, :, : 512 - 80], whole[:, :, : 512 - 80])
    assert np.array_equal(lost[:, :, 1024 + 80 :], whole[:, :, 1024 + 80 :])
    assert not np.array_equal(lost[:, :, 512:1024], whole[:, :, 512:1024])


def test_symbols_are_decoded_with_other_threads_and_without_mkldnn(module):
    x = torch.from_numpy(picture(32, 32))[None]
    streams = module.symbols(x)
    numbers = [module.table_numbers(streams[:index], 1) for index in range(module.streams)]
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        with torch.backends.mkldnn.flags(enabled=False):
            again = [module.table_numbers(streams[:index], 1) for index in range(module.streams)]
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(*both) for both in zip(numbers, again, strict=True))


def test_a_restored_module_has_the_rates_of_the_trained_one(module):
    restored = variants.restore(module.plan, module.state_dict())
    x = torch.from_numpy(picture(32, 32))[None]
    for quality in (0, 50, 100):
        for one, other in zip(
            module.symbols(x, quality), restored.eval().symbols(x, quality), strict=True
        ):
            assert torch.equal(one, other)


def test_a_hyper_latent_is_evaluated_once_for_each_region_and_way(images, monkeypatch):
    evaluated = []

    def counted(net, z):
        evaluated.append(z.shape)
        return evaluate(net, z)

    monkeypatch.setattr("isthmus.core.priors.evaluate", counted)
    x = picture(40, 56)
    parts = coded(images, x)
    assert len(evaluated) == len(parts)
    images.decode(parts, x.shape, None)
    assert len(evaluated) == 2 * len(parts)


def test_a_hyper_latent_that_changed_in_its_place_is_evaluated_again():
    prior = HyperPrior((4,), 4, 16, has_means=False).eval()
    hyper = torch.arange(20).reshape(5, 4)
    with prior.remembering():
        prior.table_numbers([hyper], 5)
        hyper += 3
        found = prior.table_numbers([hyper], 5)
    assert torch.equal(found, prior.table_numbers([hyper], 5))
