"""Measures the bits that a compressing pair needs for each row, and their worth in error."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from isthmus.bundle.held_out import Floats
from isthmus.compression.coder import Coder
from isthmus.core import CodedAutoencoder
from isthmus.promotion.intervals import Estimate, Numbers, ratio, scaled_ratio
from isthmus.registry import Pair

# A bottleneck loses what no further bit brings back, so an error cannot be told from one at a rate
# far away: bits that are saved make up for at most so many times the error.
_MOST_CREDIT = 2.0


@dataclass(frozen=True, eq=False)
class CodeLengths:
    """The bits that rows need in a compressed file.

    Attributes:
        bits: Shape (N,). Those of each row, at the usual quality.
        dimensions: Among how many numbers of the latent they are spent: the participation ratio of
            the bits of the coded symbols, so that those that always have one value do not count.
    """

    bits: Numbers
    dimensions: float


def code_lengths(pair: Pair, rows: Floats) -> CodeLengths | None:
    """Measures a pair; `None` if it cannot compress such rows.

    Args:
        pair: The pair.
        rows: Shape (N, *row_shape), as the pair takes them.
    """
    plan = pair.manifest.plan
    if not isinstance(pair.module, CodedAutoencoder) or not pair.code_tables:
        return None
    if rows.shape[1:] != plan.row_shape or not len(rows):
        return None
    of_streams = [each.reshape(len(rows), -1) for each in Coder(pair).bits(rows)]
    # The last stream is the latent; those before it tell its probabilities.
    of_places = of_streams[-1].mean(axis=0)
    square = float(np.square(of_places).sum())
    active = float(of_places.sum()) ** 2 / square if square else 1.0
    dimensions = active * plan.latent_dim / len(of_places)
    return CodeLengths(np.sum([each.sum(axis=1) for each in of_streams], axis=0), dimensions)


def ratio_at_rate(
    errors: Numbers, beside: Numbers, lengths: CodeLengths, other: CodeLengths, *, seed: int
) -> Estimate:
    """Estimates the ratio of two pairs' errors, had the rows as many bits as those of the other.

    A bit for each number of the latent makes the squared error a fourth, as of any fine quantiser:
    6.02 dB. Bits that are saved make up for less. The intervals count what the rows' bits vary.

    Args:
        errors: Shape (N,). The mean squared errors of the rows.
        beside: Shape (N,). Those of the other pair.
        lengths: The bits of the pair that makes `errors`.
        other: The bits of the other pair.
        seed: The random seed of the bootstrap.
    """
    logs = 2 * np.log(2) / other.dimensions * (lengths.bits - other.bits)
    exchanged = scaled_ratio(errors, beside, logs, seed=seed)
    credited = ratio(errors / _MOST_CREDIT, beside, seed=seed)
    # It is the greater of both, and only below a bound if both are.
    greater = max(exchanged, credited, key=lambda each: each.value)
    low, high = max(exchanged.low, credited.low), max(exchanged.high, credited.high)
    return replace(greater, low=low, high=high)
