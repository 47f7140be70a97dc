"""Every net that claims to be for rows of any size: the same weights, wherever a row is cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from isthmus import nets, variants
from isthmus.core import Autoencoder
from isthmus.nets import Net
from isthmus.registry.any_size import AnySize
from isthmus.spec import ModelPlan, PluginSpec
from isthmus.types import DataKind, ReconstructionLoss, Shape

PATCH: dict[DataKind, Shape] = {
    DataKind.IMAGES: (2, 32, 32),
    DataKind.SERIES: (2, 64),
    DataKind.AUDIO: (1, 64),
}
CPU = torch.device("cpu")
# Options that change what a net sees, beside its defaults.
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "drunet": [
        {"channels": (8,), "blocks": 1, "unshuffle": 1, "residual": False},
        {"channels": (4, 6), "blocks": 1, "noise_level": "estimated", "bias": True},
    ],
    "dncnn": [{"depth": 5, "channels": 8, "unshuffle": 2, "noise_level": "estimated"}],
    "unet": [{"channels": (4, 6, 8), "skip_channels": 0}],
}
CASES = [
    pytest.param(name, options, kind, id=f"{name}-{number}-{kind}")
    for name in nets.names()
    # Those whose latent is coded are covered by tests/unit/compression/test_any_size.py.
    if nets.get(name).ANY_SIZE and not nets.get(name).ONE_MAP
    for number, options in enumerate([{}, *OPTIONS.get(name, [])])
    for kind in nets.get(name).KINDS
]
every_case = pytest.mark.parametrize(("name", "options", "kind"), CASES)


def module_of(name: str, options: dict[str, Any], kind: DataKind) -> Autoencoder:
    """A denoiser whose weights let all it sees reach its output, as trained weights do."""
    torch.manual_seed(0)
    config = nets.config(name).model_validate(options)
    net = PluginSpec(name=name, options=config.model_dump(mode="json"))
    plan = ModelPlan(
        kind=kind,
        row_shape=PATCH[kind],
        latent_dim=nets.made_for(net, PATCH[kind]).fixed_latent_dim(),
        variant=PluginSpec(name="denoising"),
        net=net,
        reconstruction=ReconstructionLoss.MSE,
    )
    module = variants.build(plan).eval()
    module.scaling.fit(torch.tensor(0.5), torch.tensor(2.0))
    for weight in module.parameters():
        if weight.ndim > 1:
            nn.init.kaiming_normal_(weight, nonlinearity="relu")
    return module


def net_of(module: Autoencoder) -> Net:
    return nets.made_for(module.plan.net, module.plan.row_shape)


def sides(module: Autoencoder, least: int) -> Shape:
    """A shape whose sides are multiples, unequal, and not less than a number."""
    step = net_of(module).multiple()
    first = -(-least // step) * step
    channels, *axes = module.plan.row_shape
    return (channels, *[first + step * axis for axis in range(len(axes))])


@every_case
def test_the_weights_are_shared_with_a_module_for_another_size(
    name: str, options: dict[str, Any], kind: DataKind
) -> None:
    module = module_of(name, options, kind)
    larger = module.at(sides(module, 50))
    assert {*larger.state_dict()} == {*module.state_dict()}
    for mine, theirs in zip(module.parameters(), larger.parameters(), strict=True):
        assert mine is theirs
    assert not larger.training
    assert larger.plan.latent_dim != module.plan.latent_dim
    x = torch.rand(2, *larger.plan.row_shape)
    z = larger.encode(x)
    assert z.shape == (2, larger.plan.latent_dim)
    assert larger.decode(z).shape == x.shape


@every_case
def test_a_module_for_the_patch_again_computes_what_the_first_did(
    name: str, options: dict[str, Any], kind: DataKind
) -> None:
    module = module_of(name, options, kind)
    x = torch.rand(2, *PATCH[kind])
    again = module.at(sides(module, 50)).at(PATCH[kind])
    assert torch.equal(again.reconstruct(x), module.reconstruct(x))


@every_case
def test_an_output_depends_on_nothing_beyond_the_receptive_radius(
    name: str, options: dict[str, Any], kind: DataKind
) -> None:
    module = module_of(name, options, kind)
    net = net_of(module)
    radius, step = net.receptive_radius(), net.multiple()
    whole = module.at(sides(module, 2 * radius + 3 * step)).double()
    x = torch.rand(1, *whole.plan.row_shape, dtype=torch.float64)
    # Told, because an estimate depends on the whole row.
    context = whole.context(x)
    reached = 0
    for offset in {0, step - 1}:
        x.requires_grad_()
        place = radius + step + offset
        output = whole.decode(whole.encode(x, context))
        (slope,) = torch.autograd.grad(output[(0, 0, *[place] * (x.ndim - 2))], x)
        seen = slope[0].abs().sum(dim=0).nonzero() - place
        reached = max(reached, int(seen.abs().max()))
        x = x.detach()
    assert reached <= radius
    assert reached >= radius - 2 * step, "the radius is larger than it need be"


@every_case
def test_a_row_that_is_moved_by_the_multiple_is_denoised_alike(
    name: str, options: dict[str, Any], kind: DataKind
) -> None:
    module = module_of(name, options, kind)
    net = net_of(module)
    radius, step = net.receptive_radius(), net.multiple()
    whole = module.at(sides(module, 2 * radius + 4 * step))
    x = torch.rand(1, *whole.plan.row_shape)
    moved = x.roll(step, dims=-1)
    context = whole.context(x)
    here = whole.decode(whole.encode(x, context)).roll(step, dims=-1)
    there = whole.decode(whole.encode(moved, context))
    inside = slice(radius + step, -radius - step)
    found, wanted = there[..., inside], here[..., inside]
    assert wanted.numel()
    assert (found - wanted).abs().max() < 1e-4 * wanted.abs().max()


ON_IMAGES = [each for each in CASES if each.values[2] is DataKind.IMAGES]


@pytest.mark.parametrize(("name", "options", "kind"), ON_IMAGES)
def test_an_image_in_tiles_is_denoised_as_it_is_as_a_whole(
    name: str, options: dict[str, Any], kind: DataKind
) -> None:
    module = module_of(name, options, kind)
    net = net_of(module)
    # Longer than one tile, and no multiples.
    height, width = 4 * (net.receptive_radius() + net.multiple()) + 1, 12 * net.multiple() + 3
    generator = np.random.default_rng(0)
    images = generator.random((2, 2, height, width), dtype=np.float32)
    images[:, :, : height // 2] *= 0.1  # the noise of a tile is not that of the whole
    any_size, told = AnySize(module), []
    whole = any_size.reconstruct(images, None, CPU)
    tiled = any_size.reconstruct(images, lambda *rows: told.append(rows), CPU, most_numbers=1)
    assert whole.shape == tiled.shape == images.shape
    scale = np.abs(whole).max()
    assert np.abs(tiled - whole).max() < 1e-4 * min(scale, 1.0)
    assert len(told) > len(images), "no tiles"
    assert [rows for rows, _ in told] == sorted(rows for rows, _ in told)
    assert told[-1] == (2, 2)


@pytest.mark.parametrize(("name", "options", "kind"), ON_IMAGES)
@pytest.mark.parametrize("size", [(1, 1), (3, 70), (33, 40)], ids=str)
def test_an_image_smaller_than_the_patch_or_of_odd_sides_keeps_its_size(
    name: str, options: dict[str, Any], kind: DataKind, size: tuple[int, int]
) -> None:
    images = np.random.default_rng(0).random((3, 2, *size), dtype=np.float32)
    made = AnySize(module_of(name, options, kind)).reconstruct(images, None, CPU)
    assert made.shape == images.shape
    assert np.isfinite(made).all()


@pytest.mark.parametrize("name", [n for n in nets.names() if not nets.get(n).ANY_SIZE])
def test_a_net_for_one_size_says_so(name: str) -> None:
    kind = nets.get(name).KINDS[0]
    shape = PATCH.get(kind, (6,))
    net = nets.get(name)(nets.config(name)(), shape)
    with pytest.raises(NotImplementedError, match="rows of any size"):
        net.receptive_radius()
    plan = ModelPlan(
        kind=kind,
        row_shape=shape,
        latent_dim=net.nearest_latent_dim(4),
        variant=PluginSpec(name="denoising"),
        net=PluginSpec(name=name),
        reconstruction=ReconstructionLoss.MSE,
    )
    with pytest.raises(ValueError, match=f"{name} is a net for rows of one size"):
        variants.build(plan).at(shape)
