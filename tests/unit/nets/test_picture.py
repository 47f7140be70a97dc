"""The convolution that ends a decoder is torch's own, however it is computed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from isthmus.nets._picture import ToPicture


def pair(channels: int, outputs: int, dtype=torch.float32) -> tuple[ToPicture, nn.Conv2d]:
    torch.manual_seed(0)
    ours = ToPicture(channels, outputs).to(dtype)
    theirs = nn.Conv2d(channels, outputs, 3, padding=1).to(dtype)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


@pytest.mark.parametrize("outputs", [1, 3, 5])
@pytest.mark.parametrize("size", [(28, 28), (7, 12), (1, 1), (1, 5)])
def test_results_and_gradients_are_those_of_a_convolution(outputs, size):
    ours, theirs = pair(16, outputs)
    found = []
    for layer in (ours, theirs):
        x = torch.randn(3, 16, *size, generator=torch.Generator().manual_seed(1))
        x.requires_grad_()
        picture = layer(x)
        picture.square().sum().backward()
        found.append((picture, x.grad, layer.weight.grad, layer.bias.grad))
    for mine, wanted in zip(*found, strict=True):
        torch.testing.assert_close(mine, wanted, rtol=1e-4, atol=1e-4)


def test_it_can_be_differentiated_twice():
    ours, _ = pair(3, 2, torch.float64)
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(ours, x)
    assert torch.autograd.gradgradcheck(ours, x)


def test_mixed_precision_is_left_to_torch():
    ours, theirs = pair(8, 1)
    x = torch.randn(2, 8, 6, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(ours(x), theirs(x))
