"""Two-sample statistics: per feature by Kolmogorov-Smirnov, over latents by the kernel MMD."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FEWEST_VALUES = 2
_MOST_POINTS = 500
_PERMUTATIONS = 500


@dataclass(frozen=True)
class FeatureDrift:
    """The distance of one feature's distribution from that of the rows held out of training.

    Attributes:
        name: The feature's name.
        statistic: The Kolmogorov-Smirnov statistic: the largest distance of the two distribution
            functions, from 0 to 1.
        p_value: The probability of such a distance if there is no drift.
        adjusted_p_value: The p-value after Benjamini-Hochberg's control of the false-discovery
            rate over all features.
    """

    name: str
    statistic: float
    p_value: float
    adjusted_p_value: float


@dataclass(frozen=True)
class LatentDrift:
    """The distance of the latents' distribution from that of the rows held out of training.

    Attributes:
        mmd: The squared maximum mean discrepancy, without bias; about 0 without drift.
        p_value: The share of random assignments of the latents to the two samples that have at
            least such a discrepancy.
        sizes: The number of latents of the reference and of the input that were compared.
    """

    mmd: float
    p_value: float
    sizes: tuple[int, int]


def compare_features(
    reference: NDArray[Any], found: NDArray[Any], names: Sequence[str], *, is_ordered: bool = False
) -> list[FeatureDrift]:
    """Compares two samples feature by feature, with the false-discovery rate controlled.

    Args:
        reference: Shape (N, F). Missing values are NaN, and are passed over.
        found: Shape (M, F).
        names: The names of the F features.
        is_ordered: Whether the rows of both are in the order of time. Neighbours are then alike,
            and count as the fewer independent values that they are worth.

    Returns:
        One entry for each feature that has values in both samples, in the order of the features.

    Source: Benjamini & Hochberg 1995; the size of a correlated sample is Geyer's 1992.
    """
    from scipy.stats import false_discovery_control

    compared = [
        (name, *_kolmogorov_smirnov(reference[:, place], found[:, place], is_ordered))
        for place, name in enumerate(names)
    ]
    valid = [each for each in compared if not np.isnan(each[2])]
    adjusted = false_discovery_control([each[2] for each in valid]) if valid else []
    return [
        FeatureDrift(name, statistic, p_value, float(q))
        for (name, statistic, p_value), q in zip(valid, adjusted, strict=True)
    ]


def _kolmogorov_smirnov(
    reference: NDArray[Any], found: NDArray[Any], is_ordered: bool
) -> tuple[float, float]:
    """Returns the statistic and its p-value, which is NaN if either sample has too few values."""
    from scipy.stats import ks_2samp, kstwo

    one, other = reference[~np.isnan(reference)], found[~np.isnan(found)]
    if min(len(one), len(other)) < _FEWEST_VALUES:
        return np.nan, np.nan
    statistic = float(ks_2samp(one, other, method="asymp").statistic)
    sizes = (effective_size(one), effective_size(other)) if is_ordered else (len(one), len(other))
    both = max(1, round(sizes[0] * sizes[1] / (sizes[0] + sizes[1])))
    return statistic, float(np.clip(kstwo.sf(statistic, both), 0, 1))


def effective_size(values: NDArray[Any]) -> float:
    """Returns how many independent values a sample in the order of time is worth, at least 1.

    Args:
        values: Shape (N,).

    Source: Geyer 1992, "Practical Markov chain Monte Carlo": the sums of neighbouring
    autocorrelations are added up to the first that is not positive.
    """
    count = len(values)
    centred = values.astype(np.float64) - values.mean()
    variance = float(np.square(centred).mean())
    if count < 2 * _FEWEST_VALUES or variance == 0:
        return float(count)
    spectrum = np.fft.rfft(centred, 2 * count)
    autocorrelation = np.fft.irfft(np.abs(spectrum) ** 2)[:count] / (count * variance)
    pairs = autocorrelation[: count - count % 2].reshape(-1, 2).sum(axis=1)
    is_over = pairs <= 0
    positive = pairs[: int(np.argmax(is_over))] if is_over.any() else pairs
    return float(np.clip(count / max(1.0, 2 * positive.sum() - 1), 1, count))


def compare_latents(
    reference: NDArray[Any], found: NDArray[Any], seed: int = 0, permutations: int = _PERMUTATIONS
) -> LatentDrift:
    """Compares two samples of latents by the MMD with a Gaussian kernel.

    The width of the kernel is the median distance of two latents. At most 500 of each sample are
    compared.

    Args:
        reference: Shape (N, D).
        found: Shape (M, D).
        seed: The seed of the choice and of the permutations.
        permutations: The number of random assignments for the p-value.

    Source: Gretton et al. 2012, "A kernel two-sample test", JMLR 13, lemma 6.
    """
    generator = np.random.default_rng(seed)
    one, other = _at_most(reference, generator), _at_most(found, generator)
    sizes = (len(one), len(other))
    if min(sizes) < _FEWEST_VALUES:
        return LatentDrift(np.nan, np.nan, sizes)
    both = np.concatenate([one, other]).astype(np.float64)
    spread = both.std(axis=0)
    both /= np.where(spread > 0, spread, 1)
    kernel = _gaussian_kernel(both)
    is_one = np.arange(len(both)) < len(one)
    drawn = np.stack([is_one, *(generator.permutation(is_one) for _ in range(permutations))])
    discrepancies = _mmd(kernel, drawn, *sizes)
    observed = discrepancies[0]
    # The observed assignment is one of those that could have been drawn.
    p_value = float((discrepancies >= observed - 1e-12).mean())
    return LatentDrift(float(observed), p_value, sizes)


def _at_most(rows: NDArray[Any], generator: np.random.Generator) -> NDArray[Any]:
    if len(rows) <= _MOST_POINTS:
        return rows
    return rows[np.sort(generator.choice(len(rows), _MOST_POINTS, replace=False))]


def _gaussian_kernel(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the kernel of each two points, 0 of a point and itself."""
    norms = np.square(points).sum(axis=1)
    squares = np.maximum(norms[:, None] + norms[None] - 2 * points @ points.T, 0)
    median = float(np.median(squares[np.triu_indices(len(points), 1)]))
    kernel = np.exp(-squares / (median if median > 0 else 1.0))
    np.fill_diagonal(kernel, 0)
    return np.asarray(kernel)


def _mmd(
    kernel: NDArray[np.float64], is_one: NDArray[np.bool_], ones: int, others: int
) -> NDArray[np.float64]:
    """Returns the squared MMD of each assignment, given as rows of shape (P, N + M)."""
    one = is_one.astype(np.float64)
    of_ones, towards = (one @ kernel * one).sum(axis=1), one @ kernel.sum(axis=1)
    across = towards - of_ones
    of_others = kernel.sum() - of_ones - 2 * across
    return np.asarray(
        of_ones / (ones * (ones - 1))
        + of_others / (others * (others - 1))
        - 2 * across / (ones * others)
    )
