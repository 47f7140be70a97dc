"""Losses, corruptions, scaling and calibration, each against what it is defined to be."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import distributions

from isthmus.core import Calibration, Corruption, Reconstruction, Scaling, corrupt
from isthmus.core.entropy_model import FactorizedDensity, bits
from isthmus.core.gaussian import kl_to_standard_normal
from isthmus.types import ReconstructionLoss


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (ReconstructionLoss.MSE, 0.25 + 9.0),
        (ReconstructionLoss.L1, 0.5 + 3.0),
        (ReconstructionLoss.HUBER, 0.5 * 0.25 + 2.5),
    ],
    ids=str,
)
def test_a_reconstruction_error_is_summed_over_the_row(
    loss: ReconstructionLoss, expected: float
) -> None:
    output, target = torch.tensor([[[0.5], [3.0]]]), torch.zeros(1, 2, 1)
    assert Reconstruction(loss, (2, 1))(output, target).tolist() == pytest.approx([expected])


def test_bce_is_the_negative_log_likelihood_of_the_activated_output() -> None:
    logits, target = torch.randn(5, 7), torch.randint(0, 2, (5, 7)).float()
    likelihood = distributions.Bernoulli(probs=torch.sigmoid(logits))
    expected = -likelihood.log_prob(target).sum(dim=1)
    found = Reconstruction(ReconstructionLoss.BCE, (7,))(logits, target)
    torch.testing.assert_close(found, expected)


@given(st.integers(0, 2**31 - 1))
def test_the_kl_term_is_that_of_two_normal_distributions(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    mean, log_variance = torch.randn(2, 4, 3, generator=generator, dtype=torch.float64)
    posterior = distributions.Normal(mean, (0.5 * log_variance).exp())
    expected = distributions.kl_divergence(posterior, distributions.Normal(0.0, 1.0)).sum(dim=1)
    torch.testing.assert_close(kl_to_standard_normal(mean, log_variance), expected)


def test_gaussian_corruption_has_the_standard_deviation_it_is_given() -> None:
    torch.manual_seed(0)
    noise = corrupt(torch.zeros(100_000, 2), Corruption.GAUSSIAN, 0.3)
    assert noise.std().item() == pytest.approx(0.3, rel=0.02)
    assert noise.mean().item() == pytest.approx(0.0, abs=0.01)


def test_masking_sets_the_given_share_to_zero_and_leaves_the_rest() -> None:
    torch.manual_seed(0)
    x = torch.rand(50_000, 2) + 1
    masked = corrupt(x, Corruption.MASKING, 0.25)
    is_zero = masked == 0
    assert is_zero.float().mean().item() == pytest.approx(0.25, abs=0.01)
    assert torch.equal(masked[~is_zero], x[~is_zero])


def test_salt_and_pepper_uses_the_extremes_evenly() -> None:
    torch.manual_seed(0)
    x = torch.rand(50_000, 2)
    noisy = corrupt(x, Corruption.SALT_AND_PEPPER, 0.2)
    changed = noisy[noisy != x]
    assert len(changed) / x.numel() == pytest.approx(0.2, abs=0.01)
    assert (changed == x.max()).float().mean().item() == pytest.approx(0.5, abs=0.03)
    assert ((changed == x.max()) | (changed == x.min())).all()


def test_each_row_may_have_a_level_of_its_own() -> None:
    torch.manual_seed(0)
    levels = torch.tensor([[0.0], [1.0]])
    noise = corrupt(torch.zeros(2, 10_000), Corruption.GAUSSIAN, levels)
    assert noise[0].abs().max() == 0
    assert noise[1].std().item() == pytest.approx(1.0, rel=0.05)


def test_scaling_goes_there_and_back_and_fills_the_mean_for_what_is_missing() -> None:
    scaling = Scaling((3,))
    scaling.fit(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 4.0, 8.0]))
    x = torch.tensor([[5.0, 6.0, 7.0], [1.0, torch.nan, 3.0]])
    scaled = scaling(x)
    assert scaled.tolist() == [[2.0, 1.0, 0.5], [0.0, 0.0, 0.0]]
    torch.testing.assert_close(scaling.inverse(scaled)[0], x[0])
    assert scaling.inverse(scaled)[1, 1] == 2.0


def test_calibrated_p_values_are_the_share_of_normal_scores_at_least_as_high() -> None:
    calibration = Calibration()
    normal = torch.randn(20_000, generator=torch.Generator().manual_seed(0))
    calibration.fit(normal)
    p_values = calibration.p_values(torch.tensor([-100.0, 0.0, 1.645, 100.0]))
    assert p_values.tolist() == pytest.approx([1.0, 0.5, 0.05, 0.001], abs=0.01)
    flagged = calibration.is_anomaly(normal).float().mean().item()
    assert flagged == pytest.approx(0.01, abs=0.001)


def test_an_uncalibrated_module_calls_nothing_an_anomaly() -> None:
    assert not Calibration().is_anomaly(torch.tensor([0.0, 1e9])).any()


def test_mixed_precision_leaves_the_bits_of_a_latent_and_their_gradient_all_digits() -> None:
    torch.manual_seed(0)
    density = FactorizedDensity(8)
    y = 10 * torch.randn(256, 8)
    found = []
    for is_mixed in (False, True):
        y.requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=is_mixed):
            needed = bits(density.likelihood(y)).mean()
        (gradient,) = torch.autograd.grad(needed, y)
        found.append((needed.detach(), gradient))
    for full, mixed in zip(*found, strict=True):
        torch.testing.assert_close(mixed, full, rtol=1e-4, atol=1e-6)
