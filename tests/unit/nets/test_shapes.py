"""Nets for rows of any shape: sizes come from the data and one number."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from isthmus import nets
from isthmus.nets import Net
from isthmus.types import DataKind, Shape

IMAGES = [(1, 4, 4), (2, 5, 7), (1, 8, 8), (1, 28, 28), (3, 31, 64), (1, 64, 20)]
WINDOWS = [(1, 4), (2, 5), (3, 17), (1, 64), (10, 128), (1, 257), (1, 1024)]
ROWS: dict[DataKind, list[Shape]] = {
    DataKind.TABULAR: [(1,), (11,), (200,)],
    DataKind.IMAGES: IMAGES,
    DataKind.SERIES: WINDOWS,
    DataKind.AUDIO: WINDOWS,
}
EVERY_NET_AND_SHAPE = [
    pytest.param(name, shape, id=f"{name}-{'x'.join(map(str, shape))}")
    for name in nets.names()
    for shape in sorted({s for kind in nets.get(name).KINDS for s in ROWS[kind]})
]
# Where the tables of the README and a laptop's memory are: what `auto` makes of useful shapes.
USEFUL: dict[DataKind, list[Shape]] = {
    DataKind.TABULAR: [(200,)],
    DataKind.IMAGES: [(1, 28, 28), (3, 64, 64)],
    DataKind.SERIES: [(10, 128)],
    DataKind.AUDIO: [(1, 1024)],
}
TOO_LARGE_FOR_IT = {("dense", (3, 64, 64)), ("conv", (3, 64, 64))}


def made(name: str, shape: Shape, **options: object) -> Net:
    torch.manual_seed(0)
    net = nets.get(name)
    return net(net.Config(**options), shape)


def halves(net: Net, latent_dim: int = 6) -> tuple[nn.Module, nn.Module, int]:
    latent_dim = net.fixed_latent_dim() or latent_dim
    return net.encoder(latent_dim).eval(), net.decoder(latent_dim).eval(), latent_dim


@pytest.mark.parametrize(("name", "shape"), EVERY_NET_AND_SHAPE)
def test_a_row_of_any_size_goes_to_a_latent_and_comes_back_in_its_shape(
    name: str, shape: Shape
) -> None:
    encoder, decoder, latent_dim = halves(made(name, shape))
    z = encoder(torch.rand(2, *shape))
    assert z.shape == (2, latent_dim)
    assert decoder(z).shape == (2, *shape)


@pytest.mark.parametrize(
    "name", [name for name in nets.names() if not nets.get(name).HAS_SKIPS], ids=str
)
@pytest.mark.parametrize("latent_dim", [1, 300])
def test_a_latent_may_be_as_small_as_one_number_and_larger_than_the_row(
    name: str, latent_dim: int
) -> None:
    shape = ROWS[nets.get(name).KINDS[0]][1]
    encoder, decoder, _ = halves(made(name, shape), latent_dim)
    assert decoder(encoder(torch.rand(2, *shape))).shape == (2, *shape)


@pytest.mark.parametrize(("name", "shape"), EVERY_NET_AND_SHAPE)
def test_the_latent_depends_on_the_first_and_the_last_number_of_a_row(
    name: str, shape: Shape
) -> None:
    encoder, _, _ = halves(made(name, shape))
    x = torch.rand(1, *shape, requires_grad=True)
    encoder(x).square().sum().backward()
    assert x.grad is not None
    reach = x.grad.flatten()
    assert reach[0] != 0
    assert reach[-1] != 0


@pytest.mark.parametrize(("name", "shape"), EVERY_NET_AND_SHAPE)
def test_every_number_of_a_row_is_written_from_the_latent(name: str, shape: Shape) -> None:
    _, decoder, latent_dim = halves(made(name, shape))
    a, b = decoder(torch.randn(2, latent_dim))
    assert (a != b).all()


@pytest.mark.parametrize(("name", "shape"), EVERY_NET_AND_SHAPE)
def test_a_row_does_not_depend_on_the_others_of_its_batch(name: str, shape: Shape) -> None:
    encoder, decoder, _ = halves(made(name, shape))
    x = torch.rand(3, *shape)
    others = torch.cat([x[:1], 100 * x[1:]])
    z, z_among_others = encoder(x), encoder(others)
    torch.testing.assert_close(z[0], z_among_others[0])
    torch.testing.assert_close(decoder(z)[0], decoder(z_among_others)[0])


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        pytest.param(name, shape, id=f"{name}-{'x'.join(map(str, shape))}")
        for name in nets.names()
        for shape in sorted({s for kind in nets.get(name).KINDS for s in USEFUL[kind]})
        if (name, shape) not in TOO_LARGE_FOR_IT
    ],
)
def test_a_net_of_defaults_has_a_quarter_to_three_million_weights(name: str, shape: Shape) -> None:
    with torch.device("meta"):
        encoder, decoder, _ = halves(made(name, shape), 32)
    weights = sum(p.numel() for half in (encoder, decoder) for p in half.parameters())
    assert 250_000 <= weights <= 3_000_000


@pytest.mark.parametrize(
    ("name", "shape"),
    [("residual", (1, 9, 9)), ("vit", (1, 9, 9)), ("temporal", (2, 9)), ("transformer", (2, 9))],
    ids=str,
)
def test_a_gradient_of_the_encoder_has_a_gradient(name: str, shape: Shape) -> None:
    """What penalties on the latent's slope need (contractive, for one)."""
    encoder, _, _ = halves(made(name, shape))
    x = torch.rand(2, *shape, requires_grad=True)
    (slope,) = torch.autograd.grad(encoder(x).sum(), x, create_graph=True)
    slope.square().sum().backward()
    weights = [p.grad for p in encoder.parameters() if p.grad is not None]
    assert any(weight.abs().sum() > 0 for weight in weights)
    assert all(torch.isfinite(weight).all() for weight in weights)


@pytest.mark.parametrize("kind", list(DataKind), ids=str)
def test_auto_chooses_a_net_that_takes_the_kind(kind: DataKind) -> None:
    chosen = nets.for_kind(kind)
    assert kind in nets.get(chosen.name).KINDS
    assert not nets.get(chosen.name).HAS_SKIPS
    assert chosen.options == nets.config(chosen.name)().model_dump(mode="json")


def test_auto_chooses_a_denoising_net_for_images_of_any_size() -> None:
    chosen = nets.for_any_size(DataKind.IMAGES, is_coded=False)
    assert chosen.name == "drunet"
    assert nets.get(chosen.name).ANY_SIZE
    assert chosen.options == nets.config(chosen.name)().model_dump(mode="json")
