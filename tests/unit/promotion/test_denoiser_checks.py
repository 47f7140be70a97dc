"""The gate judges a denoiser by what it makes of rows with noise, beside what costs nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from isthmus.core.noise_reduction import ERROR, PSNR, SI_SDR
from isthmus.promotion import checks
from isthmus.spec import PromotionSpec
from tests.unit.promotion.judging import check, drawn, evidence, measured, of_noise

# Of each measure, rows that are worse and rows that are better, by 3 dB.
MEASURES = {
    "PSNR of images": (PSNR, 25 + drawn(0)[0], 28 + drawn(0)[1]),
    "SI-SDR of sounds": (SI_SDR, 5 + drawn(0)[0], 8 + drawn(0)[1]),
    "error of tables": (ERROR, 2 * drawn(0)[0], drawn(0)[1]),
}


def denoiser(numbers, noise, **changed):
    return evidence(measured(drawn(0)[0], denoised=numbers), noise=noise, **changed)


@pytest.mark.parametrize(("measure", "worse", "better"), MEASURES.values(), ids=MEASURES.keys())
def test_rows_that_are_worse_after_denoising_are_refused(measure, worse, better):
    found = check("noise_removed", denoiser(better, of_noise(worse, measure)))
    assert found.verdict == "passed"
    found = check("noise_removed", denoiser(worse, of_noise(better, measure)))
    assert found.verdict == "refused"
    assert "not lower" in str(found) or "lower beyond chance" in str(found)
    detects = PromotionSpec(must_denoise=False)
    lenient = denoiser(worse, of_noise(better, measure), bounds=detects)
    assert check("noise_removed", lenient).is_passed


@pytest.mark.parametrize(("measure", "worse", "better"), MEASURES.values(), ids=MEASURES.keys())
def test_a_classical_filter_is_shown_and_only_has_to_be_beaten_if_the_job_says_so(
    measure, worse, better
):
    filtered = better.copy()
    filtered[100:] = np.nan  # non-local means is slow, so that only some rows are filtered
    noise = of_noise(worse, measure, own_denoised=worse, filtered=filtered)
    found = check("classical_filter", denoiser(worse, noise))
    assert (found.verdict, found.bound) == ("passed", None)
    assert found.beside == pytest.approx(better[:100].mean())
    asked = PromotionSpec(beat_filter=True)
    assert check("classical_filter", denoiser(worse, noise, bounds=asked)).verdict == "refused"
    ours_is_better = replace(noise, own_denoised=better, filtered=worse)
    found = check("classical_filter", denoiser(worse, ours_is_better, bounds=asked))
    assert found.verdict == "passed"


@pytest.mark.parametrize(("measure", "worse", "better"), MEASURES.values(), ids=MEASURES.keys())
@pytest.mark.parametrize("lost", [np.nan, np.inf], ids=str)
def test_outputs_that_are_no_numbers_count_as_the_worst(measure, worse, better, lost):
    """A denoiser that fails on three rows in four is not judged by the fourth alone."""
    broken = np.where(np.arange(200) < 150, lost, better)
    found = check("noise_removed", denoiser(broken, of_noise(worse, measure)))
    assert found.verdict == "refused"
    champion = measured(drawn(0)[0], denoised=worse)
    found = evidence(
        measured(drawn(0)[0], denoised=broken), champion, noise=of_noise(worse, measure)
    )
    assert check("denoising", found).verdict == "refused"
    # Rows that have no number with noise, such as silence, say nothing.
    silent = np.where(np.arange(200) < 150, np.nan, worse)
    assert check("noise_removed", denoiser(broken, of_noise(silent, measure))).verdict == "passed"


@pytest.mark.parametrize("measure", [PSNR, SI_SDR, ERROR], ids=lambda each: each.words)
def test_a_row_of_which_a_part_is_lost_has_the_worst_number(measure):
    shape = (3, 1, 8, 8) if measure is PSNR else (3, 2, 64)
    clean = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    if measure is ERROR:
        clean[2, 0, 0] = np.nan  # a missing value of a table
    noisy = clean + np.float32(0.1)
    made = noisy.copy()
    made[1, 0, 0] = np.nan
    found = measure.of_outputs(made, clean, measure.numbers(noisy, clean))
    assert np.isfinite(found).all()
    assert found[1] == measure.worst
    assert found[[0, 2]] == pytest.approx(measure.numbers(noisy, clean)[[0, 2]])


@pytest.mark.parametrize(("measure", "worse", "better"), MEASURES.values(), ids=MEASURES.keys())
def test_a_denoiser_that_ruins_rows_with_weak_noise_is_refused(measure, worse, better):
    noise = of_noise(worse, measure, weakly_noisy=better, weakly_denoised=worse)
    found = check("noise_removed", denoiser(better, noise))
    assert found.verdict == "refused"
    assert "weakest noise" in found.name
    noise = of_noise(better, measure, weakly_noisy=worse, weakly_denoised=better)
    found = check("noise_removed", denoiser(worse, noise))
    assert (found.verdict, "strongest noise" in found.name) == ("refused", True)


def test_a_gain_is_in_decibels_of_each_measure():
    noisy, denoised = np.full(50, 0.1), np.full(50, 0.01)
    for measure in (PSNR, SI_SDR):
        found = check("noise_removed", denoiser(noisy + 7, of_noise(noisy, measure)))
        assert (found.value, found.beside, found.change) == pytest.approx((7.1, 0.1, 7.0))
    found = check("noise_removed", denoiser(denoised, of_noise(noisy, ERROR)))
    assert (found.value, found.beside, found.change) == pytest.approx((0.01, 0.1, -0.9))


@pytest.mark.parametrize("name", ["p_values", "false_positives"])
def test_the_threshold_is_not_judged_of_a_pair_that_denoises_alone(name):
    off = measured(drawn(0)[0], p_values=np.full(200, 0.001), is_anomaly=np.ones(200, dtype=bool))
    assert check(name, evidence(off)).verdict == "refused"
    assert checks.get(name).judge(evidence(off, finds_anomalies=False)) is None


def test_pca_is_asked_for_only_where_it_has_fewer_numbers_than_a_row():
    without = evidence(measured(drawn(0)[0]), pca_errors=np.empty(0), pca_components=0)
    assert checks.get("pca").judge(without) is None


@pytest.mark.parametrize(("measure", "worse", "better"), MEASURES.values(), ids=MEASURES.keys())
def test_a_denoiser_that_gains_less_than_the_champion_is_refused(measure, worse, better):
    noise = of_noise(worse + 3 if measure is ERROR else worse - 3, measure)
    new, old = (measured(drawn(0)[0], denoised=each) for each in (worse, better))
    assert check("denoising", evidence(new, old, noise=noise)).verdict == "refused"
    assert check("denoising", evidence(old, new, noise=noise)).verdict == "passed"
