"""The nets that estimate the noise of a row: what they promise of levels, constants and scales."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from isthmus import nets
from isthmus.nets import Net
from isthmus.nets._noise_level import noise_level
from isthmus.nets._shuffles import Shuffle, Unshuffle
from isthmus.types import Shape

DENOISERS = ["drunet", "dncnn"]
ROWS = [("drunet", (1, 16, 16)), ("drunet", (2, 33)), ("dncnn", (3, 12, 17))]


def made(name: str, shape: Shape, **options: object) -> Net:
    torch.manual_seed(0)
    net = nets.get(name)
    return net(net.Config(**options), shape)


def whole(net: Net) -> nn.Sequential:
    latent_dim = net.fixed_latent_dim() or 0
    return nn.Sequential(net.encoder(latent_dim), net.decoder(latent_dim)).eval()


@pytest.mark.parametrize(("name", "shape"), ROWS)
def test_a_residual_net_that_finds_no_noise_gives_back_the_row(name: str, shape: Shape) -> None:
    """With the last layer's weights at 0, the estimate of the noise is 0."""
    net = whole(made(name, shape))
    x = torch.rand(2, *shape)
    assert not torch.equal(net(x), x)
    *_, last = (layer for layer in net.modules() if isinstance(layer, nn.Conv1d | nn.Conv2d))
    nn.init.zeros_(last.weight)
    assert torch.equal(net(x), x)


@pytest.mark.parametrize(("name", "shape"), ROWS)
@pytest.mark.parametrize("level", ["none", "estimated"])
def test_without_constants_a_row_twice_as_strong_is_denoised_to_twice_the_row(
    name: str, shape: Shape, level: str
) -> None:
    net = whole(made(name, shape, bias=False, noise_level=level))
    x = torch.rand(2, *shape)
    torch.testing.assert_close(net(2 * x), 2 * net(x))
    assert not [each for each, _ in net.named_parameters() if each.endswith("bias")]
    with_constants = whole(made(name, shape, bias=True, noise_level=level))
    assert not torch.allclose(with_constants(2 * x), 2 * with_constants(x), rtol=1e-3)


@pytest.mark.parametrize("name", DENOISERS)
def test_a_net_that_is_told_the_noise_level_uses_it(name: str) -> None:
    net = made(name, (1, 16, 16), noise_level="estimated")
    encoder = net.encoder(net.fixed_latent_dim() or 0)
    x = torch.rand(2, 1, 16, 16)
    own = encoder.context(x)
    assert own.shape == (2,)
    assert torch.equal(encoder(x, own), encoder(x))
    assert not torch.equal(encoder(x, 2 * own), encoder(x))
    untold = made(name, (1, 16, 16))
    assert untold.encoder(untold.fixed_latent_dim() or 0).context(x) is None


@pytest.mark.parametrize("shape", [(1, 256, 256), (3, 128, 96), (1, 8192)], ids=str)
@pytest.mark.parametrize("deviation", [0.02, 0.1, 0.25])
def test_the_level_of_white_noise_is_found_to_a_tenth(shape: Shape, deviation: float) -> None:
    generator = torch.Generator().manual_seed(0)
    smooth = torch.linspace(0, 6, shape[-1]).sin().expand(4, *shape).clone()
    smooth[..., shape[-1] // 2 :] += 1.0  # an edge, which is no noise
    noisy = smooth + deviation * torch.randn(smooth.shape, generator=generator)
    assert (noise_level(noisy) / deviation - 1).abs().max() < 0.1
    torch.testing.assert_close(noise_level(2 * noisy), 2 * noise_level(noisy))
    assert (noise_level(smooth) < 1e-3).all()


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 2, 5), (3, 2)], ids=str)
def test_a_row_too_small_for_differences_has_a_finite_level(shape: Shape) -> None:
    assert torch.isfinite(noise_level(torch.rand(2, *shape))).all()


@pytest.mark.parametrize(("factor", "shape"), [(2, (3, 6, 8)), (4, (1, 8, 8)), (2, (2, 10))])
def test_what_is_unshuffled_holds_each_place_in_its_channels_and_comes_back(
    factor: int, shape: Shape
) -> None:
    x = torch.rand(2, *shape)
    small = Unshuffle(factor)(x)
    assert small.shape[2:] == tuple(side // factor for side in shape[1:])
    place = (slice(None), slice(None), *[slice(factor)] * (len(shape) - 1))
    first = (slice(None), slice(None), *[0] * (len(shape) - 1))
    assert torch.equal(small[first], x[place].flatten(1))
    assert torch.equal(Shuffle(factor)(small), x)


def test_the_halves_of_dncnn_have_half_the_layers_each_and_ffdnet_is_one_of_its_settings() -> None:
    net = made("dncnn", (1, 16, 16), depth=15, unshuffle=2, noise_level="estimated")
    encoder, decoder = (half(net.fixed_latent_dim() or 0) for half in (net.encoder, net.decoder))
    layers = [
        [m for m in half.modules() if isinstance(m, nn.Conv2d)] for half in (encoder, decoder)
    ]
    assert [len(each) for each in layers] == [7, 8]
    assert layers[0][0].in_channels == 4 + 1  # four pixels, and the level
    assert layers[1][-1].out_channels == 4
    assert encoder(torch.rand(1, 1, 16, 16)).shape == (1, 256 + 64 * 8 * 8)


@pytest.mark.parametrize("name", [*DENOISERS, "unet"])
def test_the_sizes_that_memory_is_planned_by_grow_with_the_row(name: str) -> None:
    small, large = made(name, (1, 64, 64)), made(name, (1, 128, 128))
    assert small.numbers_in_memory() > (small.fixed_latent_dim() or 0)
    assert large.numbers_in_memory() >= 3.9 * small.numbers_in_memory()
