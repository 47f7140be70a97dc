"""A check passes what is shown to be as good, refuses what is shown to be worse, else neither."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace

import numpy as np
import pytest

from isthmus.promotion import checks
from isthmus.promotion.code_lengths import CodeLengths
from isthmus.promotion.intervals import auroc_of, distance_from_uniform, ratio, share
from isthmus.promotion.verdict import Check, Verdict, numbers_by_check
from isthmus.spec import PromotionSpec
from tests.unit.promotion.judging import check, drawn, evidence, measured, of_noise


def on_error(new, old, seed=0, **changed):
    found = evidence(measured(new), measured(old), seed=seed, **changed)
    return check("reconstruction_error", found).verdict


def test_what_is_shown_to_be_as_good_passes_and_what_is_shown_to_be_worse_is_refused():
    for seed in range(20):
        new, old = drawn(seed)
        assert on_error(0.8 * new, old, seed) == "passed"
        assert on_error(1.5 * new, old, seed) == "refused"
        assert on_error(old, old, seed) == "passed"  # the same model, whatever the rows


@pytest.mark.parametrize(("rows", "effect"), [(10, 1.5), (30, 1.5), (168, 1.2)], ids=str)
def test_a_worse_version_does_not_pass_on_few_rows(rows, effect):
    verdicts = [on_error(effect * drawn(seed, rows)[0], drawn(seed, rows)[1]) for seed in range(60)]
    assert verdicts.count("passed") <= 1


def test_what_so_few_rows_cannot_tell_is_undecided_and_says_how_often_they_can():
    new, old = drawn(1, 30)
    found = check("reconstruction_error", evidence(measured(new), measured(old)))
    assert found.verdict == "undecided"
    assert found.low < 0.02 < found.high
    assert 0 < found.power < 0.5
    assert f"of equally good versions {100 * found.power:.0f} % pass on such rows" in str(found)
    many = check("reconstruction_error", evidence(*map(measured, drawn(1, 20_000))))
    assert (many.verdict, many.power > 0.9) == ("passed", True)


def test_a_retraining_must_be_better_beyond_chance():
    seeds = range(40)
    equal = [on_error(*drawn(seed), seed=seed, must_be_better=True) for seed in seeds]
    better = [
        on_error(0.8 * drawn(seed)[0], drawn(seed)[1], seed=seed, must_be_better=True)
        for seed in seeds
    ]
    assert equal.count("passed") <= 3
    assert set(better) == {"passed"}
    assert on_error(*[drawn(0)[0]] * 2, must_be_better=True) != "passed"  # nothing was gained


def test_pca_has_to_be_beaten_beyond_chance():
    new, old = drawn(0, 300)
    ours = evidence(measured(new))
    assert check("pca", replace(ours, pca_errors=1.3 * old)).verdict == "passed"
    few = evidence(measured(new[:10]))
    assert check("pca", replace(few, pca_errors=1.1 * new[:10] * old[:10])).verdict != "passed"
    # A mean that is not lower is refused, however wide the interval.
    assert check("pca", replace(few, pca_errors=0.999 * old[:10])).verdict == "refused"
    lenient = PromotionSpec(beat_pca=False)
    assert check("pca", replace(few, pca_errors=0.5 * new[:10], bounds=lenient)).is_passed


REFUSED = {
    "more false alarms": ("false_positives", {"is_anomaly": np.arange(200) < 30}),
    "p-values that are none": ("p_values", {"p_values": np.full(200, 0.5)}),
    "many times the size": ("size", {"size_bytes": 4001}),
    "less noise taken away": ("denoising", {"denoised": np.full(200, 0.12)}),
    "less found": ("detection", {"other_scores": np.linspace(0, 3, 100)}),
    "nothing found, for there are no scores": (
        "detection",
        {"other_scores": np.full(100, np.nan)},
    ),
    "a row that gets no score": ("scores", {"scores": np.append(np.linspace(0, 1, 199), np.nan)}),
    "less variance kept": ("explained_variance", {"errors": np.full(200, 0.6)}),
}


@pytest.mark.parametrize(("name", "changed"), REFUSED.values(), ids=REFUSED.keys())
def test_each_check_refuses_what_it_is_there_for_and_passes_what_is_equal(name, changed):
    old = measured(
        np.full(200, 0.5),
        scores=np.linspace(0, 1, 200),
        denoised=np.full(200, 0.1),
        other_scores=np.empty(0) if name == "explained_variance" else np.linspace(0.9, 3, 100),
    )
    noise = None if name == "explained_variance" else of_noise(np.ones(200))
    assert check(name, evidence(old, old, noise=noise)).verdict == "passed"
    assert check(name, evidence(replace(old, **changed), old, noise=noise)).verdict == "refused"


def test_a_coarse_calibration_may_have_the_false_alarms_that_it_promises():
    """18 calibration rows resolve no share below 1 / 19, so their threshold promises no less."""
    rows = measured(np.ones(2000), is_anomaly=np.arange(2000) < 85, rate=1 / 19)
    found = check("false_positives", evidence(rows))
    assert (found.verdict, found.bound) == ("passed", 1 / 19)
    assert "nominal 5.3 %, the least that its calibration rows tell" in found.name
    many = replace(rows, is_anomaly=np.arange(2000) < 130)
    assert check("false_positives", evidence(many)).verdict == "refused"
    fine = check("false_positives", evidence(replace(rows, rate=0.01)))
    assert (fine.bound, "the least" in fine.name) == (0.05, False)


FEW = {
    "no false alarm in thirty rows": ("false_positives", {}),
    "p-values of thirty rows": ("p_values", {}),
    "an AUROC over thirty rows": (
        "detection",
        {"other_scores": 3 + 3 * np.cos(np.arange(30))},
    ),
    "noise taken from thirty rows": ("denoising", {"denoised": drawn(3, 30)[0]}),
    "variance of thirty rows": ("explained_variance", {"errors": drawn(3, 30)[0]}),
}


@pytest.mark.parametrize(("name", "changed"), FEW.values(), ids=FEW.keys())
def test_each_check_is_undecided_where_few_rows_cannot_tell(name, changed):
    errors = drawn(3, 30)[1]
    old = measured(
        errors,
        denoised=errors if name == "denoising" else None,
        other_scores=3 + 3 * np.sin(np.arange(30)) if name == "detection" else np.empty(0),
    )
    noise = None if name == "explained_variance" else of_noise(np.full(30, 20.0))
    found = check(name, evidence(replace(old, **changed), old, noise=noise))
    assert found.verdict == "undecided"


def test_a_slow_machine_is_not_a_slow_model():
    errors = measured(drawn(0)[0])
    quick = np.full((7, 2), 1.0)
    quick[:6, 0] = 10.0  # somebody else had the core, but for one round
    assert check("latency", evidence(errors, errors, seconds=quick)).is_passed
    slow = np.tile([4.0, 1.0], (7, 1))
    assert not check("latency", evidence(errors, errors, seconds=slow)).is_passed
    slow[3, 1] = 4.0  # and a moment in which the champion was slow makes it no quicker
    assert not check("latency", evidence(errors, errors, seconds=slow)).is_passed


def test_a_score_may_be_infinite():
    far = measured(np.full(200, 0.5), other_scores=np.full(10, np.inf))
    assert check("scores", evidence(far, far)).is_passed
    assert check("detection", evidence(far, far)).is_passed


def test_stored_latents_are_kept_where_somebody_asks_for_it():
    errors, asked = measured(drawn(0)[0]), PromotionSpec(max_compatibility_error=0.05)
    assert checks.get("compatibility").judge(evidence(errors, errors, map_error=0.5)) is None
    for error, is_passed in ((0.01, True), (0.06, False), (None, False)):
        found = evidence(errors, errors, map_error=error, bounds=asked)
        assert check("compatibility", found).is_passed == is_passed


def test_the_interval_finds_no_difference_in_equal_errors_and_finds_a_real_one():
    errors = np.random.default_rng(0).gamma(2.0, 1.0, 300)
    others = np.roll(errors, 1)  # other rows are easy, the mean is the same
    found = ratio(others, errors, seed=0)
    assert found.low < 1 < found.high
    exact = ratio(0.9 * errors, errors, seed=0)
    np.testing.assert_allclose((exact.low, exact.value, exact.high), 0.9)


def test_rows_that_do_not_bound_a_ratio_say_so():
    assert math.isinf(ratio(np.ones(10), np.eye(10)[0], seed=0).high)


def test_the_auroc_is_that_of_scikit_learn_with_ties():
    from sklearn.metrics import roc_auc_score

    generator = np.random.default_rng(0)
    normal = generator.integers(0, 20, 90).astype(float)
    other = generator.integers(5, 25, 40).astype(float)
    expected = roc_auc_score(np.repeat([0, 1], [90, 40]), np.concatenate([normal, other]))
    found = auroc_of((normal, other))
    assert found.value == pytest.approx(expected)
    assert found.low < expected < found.high
    same = auroc_of((normal, other), (normal, other))
    assert (same.low, same.value, same.high) == (0, 0, 0)


def test_no_false_alarm_among_few_rows_is_no_proof_that_there_are_none():
    assert share(np.zeros(20, dtype=bool)).high > 0.1
    assert share(np.zeros(2000, dtype=bool)).high < 0.01
    assert share(np.ones(20, dtype=bool)).high == 1.0
    assert distance_from_uniform(np.full(100, 0.5)).value == pytest.approx(0.5)


def test_every_check_is_found_by_the_name_of_its_file_and_gives_numbers():
    errors = measured(drawn(0)[0], other_scores=10 * drawn(0)[1], denoised=drawn(0)[0])
    asked = PromotionSpec(max_compatibility_error=0.05)
    noise = of_noise(10 * drawn(0)[1], own_denoised=errors.denoised, filtered=2 * errors.denoised)
    old = evidence(errors, errors, noise=noise, bounds=asked, map_error=0.01)
    plain = evidence(measured(drawn(0)[0]))
    coded = measured(drawn(0)[0], code_lengths=CodeLengths(np.full(200, 9.0), 2.0))
    runs = map(checks.run, (plain, old, evidence(coded, coded)))
    found = {each.check: each for run in runs for each in run}
    assert set(found) == set(checks.names())
    places = [checks.get(name).PLACE for name in checks.names()]
    assert len(set(places)) == len(places)
    for name, each in found.items():
        assert name == each.check
        texts = {"check", "name", "verdict", "unit", "scale"}
        numbers = {field.name for field in fields(Check)} - texts
        assert all(
            value is None or isinstance(value, int | float)
            for key, value in each.numbers().items()
            if key in numbers
        )
        assert str(each).startswith(each.name)


def test_a_verdict_is_json_even_where_nothing_is_bounded():
    endless = Check("pca", "error", 1.0, 2.0, 0.5, -math.inf, math.inf, 0.0, "undecided")
    refused = Check("size", "size", 9.0, 1.0, 9.0, bound=4.0, verdict="refused", unit="bytes")
    verdict = Verdict("m/2", "m/1", 30, (endless, refused), "", "enforce")
    said = json.loads(json.dumps(verdict.numbers(), allow_nan=False))
    assert (said["outcome"], said["checks"][0]["high"]) == ("refused", None)
    assert numbers_by_check(verdict.checks)["size"] == {
        **{"value": 9.0, "beside": 1.0, "low": None, "high": None, "bound": 4.0},
        "verdict": "refused",
    }
    assert replace(verdict, checks=(endless,)).outcome == "undecided"
    assert not replace(verdict, checks=(endless,)).may_be_champion
    assert replace(verdict, checks=(endless,)).may_be_chosen
    assert not verdict.may_be_chosen
