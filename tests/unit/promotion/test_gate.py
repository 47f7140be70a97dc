"""The gate lets what is as good, and refuses what is worse; chance does not decide."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from isthmus import promotion
from isthmus.aliases import champion_of, demote, history
from isthmus.errors import ModelNotFound, PromotionRefused, UsageError
from isthmus.promotion import checks
from isthmus.promotion.bootstrap import auroc, improvement, once, resampled
from isthmus.promotion.measures import Measured
from isthmus.registry import annotation
from isthmus.spec import PromotionSpec
from isthmus.tracking import open_store
from tests.challengers import register, write_rows

BOUNDS = PromotionSpec()


def measured(errors, **changed):
    rows = len(errors)
    whole = Measured(
        reference="m/1",
        errors=errors,
        scores=errors,
        p_values=(np.arange(rows) + 0.5) / rows,
        is_anomaly=np.zeros(rows, dtype=bool),
        other_scores=np.empty(0),
        denoised_errors=None,
        size_bytes=1000,
    )
    return replace(whole, **changed)


def failed(verdict):
    return {check.name for check in verdict.checks if not check.is_passed}


def is_let(new, old, **options):
    options = {"must_be_better": False, "seed": 0} | options
    return checks.check_error(measured(new), measured(old), BOUNDS, **options).is_passed


def drawn(seed, rows=200):
    """Errors of two models of the same worth: rows are hard or easy for both, and luck differs."""
    generator = np.random.default_rng(seed)
    hardness = generator.gamma(2.0, 1.0, rows)
    return [hardness * generator.gamma(20.0, 0.05, rows) for _ in range(2)]


def test_an_equal_challenger_is_let_and_a_worse_one_refused_whatever_the_seed():
    seeds = range(40)
    equal = [is_let(*drawn(seed), seed=seed) for seed in seeds]
    worse = [is_let(1.2 * drawn(seed)[0], drawn(seed)[1], seed=seed) for seed in seeds]
    assert sum(equal) >= 39
    assert sum(worse) == 0


def test_a_retraining_must_be_better_beyond_chance():
    seeds = range(40)
    equal = [is_let(*drawn(seed), seed=seed, must_be_better=True) for seed in seeds]
    better = [
        is_let(0.8 * drawn(seed)[0], drawn(seed)[1], seed=seed, must_be_better=True)
        for seed in seeds
    ]
    assert sum(equal) <= 3
    assert sum(better) == len(seeds)


def test_the_bootstrap_finds_no_difference_in_equal_errors_and_finds_a_real_one():
    errors = np.random.default_rng(0).gamma(2.0, 1.0, 300)
    others = np.roll(errors, 1)  # other rows are easy, the mean is the same
    low, high = resampled(improvement(others, errors), 300, seed=0)
    assert low < 0 < high
    np.testing.assert_allclose(resampled(improvement(0.9 * errors, errors), 300, seed=0), 0.1)


def test_the_auroc_is_that_of_scikit_learn_with_ties():
    from sklearn.metrics import roc_auc_score

    generator = np.random.default_rng(0)
    normal = generator.integers(0, 20, 90).astype(float)
    other = generator.integers(5, 25, 40).astype(float)
    expected = roc_auc_score(np.repeat([0, 1], [90, 40]), np.concatenate([normal, other]))
    assert once(auroc(normal, other), 90, 40) == pytest.approx(expected)
    low, high = resampled(auroc(normal, other), 90, 40, seed=0)
    assert low < expected < high


REFUSED = {
    "more false alarms": (
        {"is_anomaly": np.arange(200) < 30},
        lambda new, old: checks.check_calibration(new, old, BOUNDS, 0)[0],
    ),
    "p-values that are none": (
        {"p_values": np.full(200, 0.5)},
        lambda new, old: checks.check_calibration(new, old, BOUNDS, 0)[1],
    ),
    "many times the size": (
        {"size_bytes": 4001},
        lambda new, old: checks.check_size(new, old, BOUNDS),
    ),
    "less noise taken away": (
        {"denoised_errors": np.full(200, 0.12)},
        lambda new, old: checks.check_denoising(new, old, np.ones(200), BOUNDS, 0),
    ),
    "less found": (
        {"other_scores": np.linspace(0, 3, 100)},
        lambda new, old: checks.check_detection(new, old, BOUNDS, 0),
    ),
    "nothing found, for there are no scores": (
        {"other_scores": np.full(100, np.nan)},
        lambda new, old: checks.check_detection(new, old, BOUNDS, 0),
    ),
    "a row that gets no score": (
        {"scores": np.append(np.linspace(0, 1, 199), np.nan)},
        lambda new, old: checks.check_scores(new),
    ),
    "less variance kept": (
        {"errors": np.full(200, 0.6)},
        lambda new, old: checks.check_variance(new, old, np.full(200, 2.0), BOUNDS, 0),
    ),
}


@pytest.mark.parametrize(("changed", "check"), REFUSED.values(), ids=REFUSED.keys())
def test_each_check_refuses_what_it_is_there_for_and_lets_what_is_equal(changed, check):
    old = measured(
        np.full(200, 0.5),
        scores=np.linspace(0, 1, 200),
        denoised_errors=np.full(200, 0.1),
        other_scores=np.linspace(0.9, 3, 100),
    )
    assert check(old, old).is_passed
    assert not check(replace(old, **changed), old).is_passed


def test_a_slow_machine_is_not_a_slow_model():
    quick = np.full((7, 2), 1.0)
    quick[:6, 0] = 10.0  # somebody else had the core, but for one round
    assert checks.check_latency(quick, BOUNDS).is_passed
    slow = np.tile([4.0, 1.0], (7, 1))
    assert not checks.check_latency(slow, BOUNDS).is_passed
    slow[3, 1] = 4.0  # and a moment in which the champion was slow makes it no quicker
    assert not checks.check_latency(slow, BOUNDS).is_passed


def test_a_score_may_be_infinite():
    far = measured(np.full(200, 0.5), other_scores=np.full(10, np.inf))
    assert checks.check_scores(far).is_passed
    assert checks.check_detection(far, far, BOUNDS, 0).is_passed


def test_stored_latents_are_kept_where_somebody_asks_for_it():
    assert checks.check_compatibility(0.01, 0.05).is_passed
    assert not checks.check_compatibility(0.06, 0.05).is_passed
    assert not checks.check_compatibility(None, 0.05).is_passed


def test_versions_are_judged_against_the_champion_and_pca(versions, settings):
    first = promotion.judge("m", 1, None, settings)
    assert (first.outcome, first.champion) == ("passed", None)
    equal = promotion.judge("m", 2, 1, settings)
    assert equal.outcome == "passed"
    better = promotion.judge("m", 1, 3, settings, must_be_better=True)
    assert better.outcome == "passed"
    assert promotion.judge("m", 2, 1, settings, must_be_better=True).outcome == "refused"
    worse = promotion.judge("m", 3, 1, settings)
    assert {"reconstruction error", "error beside PCA at 2"} <= failed(worse)
    assert "95 % interval" in worse.reason
    assert "AUROC" in {check.name for check in worse.checks}
    assert not worse.may_be_champion
    assert promotion.judge("m", 4, 1, settings).may_be_champion  # its job only wants a warning


def test_a_refusal_is_told_on_the_version_and_can_be_overridden(versions, settings):
    promotion.promote("m", 1, settings)
    with pytest.raises(PromotionRefused, match="reconstruction error") as refused:
        promotion.promote("m", 3, settings)
    assert len(str(refused.value).splitlines()) == 1
    assert champion_of("m", settings) == 1
    for half in ("encoder", "decoder"):
        version = open_store(settings).get_model_version(f"m-{half}", "3")
        assert version.tags["isthmus.verdict"] == "refused"
        assert "| reconstruction error |" in version.description
    with pytest.raises(UsageError, match="--why"):
        promotion.promote("m", 3, settings, force=True)
    promotion.promote("m", 3, settings, force=True, why="a drill")
    assert champion_of("m", settings) == 3
    assert history("m", settings)[-1].why == "a drill; the gate: refused"
    demote("m", settings, "champion")


def test_other_aliases_need_no_gate(versions, settings):
    assert promotion.promote("m", 3, settings, "candidate").verdict is None
    with pytest.raises(ModelNotFound, match="no version 9"):
        promotion.promote("m", 9, settings)


def test_what_cannot_be_read_any_more_cannot_be_judged(settings, tmp_path):
    file = write_rows(tmp_path / "rows.csv")
    register("gone", file, settings, steps=1)
    write_rows(file, seed=1)
    changed = promotion.judge("gone", 1, None, settings)
    assert changed.outcome == "cannot be judged"
    assert "has changed since gone/1 was trained" in changed.obstacle
    file.unlink()
    with pytest.raises(PromotionRefused, match="cannot be judged"):
        promotion.promote("gone", 1, settings)
    assert annotation("gone/1", "isthmus.verdict", settings) == "cannot be judged"
    promotion.promote("gone", 1, settings, force=True, why="the file is on another machine")
    assert champion_of("gone", settings) == 1


def test_a_handful_of_held_out_rows_decides_nothing(settings, tmp_path):
    register("few", write_rows(tmp_path / "rows.csv", rows=60), settings, steps=1)
    few = promotion.judge("few", 1, None, settings)
    assert few.outcome == "cannot be judged"
    assert re.match("only [0-9] held-out rows", few.obstacle)


def test_damage_refuses_a_challenger_but_protects_no_champion_and_a_registry_away_is_an_error(
    versions, settings
):
    from isthmus.errors import RegistryError
    from isthmus.registry import resolve

    weights = next(resolve("m/2", settings).folder.glob("decoder*.safetensors"))
    kept = weights.read_bytes()
    try:
        weights.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
        assert promotion.judge("m", 2, 1, settings).outcome == "cannot be judged"
        replacing = promotion.judge("m", 1, 2, settings)
        assert (replacing.outcome, replacing.champion) == ("passed", None)
        assert "the champion counts as none, for it cannot be loaded" in replacing.reason
    finally:
        weights.write_bytes(kept)
    away = settings.model_copy(update={"tracking_uri": "http://127.0.0.1:1"})
    with pytest.raises(RegistryError, match="does not answer"):
        promotion.judge("m", 2, 1, away)
