"""What the options of each net change, and what is refused."""

from __future__ import annotations

from itertools import pairwise
from math import prod

import pytest
import torch
from torch import nn

from isthmus import nets
from isthmus.nets import Net
from isthmus.spec import ModelPlan, PluginSpec
from isthmus.types import DataKind, ReconstructionLoss, Shape


def made(name: str, shape: Shape, **options: object) -> Net:
    torch.manual_seed(0)
    net = nets.get(name)
    return net(net.Config(**options), shape)


def weights(half: nn.Module) -> int:
    return sum(p.numel() for p in half.parameters())


# -- dense --------------------------------------------------------------------------------------


@pytest.mark.parametrize("hidden", [(), (7,), (9, 8, 7)], ids=str)
@pytest.mark.parametrize("residual", [False, True])
def test_dense_has_the_hidden_widths_it_is_given_and_the_decoder_mirrors_them(
    hidden: tuple[int, ...], residual: bool
) -> None:
    net = made("dense", (5, 2), hidden=hidden, residual=residual)
    for half, ends, widths in (
        (net.encoder(3), (10, 3), hidden),
        (net.decoder(3), (3, 10), hidden[::-1]),
    ):
        linear = [layer for layer in half.modules() if isinstance(layer, nn.Linear)]
        assert [(layer.in_features, layer.out_features) for layer in linear] == list(
            pairwise((ends[0], *widths, ends[1]))
        )


def test_dropout_and_normalisation_stand_between_hidden_layers_only() -> None:
    net = made("dense", (5,), hidden=(8, 8), dropout=0.5, normalization="layer")
    kinds = [type(layer).__name__ for layer in net.encoder(3)]
    block = ["Linear", "LayerNorm", "GELU", "Dropout"]
    assert kinds == ["Flatten", *block, *block, "Linear"]


def test_residual_dense_adds_the_input_of_layers_that_are_as_wide_as_the_one_before() -> None:
    net = made("dense", (4,), hidden=(6, 6, 5, 5), residual=True, activation="tanh")
    encoder, x = net.encoder(5), torch.randn(3, 4)
    l1, l2, l3, l4, l5 = (layer for layer in encoder.modules() if isinstance(layer, nn.Linear))
    h = l1(x)
    h = h + l2(h.tanh())
    h = l3(h.tanh())
    h = h + l4(h.tanh())
    torch.testing.assert_close(encoder(x), l5(h.tanh()))


# -- conv ---------------------------------------------------------------------------------------


def spatial(shape: Shape = (1, 16, 8)) -> Net:
    return made("conv", shape, channels=(4, 4), bottleneck="spatial")


PLACES = [(0, 0), (15, 7), (9, 3)]


@pytest.mark.parametrize(("row", "column"), PLACES)
def test_the_numbers_of_one_place_of_a_spatial_latent_stand_together(row: int, column: int) -> None:
    """16 x 8 places of 3 numbers: all three see the pixels at their place, and none far away."""
    encoder = made("conv", (1, 32, 16), channels=(4,), bottleneck="spatial").encoder(16 * 8 * 3)
    x = torch.rand(1, 1, 32, 16, requires_grad=True)
    for number in encoder(x)[0].reshape(16, 8, 3)[row, column]:
        (seen,) = torch.autograd.grad(number, x, retain_graph=True)
        assert are_around(seen[0, 0], 2 * row, 2 * column, 3)


@pytest.mark.parametrize(("row", "column"), PLACES)
def test_a_spatial_decoder_writes_each_place_of_the_image_from_its_place_of_the_latent(
    row: int, column: int
) -> None:
    decoder = made("conv", (1, 32, 16), channels=(4,), bottleneck="spatial").decoder(16 * 8 * 3)
    z = torch.randn(1, 16, 8, 3)
    changed = z.clone()
    changed[0, row, column] += 1
    change = decoder(changed.flatten(1)) - decoder(z.flatten(1))
    assert are_around(change[0, 0], 2 * row, 2 * column, 5)


def are_around(image_HW: torch.Tensor, row: int, column: int, distance: int) -> bool:
    """Whether there is something at a pixel, and nothing farther from it than that."""
    found = (image_HW.abs() > 1e-6).nonzero() - torch.tensor([row, column])
    return bool(image_HW[row, column] != 0) and int(found.abs().max()) <= distance


def test_each_output_of_a_spatial_latent_is_flattened_alone() -> None:
    """A mean and a log variance: two maps of 3 channels, one after another."""
    plan = ModelPlan(
        kind=DataKind.IMAGES,
        row_shape=(1, 16, 8),
        latent_dim=4 * 2 * 3,
        variant=PluginSpec(name="vae"),
        net=PluginSpec(name="conv", options={"channels": [4, 4], "bottleneck": "spatial"}),
        reconstruction=ReconstructionLoss.MSE,
    )
    encoder, _ = nets.build(plan, 2 * plan.latent_dim)
    assert isinstance(encoder, nn.Sequential)
    x = torch.rand(5, 1, 16, 8)
    maps = encoder[:-1](x)
    assert maps.shape == (5, 6, 4, 2)
    mean, log_variance = encoder(x).chunk(2, dim=1)
    for channel in range(3):
        torch.testing.assert_close(mean.reshape(5, 4, 2, 3)[..., channel], maps[:, channel])
        torch.testing.assert_close(
            log_variance.reshape(5, 4, 2, 3)[..., channel], maps[:, 3 + channel]
        )


@pytest.mark.parametrize(("wanted", "found"), [(1, 8), (8, 8), (11, 8), (13, 16), (32, 32)])
def test_an_automatic_latent_fills_the_places_of_a_spatial_bottleneck(
    wanted: int, found: int
) -> None:
    net = spatial()
    assert net.nearest_latent_dim(wanted) == found
    assert net.refusal(found) is None


def test_a_spatial_latent_of_another_size_than_its_places_is_refused_with_sizes_that_do() -> None:
    net = spatial()
    assert net.refusal(24) is None
    assert net.refusal(20) == (
        "bottleneck: spatial has 4 x 2 places, and latent_dim=20 is no multiple of 8; use 16 or "
        "24, or bottleneck: dense"
    )
    assert "use 8 or 16" in (net.refusal(5) or "")
    assert made("conv", (1, 16, 8)).refusal(5) is None


# -- unet ---------------------------------------------------------------------------------------


def test_the_latent_of_a_unet_holds_its_skips_so_that_the_decoder_needs_nothing_else() -> None:
    net = made("unet", (3, 9, 14), channels=(4, 6, 8), skip_channels=2)
    latent_dim = net.fixed_latent_dim()
    assert latent_dim == 2 * 12 * 16 + 2 * 6 * 8 + 8 * 3 * 4
    encoder, decoder = net.encoder(latent_dim), net.decoder(latent_dim)
    x = torch.rand(2, 3, 9, 14)
    whole = nn.Sequential(encoder, decoder)(x)
    stored = encoder(x).detach().numpy().tobytes()
    z = torch.frombuffer(bytearray(stored), dtype=torch.float32).reshape(2, latent_dim)
    torch.testing.assert_close(decoder(z), whole)


@pytest.mark.parametrize("part", [0, 1, 2], ids=["full", "half", "smallest"])
def test_every_map_that_a_unet_hands_across_is_used(part: int) -> None:
    net = made("unet", (1, 8, 8), channels=(4, 6, 8), skip_channels=2)
    sizes = [2 * 64, 2 * 16, 8 * 4]
    z = torch.randn(1, sum(sizes))
    changed = torch.cat(
        [
            torch.randn_like(piece) if index == part else piece
            for index, piece in enumerate(z.split(sizes, dim=1))
        ],
        dim=1,
    )
    decoder = net.decoder(sum(sizes))
    assert (decoder(changed) != decoder(z)).any()


def test_a_unet_with_all_skip_channels_hands_each_size_across_whole() -> None:
    net = made("unet", (1, 8, 8), channels=(4, 6, 8), skip_channels=0)
    assert net.fixed_latent_dim() == 4 * 64 + 6 * 16 + 8 * 4
    assert net.decoder(net.fixed_latent_dim())(torch.rand(1, 384)).shape == (1, 1, 8, 8)


def test_a_unet_of_another_latent_size_is_refused() -> None:
    net = made("unet", (1, 8, 8))
    assert net.refusal(net.fixed_latent_dim() or 0) is None
    assert "use latent_dim: auto" in (net.refusal(16) or "")
    with pytest.raises(ValueError, match="use latent_dim: auto"):
        net.encoder(16)


# -- residual and temporal ----------------------------------------------------------------------


@pytest.mark.parametrize(("name", "shape"), [("residual", (2, 16, 16)), ("temporal", (2, 64))])
def test_a_block_adds_to_what_it_is_given(name: str, shape: Shape) -> None:
    """With the blocks' last weights at 0 the blocks are gone: the shortcuts let all through."""
    net = made(name, shape)
    encoder, x = net.encoder(6), torch.rand(2, *shape)
    blocks = [module for module in encoder if hasattr(module, "branch")]
    assert blocks
    without = nn.Sequential(*(module for module in encoder if module not in blocks))
    assert not torch.allclose(encoder(x), without(x))
    for block in blocks:
        nn.init.zeros_(block.branch[-1].weight)
        nn.init.zeros_(block.branch[-1].bias)
    torch.testing.assert_close(encoder(x), without(x))


def test_brightness_and_contrast_of_an_image_reach_the_latent_of_a_residual_net() -> None:
    encoder = made("residual", (1, 16, 16)).encoder(6)
    x = torch.rand(4, 1, 16, 16)
    for changed in (x + 1, 2 * x):
        assert (encoder(changed) - encoder(x)).norm() > 0.1 * encoder(x).norm()


def test_a_temporal_block_sees_as_far_as_its_dilations_reach_both_ways() -> None:
    net = made("temporal", (1, 64), channels=(8,), stride=2, blocks=2, kernel=3)
    encoder = net.encoder(6)
    # Without the dense layer: 32 places, each of 2 x 2 convolutions with dilations 1 and 2.
    places, norms = encoder[:-3], (nn.GroupNorm,)
    for module in places.modules():
        if isinstance(module, nn.Sequential):
            for index, layer in enumerate(module):
                if isinstance(layer, norms):  # they see the whole row
                    module[index] = nn.Identity()
    x = torch.rand(1, 1, 64, requires_grad=True)
    places(x)[0, :, 16].sum().backward()
    assert x.grad is not None
    reached = x.grad[0, 0].nonzero().flatten()
    reach = 2 * 1 + 2 * 2
    assert (reached.min(), reached.max()) == (2 * (16 - reach) - 1, 2 * (16 + reach) + 2)


@pytest.mark.parametrize("stride", [2, 4, 8])
@pytest.mark.parametrize("steps", [4, 37, 200])
def test_temporal_comes_back_in_length_at_every_stride(stride: int, steps: int) -> None:
    net = made("temporal", (2, steps), stride=stride)
    assert net.decoder(3)(net.encoder(3)(torch.rand(2, 2, steps))).shape == (2, 2, steps)


# -- recurrent ----------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
def test_recurrent_of_every_make_uses_all_its_weights(
    cell: str, bidirectional: bool, layers: int
) -> None:
    net = made("recurrent", (3, 9), cell=cell, bidirectional=bidirectional, layers=layers)
    encoder, decoder = net.encoder(4), net.decoder(4)
    decoder(encoder(torch.rand(2, 3, 9))).square().sum().backward()
    for half in (encoder, decoder):
        for name, parameter in half.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name


def test_recurrent_encodes_the_last_state_that_a_loop_over_steps_comes_to() -> None:
    net = made("recurrent", (3, 9), cell="gru", bidirectional=False, hidden=5)
    encoder, x = net.encoder(4), torch.rand(2, 3, 9)
    cells = nn.GRUCell(3, 5)
    cells.load_state_dict(
        {name.removesuffix("_l0"): value for name, value in encoder.cells.state_dict().items()}
    )
    state = torch.zeros(2, 5)
    for step in range(9):
        state = cells(x[:, :, step], state)
    torch.testing.assert_close(encoder(x), encoder.latent(state))


def test_a_recurrent_decoder_is_fed_the_latent_at_each_step() -> None:
    net = made("recurrent", (3, 9), cell="gru", bidirectional=False, hidden=5)
    decoder, z = net.decoder(4), torch.randn(2, 4)
    cells = nn.GRUCell(4, 5)
    cells.load_state_dict(
        {name.removesuffix("_l0"): value for name, value in decoder.cells.state_dict().items()}
    )
    state, steps = decoder.start(z).tanh(), []
    for _ in range(9):
        state = cells(z, state)
        steps.append(decoder.row(state))
    torch.testing.assert_close(decoder(z), torch.stack(steps, dim=2))


def test_dropout_of_a_single_recurrent_layer_is_refused() -> None:
    assert "use layers: 2" in (made("recurrent", (1, 8), dropout=0.1).refusal(4) or "")
    assert made("recurrent", (1, 8), dropout=0.1, layers=2).refusal(4) is None


# -- transformer and vit ------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "shape"), [("transformer", (3, 24)), ("vit", (3, 12, 8))])
def test_patches_hold_the_pixels_or_steps_that_are_together_and_go_back_where_they_were(
    name: str, shape: Shape
) -> None:
    net = made(name, shape, patch=4)
    cut, join = net.encoder(2)[1], net.decoder(2)[1]
    x = torch.arange(prod(shape), dtype=torch.float32).reshape(1, *shape)
    patches = cut(x)
    assert torch.equal(patches[0, 0], x[(0, slice(None), *[slice(4)] * (len(shape) - 1))].flatten())
    second = x[(0, slice(None), *[slice(4)] * (len(shape) - 2), slice(4, 8))]
    assert torch.equal(patches[0, 1], second.flatten())
    assert torch.equal(join(patches), x)


def test_attention_is_that_of_torch() -> None:
    layers = made("transformer", (1, 20), width=12, heads=3).encoder(2)[2].layers
    mine, x = layers[0].branch[1], torch.randn(2, 5, 12)
    theirs = nn.MultiheadAttention(12, 3, batch_first=True)
    theirs.load_state_dict(
        {
            "in_proj_weight": mine.queries_keys_values.weight,
            "in_proj_bias": mine.queries_keys_values.bias,
            "out_proj.weight": mine.out.weight,
            "out_proj.bias": mine.out.bias,
        }
    )
    torch.testing.assert_close(mine(x), theirs(x, x, x)[0])


@pytest.mark.parametrize(("name", "shape"), [("transformer", (1, 24)), ("vit", (1, 12, 8))])
def test_the_order_of_patches_matters(name: str, shape: Shape) -> None:
    encoder = made(name, shape, patch=4).encoder(2)
    x = torch.rand(1, *shape)
    assert not torch.allclose(encoder(x.flip(-1)), encoder(x))
    to_latent = encoder[2]
    patches = encoder[:2](x)
    before = to_latent.layers(to_latent.embedding(patches) + to_latent.positions_NW)
    turned = patches.flip(1)
    after = to_latent.layers(to_latent.embedding(turned) + to_latent.positions_NW).flip(1)
    assert not torch.allclose(before, after)


@pytest.mark.parametrize(("name", "shape"), [("transformer", (1, 24)), ("vit", (1, 12, 8))])
def test_heads_that_do_not_share_the_width_are_refused_with_widths_that_do(
    name: str, shape: Shape
) -> None:
    assert made(name, shape, width=30).refusal(4) == (
        "width=30 is not divisible by heads=4; use 28 or 32"
    )
    assert made(name, shape, width=32).refusal(4) is None
    three = made(name, shape, heads=3)
    assert three.refusal(4) is None
    assert three.encoder(2)(torch.rand(2, *shape)).shape == (2, 2)


@pytest.mark.parametrize("name", ["temporal", "recurrent", "transformer"])
def test_dropout_acts_while_training_alone(name: str) -> None:
    options = {"layers": 2} if name == "recurrent" else {}
    encoder, x = made(name, (2, 32), dropout=0.5, **options).encoder(4), torch.rand(2, 2, 32)
    assert not torch.equal(encoder.train()(x), encoder(x))
    assert torch.equal(encoder.eval()(x), encoder(x))
    assert weights(encoder) == weights(made(name, (2, 32), **options).encoder(4))
