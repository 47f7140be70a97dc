"""Predictions of whole numbers from whole numbers that the decoder has already.

Everything is whole-number arithmetic of 64 bits that wraps around, so that it can be undone exactly
and everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from isthmus.compression.bounded.adaptive import cost_bits

Whole = NDArray[np.int64]

# Numbers of at most this size are filtered and regressed on: no sum of products overflows.
FILTERED_BELOW = 2**31
# How many numbers a filter is for; the segments of a column are filtered side by side.
SEGMENT = 2048
FILTER_ORDERS = (2, 4, 8, 16, 32)
SHIFT = 10
_LARGEST_WEIGHT = 2**20
_MOST_NEIGHBOURS = 8
_MOST_CANDIDATES = 32  # of columns
_COPY_SHARE = 0.25
_SAMPLE = 1024


class Predictor(IntEnum):
    """The values that a column is predicted from; the number of each kind stands in files."""

    LEVEL = 0
    PREVIOUS = 1
    LINE = 2
    CURVE = 3
    FILTER = 4
    NEIGHBOURS = 5
    PAIR = 6
    PAIR_AND_PREVIOUS = 7
    ROWS = 8

    @property
    def words(self) -> str:
        """Returns what it is called in a summary."""
        return _WORDS[self]


PAIR_PREDICTORS = (Predictor.PAIR, Predictor.PAIR_AND_PREVIOUS)
_WORDS = {
    Predictor.LEVEL: "its level",
    Predictor.PREVIOUS: "the row before",
    Predictor.LINE: "a line through 2 rows",
    Predictor.CURVE: "a curve through 3 rows",
    Predictor.FILTER: "a linear filter",
    Predictor.NEIGHBOURS: "other columns",
    Predictor.ROWS: "repetitions of rows",
    Predictor.PAIR: "the pair",
    Predictor.PAIR_AND_PREVIOUS: "the pair and the row before",
}


def differences(k: Whole, order: int) -> Whole:
    """Returns the differences of an order, the first ones to zeros before."""
    for _ in range(order):
        k = np.diff(k, prepend=np.int64(0))
    return k


def summed(rest: Whole, order: int) -> Whole:
    """Returns the numbers that have such differences."""
    for _ in range(order):
        rest = np.cumsum(rest, dtype=np.int64)
    return rest


# -- a linear filter of the numbers before ------------------------------------------------------


def fitted_filter(k: Whole) -> Whole | None:
    """Returns the weights of the best filter, shape (segments, order), or `None` for none."""
    if len(k) < 64 or np.abs(k).max() >= FILTERED_BELOW:
        return None
    orders = [order for order in FILTER_ORDERS if len(k) >= 8 * order]
    moments = [_moments(each, orders[-1]) for each in _segments(k)]
    best, least = None, cost_bits(differences(k, 1))
    for order in orders:
        weights = np.stack([_fit(each, order) for each in moments])
        cost = cost_bits(filtered(k, weights)) + 14 * weights.size
        if cost < least:
            best, least = weights, cost
    return best


def filtered(k: Whole, weights: Whole) -> Whole:
    """Returns what a filter leaves of numbers."""
    order = weights.shape[1]
    parts, firsts = [], []
    for segment, each in zip(_segments(k), weights, strict=True):
        rest = np.diff(segment, prepend=segment[:1])
        if len(segment) > order:
            before = sliding_window_view(segment, order)[:-1]
            rest[order:] = segment[order:] - _shifted(before @ each[::-1])
        firsts.append(segment[0])
        parts.append(rest)
    for part, first in zip(parts, np.diff(np.array(firsts), prepend=np.int64(0)), strict=True):
        part[0] = first
    return np.concatenate(parts)


def unfiltered(rest: Whole, weights: Whole) -> Whole:
    """Returns the numbers of which a filter leaves `rest`; the inverse of `filtered`."""
    count, order = len(rest), weights.shape[1]
    padded = np.zeros((len(weights), SEGMENT), np.int64)
    padded.ravel()[:count] = rest
    # By time, so that a step reads and writes rows that lie together.
    out = np.ascontiguousarray(padded.T)
    out[0] = np.cumsum(out[0])
    np.cumsum(out[:order], axis=0, out=out[:order])
    backwards = np.ascontiguousarray(weights[:, ::-1].T)
    for place in range(order, min(SEGMENT, count)):
        predicted = np.add.reduce(out[place - order : place] * backwards)
        out[place] += (predicted + (1 << SHIFT - 1)) >> SHIFT
    return out.T.ravel()[:count]


def _segments(k: Whole) -> list[Whole]:
    return [k[start : start + SEGMENT] for start in range(0, len(k), SEGMENT)]


@dataclass(frozen=True)
class _Moments:
    """The products of a segment's numbers with those before them, from which filters are fitted.

    Attributes:
        count: The number of numbers.
        gram: The sums of products of the numbers before, shape (order, order).
        beside: Those with the numbers themselves, shape (order,).
    """

    count: int
    gram: NDArray[np.float64]
    beside: NDArray[np.float64]


def _moments(segment: Whole, order: int) -> _Moments:
    order = min(order, len(segment) - 1)
    if order < 1:
        return _Moments(len(segment), np.zeros((0, 0)), np.zeros(0))
    x = segment.astype(np.float64)
    before = sliding_window_view(x, order)[:-1][:, ::-1]
    before = np.ascontiguousarray(before)
    return _Moments(len(segment), before.T @ before, before.T @ x[order:])


def _fit(of: _Moments, order: int) -> Whole:
    """Returns weights of the numbers before, the nearest first, times 2**SHIFT."""
    if of.count <= 2 * order:
        return np.array([1 << SHIFT] + [0] * (order - 1), np.int64)
    gram = of.gram[:order, :order].copy()
    gram[np.diag_indices(order)] += 1e-9 * np.trace(gram) / order + 1e-6
    return _whole(np.linalg.solve(gram, of.beside[:order]), SHIFT)


# -- the other columns, of this row and of the rows beside it -----------------------------------


def neighbour(others: list[Whole], number: int, rows: NDArray[np.intp]) -> Whole:
    """Returns a neighbour of the values in rows, shape (N,).

    Args:
        others: The columns that are known, each with all rows.
        number: The number of the neighbour. Each column has three: of the row before, of the row
            itself, and of the row after.
        rows: The rows.
    """
    column = others[number // 3]
    return column[np.clip(rows + (number % 3 - 1), 0, len(column) - 1)]


@dataclass(frozen=True)
class NeighbourWeights:
    """A linear regression on neighbours.

    Attributes:
        numbers: The numbers of the neighbours, shape (C,).
        weights: Their weights, times 2**shift, shape (C,).
        bias: The addend, times 2**shift.
        shift: The number of bits of the weights after the point.
    """

    numbers: Whole
    weights: Whole
    bias: int
    shift: int

    def predicted(self, others: list[Whole], rows: NDArray[np.intp]) -> Whole:
        """Returns the predictions, shape (N,), for rows."""
        total = np.full(len(rows), self.bias + (1 << self.shift >> 1), np.int64)
        for number, weight in zip(self.numbers, self.weights, strict=True):
            total += neighbour(others, int(number), rows) * weight
        return total >> self.shift


def fitted_neighbours(
    k: Whole, others: list[Whole], usable: list[int], rows: NDArray[np.intp]
) -> list[NeighbourWeights]:
    """Returns the regressions that are worth to try: a copy, and sums of a few neighbours.

    Args:
        k: The numbers of a column, shape (N,).
        others: The columns that are known.
        usable: The numbers of those columns that may be regressed on.
        rows: The rows of the numbers, shape (N,).
    """
    if len(k) < 16 or not usable or np.abs(k).max() >= FILTERED_BELOW:
        return []
    some = slice(None, None, max(1, len(k) // _SAMPLE))
    numbers = [3 * column + place for column in usable[-_MOST_CANDIDATES:] for place in range(3)]
    beside = np.stack([neighbour(others, number, rows[some]) for number in numbers], axis=1)
    found = []
    equal = (beside == k[some, None]).mean(axis=0)
    if equal.max() > _COPY_SHARE:
        copied = numbers[int(np.argmax(equal))]
        found.append(NeighbourWeights(np.array([copied]), np.ones(1, np.int64), 0, 0))
    x, y = beside.astype(np.float64), k[some].astype(np.float64)
    spread = x.std(axis=0)
    x = np.where(spread > 0, (x - x.mean(axis=0)) / np.where(spread > 0, spread, 1), 0)
    y_centred = rest = y - y.mean()
    chosen: list[int] = []
    while len(chosen) < min(_MOST_NEIGHBOURS, len(numbers)):
        gains = np.abs(x.T @ rest)
        gains[chosen] = -1
        if gains.max() <= 0:
            break
        chosen.append(int(np.argmax(gains)))
        solution = np.linalg.lstsq(x[:, chosen], y_centred, rcond=None)[0]
        rest = y_centred - x[:, chosen] @ solution
        if len(chosen) in (1, 3, _MOST_NEIGHBOURS):
            slopes = solution / spread[chosen]
            found.append(_weights([numbers[each] for each in chosen], slopes, y, beside[:, chosen]))
    return found


def _weights(
    numbers: list[int], slopes: NDArray[np.float64], y: NDArray[np.float64], beside: Whole
) -> NeighbourWeights:
    # As many bits after the point as the largest weight leaves of 18.
    shift = int(np.clip(18 - np.ceil(np.log2(np.abs(slopes).max() + 1e-30)), 0, 24))
    weights = _whole(slopes, shift)
    bias = int(np.rint(y.mean() * 2.0**shift - beside.mean(axis=0) @ weights))
    return NeighbourWeights(np.array(numbers), weights, bias, shift)


def _whole(weights: NDArray[Any], shift: int) -> Whole:
    scaled = np.nan_to_num(np.rint(weights * 2.0**shift))
    whole: Whole = np.clip(scaled, -_LARGEST_WEIGHT, _LARGEST_WEIGHT).astype(np.int64)
    return whole


def _shifted(total: Whole) -> Whole:
    return (total + (1 << SHIFT - 1)) >> SHIFT
