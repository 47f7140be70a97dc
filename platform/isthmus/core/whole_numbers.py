"""Evaluates a small net in whole numbers, so that every machine computes exactly the same.

An entropy decoder must use the very probabilities that the encoder used. Floats do not promise
that: another order of additions, another library or a GPU changes their last digits. Here weights
and values are whole numbers, and products are summed in float64, which is exact below 2**53 in
whatever order they are summed.

Source: Balle, Johnston & Minnen 2019, "Integer Networks for Data Compression with Latent-Variable
Models", ICLR, section 3, which trains with such numbers; with 14 binary places for weights it is
enough to round them afterwards.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

PLACES = 10
"""Binary places of values: the whole number v stands for v / 2**PLACES."""
_WEIGHT_PLACES = 14
# With at most 2**13 products of each output, sums stay below 2**53.
_MOST_WEIGHT = 2.0 ** (_WEIGHT_PLACES + 5) - 1
_MOST_VALUE = 2.0 ** (PLACES + 10) - 1
_MOST_PRODUCTS = 2**13


def evaluate(layers: nn.Sequential, x: Tensor) -> Tensor:
    """Applies layers to whole numbers, and returns whole numbers with `PLACES` binary places.

    Args:
        layers: Linear layers, convolutions that keep the size, ReLU and `nn.PixelShuffle`.
        x: Whole numbers without binary places, shape (B, C) or (B, C, H, W).

    Returns:
        Whole numbers in float64 on the CPU, as far as rounding goes 2**PLACES times what the layers
        give.

    Raises:
        TypeError: If a layer is of another type.
        ValueError: If a layer sums up more products than stay exact.
    """
    values = _limited(x.detach().cpu().double() * 2**PLACES)
    for layer in layers:
        if isinstance(layer, nn.Linear | nn.Conv2d):
            values = _weighted(layer, values)
        elif isinstance(layer, nn.ReLU):
            values = values.clamp(min=0.0)
        elif isinstance(layer, nn.PixelShuffle):
            values = functional.pixel_shuffle(values, layer.upscale_factor)
        else:
            raise TypeError(f"{type(layer).__name__} has no evaluation in whole numbers")
    return values


def _weighted(layer: nn.Linear | nn.Conv2d, values: Tensor) -> Tensor:
    """Returns the weighted sums of a layer, rounded down to `PLACES` binary places."""
    weight = (layer.weight.detach().cpu().double() * 2**_WEIGHT_PLACES).round()
    weight = weight.clamp(-_MOST_WEIGHT, _MOST_WEIGHT).flatten(1)
    if weight.shape[1] > _MOST_PRODUCTS:
        raise ValueError(f"{weight.shape[1]:,} products are too many; use a narrower layer")
    if isinstance(layer, nn.Linear):
        sums = values @ weight.t()
        shape = [1, -1]
    else:
        side = layer.kernel_size[0]
        # As products of matrices, since convolutions may be computed by transforms that round.
        taken = functional.unfold(values, side, padding=side // 2)
        sums = torch.unflatten(weight @ taken, 2, values.shape[2:])
        shape = [1, -1, 1, 1]
    assert layer.bias is not None  # noqa: S101 (all layers of such nets have one)
    bias = (layer.bias.detach().cpu().double() * 2 ** (PLACES + _WEIGHT_PLACES)).round()
    return _limited(((sums + bias.reshape(shape)) / 2**_WEIGHT_PLACES).floor())


def _limited(values: Tensor) -> Tensor:
    return values.clamp(-_MOST_VALUE, _MOST_VALUE)
