"""Masks on the spectrum: what is kept comes back exactly, at any loudness."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from isthmus import nets
from isthmus.nets._fourier import ShortTimeFourier
from isthmus.types import Shape


def halves(shape: Shape, **options: object) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    net = nets.get("spectral_mask")
    made = net(net.Config(**options), shape)
    latent_dim = made.fixed_latent_dim()
    assert latent_dim is not None
    return made.encoder(latent_dim).eval(), made.decoder(latent_dim).eval()


@pytest.mark.parametrize(
    ("steps", "frame", "hop"), [(4, 4, 2), (257, 32, 16), (1000, 64, 16), (2048, 256, 128)]
)
def test_a_spectrum_that_was_not_changed_gives_the_signal_again(
    steps: int, frame: int, hop: int
) -> None:
    fourier = ShortTimeFourier(steps, frame, hop)
    x = torch.randn(3, 2, steps)
    spectra = fourier(x)
    assert spectra.shape == (3, 2, 2, fourier.frequencies, fourier.frames)
    torch.testing.assert_close(fourier.inverse(spectra), x, rtol=0, atol=1e-5)


def test_a_tone_has_its_power_at_its_frequency() -> None:
    fourier = ShortTimeFourier(800, 80, 40)
    x = torch.sin(2 * torch.pi * 0.1 * torch.arange(800))[None, None]
    power = fourier(x).square().sum(dim=2)[0, 0, :, 4:-4].mean(dim=1)
    assert power.argmax() == 8
    assert power[7:10].sum() > 0.99 * power.sum()


@pytest.mark.parametrize("shape", [(1, 1000), (2, 300)], ids=str)
def test_a_sound_that_is_twice_as_loud_is_denoised_to_one_twice_as_loud(shape: Shape) -> None:
    encoder, decoder = halves(shape)
    x = torch.randn(2, *shape)
    found = decoder(encoder(x))
    for factor in (400.0, 1e-4):
        torch.testing.assert_close(
            decoder(encoder(factor * x)) / factor, found, rtol=1e-3, atol=1e-4
        )


def test_silence_gives_silence_and_no_nan() -> None:
    encoder, decoder = halves((1, 512))
    x = torch.zeros(2, 1, 512, requires_grad=True)
    found = decoder(encoder(x))
    assert (found == 0).all()
    found.sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


def test_an_untrained_mask_lets_nearly_everything_through() -> None:
    encoder, decoder = halves((2, 512), frame=64)
    x = torch.randn(4, 2, 512)
    changed = (decoder(encoder(x)) - x).square().mean() / x.square().mean()
    assert 0 < changed < 0.3


def test_frames_that_cover_each_step_more_often_make_more_of_them() -> None:
    net = nets.get("spectral_mask")
    sizes = [net(net.Config(overlap=n), (1, 2048)).fixed_latent_dim() for n in (2, 4, 8)]
    assert sizes == sorted(sizes)


def test_another_latent_size_is_refused_with_the_right_one() -> None:
    net = nets.get("spectral_mask")
    made = net(net.Config(), (1, 256))
    why = made.refusal(32)
    assert why is not None
    assert str(made.fixed_latent_dim()) in why
    assert why.endswith("use latent_dim: auto")
    with pytest.raises(ValueError, match="latent_dim: auto"):
        made.encoder(32)
