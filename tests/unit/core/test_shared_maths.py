"""Losses, scaling and calibration, each against what it is defined to be."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import distributions

from isthmus.core import Calibration, Reconstruction, Scaling
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
