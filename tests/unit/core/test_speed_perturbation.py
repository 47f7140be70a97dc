"""Sounds at other speeds: the pitch changes, all channels and views alike, and nothing else."""

from __future__ import annotations

import torch

from isthmus.core.speed_perturbation import at_random_speeds

STEPS = 4096


def test_a_tone_gets_another_pitch_within_the_range_and_its_channels_the_same() -> None:
    torch.manual_seed(0)
    frequency = 256
    tone = torch.sin(2 * torch.pi * frequency * torch.arange(STEPS) / STEPS)
    found = at_random_speeds(tone.expand(200, 2, 1, STEPS).clone(), 1.25)
    assert found.shape == (200, 2, 1, STEPS)
    assert torch.equal(found[:, 0], found[:, 1])
    assert found.abs().max() <= 1.0001
    windowed = found[:, 0, 0] * torch.hann_window(STEPS)
    pitches = torch.fft.rfft(windowed).abs().argmax(dim=1) / frequency
    assert 1 / 1.26 < pitches.min() < 0.85
    assert 1.15 < pitches.max() < 1.26


def test_hardly_any_change_of_speed_leaves_rows_as_they_are() -> None:
    rows = torch.sin(torch.arange(600.0)).reshape(2, 1, 300)
    torch.testing.assert_close(at_random_speeds(rows, 1 + 1e-7), rows, rtol=0, atol=1e-3)


def test_the_same_seed_gives_the_same_speeds() -> None:
    rows = torch.randn(3, 1, 50)
    torch.manual_seed(1)
    first = at_random_speeds(rows, 1.2)
    assert not torch.equal(first, at_random_speeds(rows, 1.2))
    torch.manual_seed(1)
    assert torch.equal(first, at_random_speeds(rows, 1.2))
