"""Reconstruction losses against what they are defined to be, and where each is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import distributions

from isthmus.core import Reconstruction
from isthmus.core.similarity import multiscale_ssim, peak_signal_to_noise_ratio, ssim
from isthmus.core.spectrum import spectral_distance
from isthmus.spec.losses import refusal
from isthmus.types import DataKind, ReconstructionLoss


@pytest.mark.parametrize("row_shape", [(5,), (3, 4, 4), (2, 9)], ids=str)
def test_gaussian_nll_is_the_likelihood_of_a_normal_distribution(
    row_shape: tuple[int, ...],
) -> None:
    torch.manual_seed(0)
    loss = Reconstruction(ReconstructionLoss.GAUSSIAN_NLL, row_shape)
    with torch.no_grad():
        loss.log_variance.normal_()
    output, target = torch.randn(2, 6, *row_shape)
    normal = distributions.Normal(output, (0.5 * loss.log_variance).exp().expand(output.shape))
    expected = normal.log_prob(target).flatten(1).sum(dim=1)
    torch.testing.assert_close(loss.log_likelihood(output, target), expected)
    torch.testing.assert_close(loss(output, target), -expected)


def test_the_learned_variance_becomes_that_of_the_residuals() -> None:
    torch.manual_seed(0)
    loss = Reconstruction(ReconstructionLoss.GAUSSIAN_NLL, (2,))
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.05)
    residuals = torch.randn(4096, 2) * torch.tensor([0.2, 3.0])
    for _ in range(300):
        optimizer.zero_grad()
        loss(torch.zeros_like(residuals), residuals).mean().backward()
        optimizer.step()
    found = (0.5 * loss.log_variance).exp().tolist()
    assert found == pytest.approx(residuals.square().mean(dim=0).sqrt().tolist(), rel=0.02)


@pytest.mark.parametrize(
    ("similarity", "size"),
    [
        *((ssim, size) for size in ((8, 8), (9, 14), (28, 28))),
        *((multiscale_ssim, size) for size in ((40, 33), (60, 60), (96, 96))),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_images_are_most_similar_to_themselves_and_less_so_the_more_noise(
    similarity: Callable[..., torch.Tensor], size: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    x = torch.rand(4, 3, *size)
    noise = torch.randn_like(x)
    found = [similarity((x + level * noise).clamp(0, 1), x) for level in (0.0, 0.05, 0.3)]
    torch.testing.assert_close(found[0], torch.ones(4))
    assert (found[0] > found[1]).all()
    assert (found[1] > found[2]).all()


def test_the_structural_loss_is_on_the_scale_of_a_row() -> None:
    x = torch.rand(2, 1, 8, 8)
    loss = Reconstruction(ReconstructionLoss.SSIM, (1, 8, 8))
    torch.testing.assert_close(loss(1 - x, x), 64 * (1 - ssim(1 - x, x)))


def test_a_spectral_distance_hears_a_wrong_pitch_and_not_a_shift() -> None:
    time = torch.arange(1024) / 8000
    tone = torch.sin(2 * torch.pi * 500 * time)[None, None]
    shifted = torch.sin(2 * torch.pi * 500 * time + 0.5)[None, None]
    other = torch.sin(2 * torch.pi * 900 * time)[None, None]
    assert spectral_distance(tone, tone).item() == pytest.approx(0.0, abs=1e-6)
    assert spectral_distance(shifted, tone) < 0.5 * spectral_distance(other, tone)


@pytest.mark.parametrize("named", [ReconstructionLoss.SPECTRAL, ReconstructionLoss.SNR])
def test_silence_gives_finite_gradients(named: ReconstructionLoss) -> None:
    output = torch.zeros(2, 1, 64, requires_grad=True)
    loss = Reconstruction(named, (1, 64))
    loss(output, torch.zeros(2, 1, 64)).sum().backward()
    assert output.grad is not None
    assert torch.isfinite(output.grad).all()


def test_the_snr_loss_falls_by_as_much_for_a_quiet_sound_as_for_a_loud_one() -> None:
    torch.manual_seed(0)
    clean = torch.randn(1, 1, 512)
    noise = 0.3 * torch.randn(1, 1, 512)
    loudness = torch.tensor([1.0, 0.01])[:, None, None]
    output = (loudness * (clean + noise)).requires_grad_()
    loss = Reconstruction(ReconstructionLoss.SNR, (1, 512))
    found = loss(output, loudness * clean)
    ratio = noise.square().mean() / clean.var(correction=0)
    expected = (256 * (ratio + 1e-3).log()).expand(2)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=0)
    found.sum().backward()
    assert output.grad is not None
    # A step by the same share of each sound changes the loss of both alike.
    torch.testing.assert_close(output.grad[0], 0.01 * output.grad[1], rtol=1e-4, atol=1e-4)


def test_psnr_counts_the_peak_as_the_range_of_the_target() -> None:
    target = torch.tensor([0.0, 10.0])
    assert peak_signal_to_noise_ratio(target + 1.0, target) == pytest.approx(20.0)


@pytest.mark.parametrize(
    ("loss", "kind", "row_shape", "instead"),
    [
        ("ssim", "tabular", (9,), "mse"),
        ("ms_ssim", "images", (1, 16, 40), "ssim"),
        ("spectral", "images", (1, 64, 64), "l1"),
        ("spectral", "series", (2, 16), "l1"),
        ("ssim", "images", (1, 8, 8), None),
        ("spectral", "audio", (1, 1024), None),
        ("snr", "images", (1, 64, 64), "mse"),
        ("snr", "audio", (1, 4), None),
        ("gaussian_nll", "tabular", (3,), None),
    ],
)
def test_a_loss_is_refused_where_it_means_nothing_with_what_to_use(
    loss: str, kind: str, row_shape: tuple[int, ...], instead: str | None
) -> None:
    why = refusal(ReconstructionLoss(loss), DataKind(kind), row_shape)
    assert (why is None) if instead is None else (why is not None and instead in why)


@pytest.mark.parametrize("loss", ReconstructionLoss)
def test_mixed_precision_leaves_a_loss_and_its_gradient_all_digits(
    loss: ReconstructionLoss,
) -> None:
    row_shape = (2, 64) if loss is ReconstructionLoss.SPECTRAL else (1, 32, 32)
    module = Reconstruction(loss, row_shape)
    torch.manual_seed(0)
    target = torch.rand(4, *row_shape)
    found = []
    for is_mixed in (False, True):
        # Near the end of training, where the differences are small.
        torch.manual_seed(1)
        output = (target + 0.01 * torch.randn_like(target)).bfloat16()
        output = (output if is_mixed else output.float()).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=is_mixed):
            values = (module.mean(output, target), module(output, target).mean())
        assert {each.dtype for each in values} == {torch.float32}
        (gradient,) = torch.autograd.grad(values[0], output)
        found.append((*values, gradient.float()))
    for full, mixed in zip(*found, strict=True):
        torch.testing.assert_close(
            mixed, full, rtol=1e-2, atol=1e-2 * float(full.detach().abs().max())
        )
