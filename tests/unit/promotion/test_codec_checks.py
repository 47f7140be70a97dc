"""Pairs that compress are judged by rate and error together: by their error at an equal rate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from isthmus import promotion
from isthmus.compression.coder import Coder
from isthmus.core.noise_reduction import ERROR
from isthmus.promotion import checks
from isthmus.promotion.code_lengths import CodeLengths, code_lengths
from isthmus.registry import load
from tests.challengers import BAD_STEPS, register
from tests.unit.promotion.judging import check, drawn, evidence, measured, of_noise

FSQ = {"variant": {"name": "fsq", "levels": [16]}, "latent_dim": 4}
COARSE = {"variant": {"name": "fsq", "levels": [3]}, "latent_dim": 4}


@pytest.fixture(scope="module")
def codecs(settings, rows) -> None:
    """`codec/1` is good, `codec/2` the same, `codec/3` hardly trained, `codec/4` coarser."""
    for asked, steps in ((FSQ, 400), (FSQ, 400), (FSQ, BAD_STEPS), (COARSE, 400)):
        register("codec", rows, settings, steps, **asked)


def of_lengths(new, old, of_new, of_old, **changed):
    """Finds what the check says of errors and bits a row, of two numbers of a latent."""
    both = [
        measured(errors, code_lengths=CodeLengths(bits, 2.0))
        for errors, bits in ((new, of_new), (old, of_old))
    ]
    return check("rate_distortion", evidence(*both, **changed))


def by_name(verdict):
    return {each.check: each for each in verdict.checks}


def test_the_bits_of_rows_are_those_of_a_compressed_file(codecs, settings):
    for version in (1, 3, 4):
        pair = load(f"codec/{version}", settings)
        given = np.random.default_rng(0).normal(size=(3000, 6)).astype(np.float32) * 2
        found = code_lengths(pair, given)
        assert found is not None
        written = 8 * len(Coder(pair).encode(given))
        assert found.bits.shape == (3000,)
        assert found.bits.sum() == pytest.approx(written, rel=0.002)
        assert 1 <= found.dimensions <= 4


def test_real_codecs_are_judged_by_their_error_at_an_equal_rate(codecs, settings):
    equal = by_name(promotion.judge("codec", 2, 1, settings))
    assert equal["rate_distortion"].verdict == "passed"
    worse = by_name(promotion.judge("codec", 3, 1, settings))
    assert worse["rate_distortion"].verdict == "refused"
    # The errors alone are shown, and nothing is asked of them.
    assert worse["reconstruction_error"].bound is None
    assert worse["reconstruction_error"].is_passed
    unseen = promotion.judge("codec", 2, 1, settings, must_be_better=True)
    assert by_name(unseen)["rate_distortion"].verdict != "passed"


def test_a_coarser_codec_is_credited_the_bits_that_it_saves(codecs, settings):
    coarse = by_name(promotion.judge("codec", 4, 1, settings))
    alone, together = coarse["reconstruction_error"], coarse["rate_distortion"]
    assert alone.change > 0.02
    assert together.change < alone.change
    assert "bits a row" in together.name


def test_fewer_bits_make_up_for_more_error_and_more_bits_cost():
    _, old = drawn(0)
    bits = np.full(200, 10.0)
    # Of two numbers, a bit for each is a fourth of the error: 0.2 bits for both make up for 15 %.
    assert of_lengths(1.1 * old, old, bits - 0.4, bits).verdict == "passed"
    assert of_lengths(1.1 * old, old, bits, bits).verdict == "refused"
    assert of_lengths(old, old, bits + 0.4, bits).verdict == "refused"
    assert of_lengths(old, old, bits, bits).verdict == "passed"
    found = of_lengths(old, old, bits + 2, bits)
    assert found.change == pytest.approx(3.0)


def test_bits_far_away_make_up_for_no_more_than_twice_the_error():
    _, old = drawn(1)
    bits = np.full(200, 10.0)
    assert of_lengths(1.9 * old, old, bits - 9, bits).verdict == "passed"
    assert of_lengths(2.2 * old, old, bits - 9, bits).verdict == "refused"


def test_a_codec_that_is_worse_passes_no_more_often_where_its_credit_ends():
    generator = np.random.default_rng(0)
    passed = 0
    for _ in range(100):
        old = generator.gamma(2.0, 1.0, 60)
        bits = generator.gamma(4.0, 3.0, 60)
        # Saved bits make up for 0.55 of the error on average, and here and there for the most.
        saved = generator.normal(-np.log2(0.55), 4.0, 60)
        passed += of_lengths(1.02 / 0.55 * old, old, bits - saved, bits).verdict == "passed"
    assert passed <= 8


def test_bits_out_of_all_proportion_are_refused_and_not_undecided():
    _, old = drawn(4)
    bits = np.random.default_rng(0).gamma(9.0, 1.0, 200)
    more = np.random.default_rng(1).normal(2000.0, 300.0, 200)
    found = of_lengths(old / 2, old, bits + more, bits)
    assert found.verdict == "refused"
    assert np.isfinite([found.value, found.change, found.low, found.high]).all()


def test_errors_of_zero_are_judged():
    none, some = np.zeros(200), np.full(200, 0.1)
    bits = np.full(200, 10.0)
    assert of_lengths(none, none, bits, bits).verdict == "passed"
    assert of_lengths(none, some, bits + 1, bits).verdict == "passed"
    assert of_lengths(some, none, bits, bits).verdict == "refused"


def test_what_the_bits_of_few_rows_cannot_tell_is_undecided():
    generator = np.random.default_rng(0)
    _, old = drawn(2, 30)
    bits = generator.gamma(4.0, 3.0, 30)
    found = of_lengths(old, old, generator.permutation(bits), bits)
    assert found.verdict == "undecided"
    assert found.low < 0.02 < found.high


def test_versions_without_a_code_and_denoisers_are_judged_by_their_errors():
    new, old = drawn(3)
    lengths = CodeLengths(np.full(200, 10.0), 2.0)
    coded, plain = measured(new, code_lengths=lengths), measured(old)
    judged = checks.get("rate_distortion")
    assert judged.judge(evidence(coded, plain)) is None
    assert judged.judge(evidence(coded)) is None
    both = evidence(coded, replace(plain, code_lengths=lengths), noise=of_noise(old, ERROR))
    assert judged.judge(both) is None
    assert check("reconstruction_error", evidence(coded, plain)).bound == 0.02
