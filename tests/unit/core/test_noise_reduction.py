"""The measures of denoising, each against its definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from isthmus.core.noise_reduction import DENOISED, NOISY, measure_for
from isthmus.core.similarity import psnr_db, si_sdr_db
from isthmus.types import DataKind


def noise_reduction(
    kind: DataKind, noisy: torch.Tensor, denoised: torch.Tensor, clean: torch.Tensor
) -> dict[str, float]:
    """The metrics of a run on these rows."""
    measure, rows = measure_for(kind), [each.numpy() for each in (noisy, denoised, clean)]
    peak = float(np.ptp(rows[2]))
    before = measure.numbers(rows[0], rows[2], peak)
    after = measure.of_outputs(rows[1], rows[2], before, peak)
    means = {NOISY: before, DENOISED: after}
    return measure.metrics({whose: float(np.nanmean(each)) for whose, each in means.items()})


def orthogonal_noise(signal: torch.Tensor) -> torch.Tensor:
    """Noise of the signal's power that the signal does not predict at all."""
    noise = torch.randn_like(signal)
    noise = noise - noise.mean(dim=-1, keepdim=True)
    centred = signal - signal.mean(dim=-1, keepdim=True)
    share = (noise * centred).sum(-1, keepdim=True) / centred.square().sum(-1, keepdim=True)
    noise = noise - share * centred
    return (
        noise
        * (centred.square().sum(-1, keepdim=True) / noise.square().sum(-1, keepdim=True)).sqrt()
    )


def test_psnr_is_that_of_each_row_and_equal_rows_stay_finite() -> None:
    target = torch.rand(3, 1, 4, 4) * 255
    output = target + torch.tensor([25.5, 2.55, 0.0]).reshape(3, 1, 1, 1)
    found = psnr_db(output, target, 255.0)
    assert found[:2].tolist() == pytest.approx([20.0, 40.0], abs=1e-3)
    assert 100 < found[2] < 200


@pytest.mark.parametrize("loudness", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 20.0])
def test_si_sdr_is_the_ratio_of_signal_to_noise_whatever_the_loudness_and_the_offset(
    loudness: float, snr_db: float
) -> None:
    torch.manual_seed(0)
    target = loudness * torch.randn(4, 2, 500)
    output = 7 * (target + orthogonal_noise(target) * 10 ** (-snr_db / 20)) + 3 * loudness
    assert si_sdr_db(output, target).tolist() == pytest.approx([snr_db] * 4, abs=1e-3)


def test_a_silent_target_has_no_ratio_and_does_not_count() -> None:
    torch.manual_seed(0)
    target = torch.randn(3, 1, 500)
    noisy = target + orthogonal_noise(target)
    target[1] = 0
    assert si_sdr_db(noisy, target).isnan().tolist() == [False, True, False]
    found = noise_reduction(DataKind.AUDIO, noisy, target + 0.1 * (noisy - target), target)
    assert found["si_sdr_db_noisy"] == pytest.approx(0.0, abs=1e-3)
    assert found["si_sdr_db_denoised"] == pytest.approx(20.0, abs=1e-3)
    assert found["si_sdr_gain_db"] == pytest.approx(20.0, abs=1e-3)


def test_a_tenth_of_the_noise_left_is_twenty_decibels_gained_and_a_hundredth_of_the_error() -> None:
    torch.manual_seed(0)
    clean = torch.rand(5, 1, 8, 8)
    noisy = clean + 0.1 * torch.randn_like(clean)
    better, worse = clean + 0.1 * (noisy - clean), clean + 2 * (noisy - clean)
    images = noise_reduction(DataKind.IMAGES, noisy, better, clean)
    assert images["psnr_gain_db"] == pytest.approx(20.0, abs=1e-2)
    assert images["psnr_db_denoised"] - images["psnr_db_noisy"] == pytest.approx(20.0, abs=1e-2)
    assert noise_reduction(DataKind.IMAGES, noisy, worse, clean)["psnr_gain_db"] < -5
    better[0, 0, 0, 0] = torch.nan  # the worst, and not left out of the mean
    assert noise_reduction(DataKind.IMAGES, noisy, better, clean)["psnr_gain_db"] < -10
    better[0] = clean[0] + 0.1 * (noisy - clean)[0]
    rows = [each.flatten(1) for each in (noisy, better, clean)]
    tables = noise_reduction(DataKind.TABULAR, *rows)
    assert tables == {"noise_mse_ratio": pytest.approx(0.01, rel=1e-3)}


def test_an_output_without_the_signal_has_a_very_low_si_sdr() -> None:
    torch.manual_seed(0)
    target = torch.randn(1, 1, 1000)
    outputs = {"silence": 0 * target, "constant": torch.full_like(target, 0.3)}
    for name, output in outputs.items():
        assert si_sdr_db(output, target).item() == pytest.approx(-150), name
    for loudness in (1.0, 1e-4):
        assert si_sdr_db(-loudness * target, target).item() <= -30
        assert si_sdr_db(loudness * target + 0.3 * loudness, target).item() > 100
    # What is nearer to nothing than that stays where the formula puts it.
    faint = orthogonal_noise(target) - 1e-3 * target
    assert si_sdr_db(faint, target).item() == pytest.approx(-60, abs=0.1)
