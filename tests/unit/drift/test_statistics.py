"""Two-sample statistics: right under no drift, and powerful under some."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import false_discovery_control, ks_2samp

from isthmus.drift import RowSample, compare_features, compare_latents, summaries_of
from isthmus.drift.statistics import effective_size
from isthmus.spec import RowSchema
from isthmus.types import DataKind


def autoregressive(generator: np.random.Generator, count: int, memory: float) -> np.ndarray:
    noise = generator.normal(size=count) * np.sqrt(1 - memory**2)
    values = np.empty(count)
    values[0] = generator.normal()
    for step in range(1, count):
        values[step] = memory * values[step - 1] + noise[step]
    return values


def test_the_statistic_and_its_p_value_are_scipys_with_the_discoveries_controlled():
    generator = np.random.default_rng(0)
    reference, found = generator.normal(size=(300, 4)), generator.normal(size=(500, 4))
    found[:, 2] += 0.4
    reference[::7, 1] = np.nan  # missing values are passed over
    compared = compare_features(reference, found, list("abcd"))
    expected = [
        ks_2samp(one[~np.isnan(one)], other, method="asymp")
        for one, other in zip(reference.T, found.T, strict=True)
    ]
    assert [each.name for each in compared] == list("abcd")
    np.testing.assert_allclose(
        [each.statistic for each in compared], [each.statistic for each in expected]
    )
    p_values = [each.p_value for each in compared]
    np.testing.assert_allclose(p_values, [each.pvalue for each in expected], rtol=0.05)
    np.testing.assert_allclose(
        [each.adjusted_p_value for each in compared], false_discovery_control(p_values)
    )


def test_a_feature_without_values_is_left_out_of_the_comparison():
    rows = np.full((50, 2), np.nan)
    rows[:, 0] = np.arange(50)
    (compared,) = compare_features(rows, rows, ["a", "b"])
    assert (compared.name, compared.statistic, compared.p_value) == ("a", 0.0, 1.0)


@pytest.mark.parametrize("memory", [0.0, 0.8, 0.95])
def test_a_correlated_sample_counts_as_fewer_values(memory):
    values = autoregressive(np.random.default_rng(0), 4000, memory)
    assert effective_size(values) == pytest.approx(4000 * (1 - memory) / (1 + memory), rel=0.35)


def test_neighbours_that_are_alike_are_no_drift():
    generator = np.random.default_rng(0)
    p_values = np.array(
        [
            [
                compare_features(
                    *(autoregressive(generator, 400, 0.9)[:, None] for _ in range(2)),
                    ["a"],
                    is_ordered=is_ordered,
                )[0].p_value
                for is_ordered in (True, False)
            ]
            for _ in range(100)
        ]
    )
    assert (p_values[:, 0] <= 0.05).sum() <= 12
    assert (p_values[:, 1] <= 0.05).sum() >= 50  # which they seem if they count as independent


def test_the_p_values_of_latents_without_drift_are_uniform_and_a_shift_is_found():
    generator = np.random.default_rng(0)

    def draw(shift: float) -> float:
        reference, found = generator.normal(size=(80, 3)), generator.normal(size=(60, 3)) + shift
        return compare_latents(reference, found, permutations=100).p_value

    same = np.array([draw(0) for _ in range(100)])
    assert (same <= 0.05).sum() <= 11  # 97.5 % of the binomial law
    assert 0.4 < same.mean() < 0.6
    assert max(draw(1) for _ in range(10)) < 0.02


def test_latents_of_one_row_are_not_compared():
    assert np.isnan(compare_latents(np.zeros((1, 3)), np.zeros((9, 3))).p_value)


def test_every_row_of_a_stream_is_sampled_with_the_same_probability():
    counts = np.zeros(6000)
    for seed in range(60):
        sample = RowSample((1,), seed)
        for first in range(0, 6000, 777):
            rows = np.arange(first, min(first + 777, 6000), dtype=np.float32)[:, None]
            sample.look(rows, rows[:, 0] % 2 == 0)
        chosen = sample.rows[:, 0].astype(int)
        assert len(chosen) == 2000
        assert (np.diff(chosen) > 0).all()  # in the order of the stream
        assert (sample.flags == (chosen % 2 == 0)).all()
        counts[chosen] += 1
    assert counts.reshape(6, 1000).mean(axis=1) == pytest.approx(20, rel=0.03)


def test_a_sample_of_large_rows_is_small():
    sample = RowSample((3, 512, 512))
    for _ in range(3):
        sample.look(np.zeros((8, 3, 512, 512), dtype=np.float32), np.zeros(8, dtype=bool))
    assert sample.rows.nbytes <= 32 << 20


@pytest.mark.parametrize(
    ("kind", "shape", "features", "names"),
    [
        (DataKind.TABULAR, (2,), ("a", "b"), ("a", "b")),
        (DataKind.TABULAR, (2,), None, ("column 0", "column 1")),
        (DataKind.IMAGES, (1, 6, 6), None, ("brightness", "contrast")),
        (DataKind.SERIES, (2, 8), ("x", "y"), ("mean of x", "mean of y"))[:4],
        (DataKind.AUDIO, (1, 8), None, ("loudness", "spectral centre")),
    ],
)
def test_rows_of_each_kind_are_compared_by_few_features_with_names(kind, shape, features, names):
    rows = np.random.default_rng(0).normal(size=(5, *shape)).astype(np.float32)
    found = summaries_of(rows, RowSchema(kind=kind, shape=shape, features=features))
    assert found.values.shape == (5, len(found.names))
    assert found.names[: len(names)] == names
