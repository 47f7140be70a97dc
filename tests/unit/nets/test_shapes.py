"""Nets for rows of any shape."""

from __future__ import annotations

import pytest
import torch

from isthmus.nets import get


@pytest.mark.parametrize("size", [(4, 4), (5, 7), (8, 8), (28, 28), (31, 64), (180, 180)], ids=str)
@pytest.mark.parametrize("channels", [1, 3])
def test_conv_takes_images_of_any_size_and_channel_count(
    size: tuple[int, int], channels: int
) -> None:
    conv = get("conv")
    net = conv(conv.Config(), (channels, *size))
    x = torch.rand(2, channels, *size)
    z = net.encoder(6)(x)
    assert z.shape == (2, 6)
    assert net.decoder(6)(z).shape == x.shape


@pytest.mark.parametrize("hidden", [(), (7,), (9, 8, 7)], ids=str)
def test_dense_has_the_hidden_widths_it_is_given_and_the_decoder_mirrors_them(
    hidden: tuple[int, ...],
) -> None:
    dense = get("dense")
    net = dense(dense.Config(hidden=hidden), (5, 2))
    widths = [layer.out_features for layer in net.encoder(3) if isinstance(layer, torch.nn.Linear)]
    mirrored = [
        layer.out_features for layer in net.decoder(3) if isinstance(layer, torch.nn.Linear)
    ]
    assert widths == [*hidden, 3]
    assert mirrored == [*reversed(hidden), 10]


def test_dropout_and_normalisation_stand_between_hidden_layers_only() -> None:
    dense = get("dense")
    net = dense(dense.Config(hidden=(8, 8), dropout=0.5, normalization="layer"), (5,))
    kinds = [type(layer).__name__ for layer in net.encoder(3)]
    block = ["Linear", "LayerNorm", "GELU", "Dropout"]
    assert kinds == ["Flatten", *block, *block, "Linear"]
