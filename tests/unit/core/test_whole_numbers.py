"""Small nets in whole numbers: near to floats, and the same however they are computed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from isthmus.core.whole_numbers import PLACES, evaluate


def convolutions() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(6, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 1),
        nn.PixelShuffle(2),
        nn.ReLU(),
        nn.Conv2d(8, 5, 3, padding=1),
    )


def test_whole_numbers_agree_with_floats_to_the_places_that_they_have():
    layers, x = convolutions(), torch.randint(-9, 10, (2, 6, 5, 7))
    found = evaluate(layers, x) / 2**PLACES
    torch.testing.assert_close(found.float(), layers(x.float()), atol=0.02, rtol=0.0)


def test_values_are_whole_and_the_same_with_any_threads_batch_and_default_type():
    layers, x = convolutions(), torch.randint(-50, 50, (3, 6, 9, 9))
    expected = evaluate(layers, x)
    assert torch.equal(expected, expected.round())
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert torch.equal(evaluate(layers, x), expected)
        torch.set_default_dtype(torch.float64)
        assert torch.equal(evaluate(layers, x), expected)
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(torch.float32)
    alone = torch.cat([evaluate(layers, each[None]) for each in x])
    assert torch.equal(alone, expected)


def test_huge_values_are_limited_so_that_sums_stay_exact():
    layers = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
    with torch.no_grad():
        for weight in layers.parameters():
            weight.fill_(1e6)
    x = torch.full((4, 64), 2**40)
    x[1:, ::2] = 0
    found = evaluate(layers, x)
    assert found.abs().max() < 2**21
    permuted = torch.randperm(64)
    assert torch.equal(evaluate(layers, x[:, permuted]), found)


def test_a_layer_without_an_evaluation_is_refused():
    with pytest.raises(TypeError, match="Tanh"):
        evaluate(nn.Sequential(nn.Tanh()), torch.zeros(1, 1))
