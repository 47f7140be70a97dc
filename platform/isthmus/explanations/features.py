"""The features of a table that are most responsible for the strangeness of its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.data.columns.categories import Expansion
from isthmus.data.outputs.digits import shown, shown_range
from isthmus.explanations.contributions import Contributions, Explained
from isthmus.registry import Pair

NEW_VALUE = "not in training"
"""The text that replaces a category's value that no training row had; `reason` names the value."""
NO_FEATURE = ""
"""The name that stands where a row has no other feature that may be responsible."""
_SHOWN_VALUES = 3
# The significant digits of a value and of the ends of its usual range, at least.
_VALUE_DIGITS, _RANGE_DIGITS = 6, 4
# How many features of each row are repaired: more make no difference.
_CANDIDATES = 5


@dataclass(frozen=True, eq=False)
class Responsible:
    """The k features of each of N rows that are most responsible, the first of them first.

    Attributes:
        names: Shape (N, k). The names of the features or channels; empty where fewer than k may be
            responsible, and what the other attributes hold there means nothing.
        shares: Shape (N, k). The share of the row's strangeness that would be gone if the feature
            were as the others say, 0 to 1; a strange feature that makes others strange has both.
        values: Shape (N, k). The values, as numbers, or as texts if a table has categories.
        reconstructions: Shape (N, k). The reconstructions of these values.
        usual: Shape (N, k), texts. The usual range: `0.2..3.1`, or the usual values: `red|blue`.
        steps: Shape (N, k). Of series, the step within the window that contributes most.
    """

    names: NDArray[np.str_]
    shares: NDArray[np.float32]
    values: NDArray[Any]
    reconstructions: NDArray[Any]
    usual: NDArray[np.str_]
    steps: NDArray[np.int64] | None = None


@dataclass(frozen=True, eq=False)
class TableFeatures:
    """The features of a pair as a person knows them: the values of a category are one.

    Attributes:
        names: The names of the G features or channels.
        usual: Shape (G,), texts. The usual range or the usual values of each.
        starts: Shape (G,). The first of the columns of each in a row.
        ranges: Shape (F, 2). The usual range of each column of a row; NaN if it is not known.
        categories: The values of each category, by its place among the features.
    """

    names: NDArray[np.str_]
    usual: NDArray[np.str_]
    starts: NDArray[np.int64]
    ranges: NDArray[np.float64]
    categories: Mapping[int, Sequence[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, contributions: Contributions) -> TableFeatures:
        """Returns the features of a table's, or the channels of a series' pair."""
        pair = contributions.pair
        expansion = _expansion(pair)
        if expansion is None:
            count = pair.manifest.plan.row_shape[0]
            schema = pair.manifest.rows_taken
            what = "column" if len(pair.manifest.plan.row_shape) == 1 else "channel"
            names = schema.features or tuple(f"{what} {place}" for place in range(count))
            ranges = _ranges(contributions, count)
            return cls(np.array(names), _as_texts(ranges), np.arange(count), ranges)
        slices = [own for _, own in expansion.slices()]
        ranges = _ranges(contributions, expansion.width)
        texts = _as_texts(ranges)
        usual = [
            _usual_values(contributions, expansion.values[name], own)
            if name in expansion.values
            else texts[own.start]
            for name, own in expansion.slices()
        ]
        return cls(
            names=np.array(expansion.columns),
            usual=np.array(usual),
            starts=np.array([own.start for own in slices]),
            ranges=ranges,
            categories={
                place: expansion.values[name]
                for place, name in enumerate(expansion.columns)
                if name in expansion.values
            },
        )

    def strangeness(self, contributions: NDArray[np.float32]) -> NDArray[np.float64]:
        """Returns what each feature or channel contributes, shape (N, G).

        A category counts as one feature, however many values it has.

        Args:
            contributions: Shape (N, F) or (N, C, T).
        """
        by_column = contributions.astype(np.float64)
        if by_column.ndim > 2:
            by_column = by_column.sum(axis=2)
        widths = np.diff(np.append(self.starts, by_column.shape[1]))
        return np.asarray(np.add.reduceat(by_column, self.starts, axis=1) / widths)

    def is_constant(self, rows: NDArray[Any]) -> NDArray[np.bool_]:
        """Returns which features have the one value that is usual for them, shape (N, G).

        Args:
            rows: Shape (N, F) or (N, C, T), in data units.
        """
        low, high = self.ranges.T.reshape(2, -1, *[1] * (rows.ndim - 2))
        is_usual = (rows == low) & (low == high)
        by_column = is_usual if rows.ndim == 2 else is_usual.all(axis=2)
        return np.asarray(np.logical_and.reduceat(by_column, self.starts, axis=1))

    def excess(self, excess: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns the greatest excess of each feature or channel, shape (N, G).

        Args:
            excess: Shape (N, F) or (N, C, T), as `Contributions.excess` returns it.
        """
        by_column = excess if excess.ndim == 2 else excess.max(axis=2)
        return np.asarray(np.maximum.reduceat(by_column, self.starts, axis=1))

    def cells(self, rows: NDArray[Any], places: NDArray[np.int64]) -> NDArray[Any]:
        """Returns the values of chosen features of rows.

        Args:
            rows: Shape (N, F).
            places: Shape (N, k). The features to take of each row.

        Returns:
            Shape (N, k). Numbers, or texts if there are categories; both have the digits that the
            usual range of the feature needs.
        """
        columns = self.starts[places]
        numbers = np.take_along_axis(rows, columns, axis=1)
        if not self.categories and numbers.dtype == np.float32:
            return numbers
        pairs = zip(numbers.ravel().tolist(), self.ranges[columns.ravel()].tolist(), strict=True)
        cells = [shown(number, low, high, _VALUE_DIGITS) for number, (low, high) in pairs]
        texts = np.array(cells, dtype=object).reshape(numbers.shape)
        if not self.categories:
            # The centre is added in float64, which has digits that the values never had.
            return texts.astype(np.float64)
        for place, values in self.categories.items():
            own = rows[:, self.starts[place] : self.starts[place] + len(values)]
            is_new = ~own.any(axis=1)
            called = np.array(values, dtype=object)[own.argmax(axis=1)]
            called[is_new] = NEW_VALUE
            texts = np.where(places == place, called[:, None], texts)
        return texts.astype(np.str_)


def most_responsible(
    contributions: Contributions,
    features: TableFeatures,
    rows: NDArray[np.float32],
    explained: Explained,
    most: int,
) -> Responsible:
    """Returns the features or channels of each row that are most responsible for its strangeness.

    A strange value pulls the reconstruction of all others along, so that the largest residual may
    be another's. Each of the features with the largest residuals is therefore repaired by itself,
    and is as responsible as the strangeness of the row becomes less by that. A value that is too
    far out to compute with comes before all others, whatever their residuals are beside it. A
    feature that is constant, and has its constant value, is not named: its residual is others'.

    Args:
        contributions: The explainer of the pair's rows.
        features: The pair's features.
        rows: Shape (N, F) or (N, C, T), as a source reads them.
        explained: The same rows, explained.
        most: The most features that are named.
    """
    strangeness = features.strangeness(explained.contributions)
    total = strangeness.sum(axis=1, keepdims=True)
    count = len(features.names)
    excess = features.excess(contributions.excess(rows))
    is_constant = features.is_constant(explained.rows)
    candidates = np.lexsort((-strangeness, -excess, is_constant), axis=1)[:, :_CANDIDATES]
    of_column = np.searchsorted(features.starts, np.arange(rows.shape[1]), side="right") - 1
    drops = np.empty(candidates.shape)
    for rank in range(candidates.shape[1]):
        is_repaired = of_column == candidates[:, rank, None]
        is_repaired = is_repaired.reshape(*is_repaired.shape, *[1] * (rows.ndim - 2))
        remaining = features.strangeness(contributions.remaining(rows, is_repaired))
        drops[:, rank] = total[:, 0] - remaining.sum(axis=1)
    excess = np.take_along_axis(excess, candidates, axis=1)
    is_constant = np.take_along_axis(is_constant, candidates, axis=1)
    order = np.lexsort((-drops, -excess, is_constant), axis=1)[:, : min(most, count)]
    places = np.take_along_axis(candidates, order, axis=1)
    shares = np.take_along_axis(drops, order, axis=1) / np.where(total > 0, total, 1)
    values, made, steps = _at_the_peak(explained)
    return Responsible(
        names=np.where(
            np.take_along_axis(is_constant, order, axis=1), NO_FEATURE, features.names[places]
        ),
        shares=np.clip(shares, 0, 1).astype(np.float32),
        values=features.cells(values, places),
        reconstructions=features.cells(made, places),
        usual=features.usual[places],
        steps=None if steps is None else np.take_along_axis(steps, places, axis=1),
    )


def _at_the_peak(
    explained: Explained,
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.int64] | None]:
    """Returns rows and reconstructions, of series at the step of each channel that is strangest.

    Returns:
        Both of shape (N, F), and the steps of series, shape (N, C).
    """
    if explained.contributions.ndim == 2:
        return explained.rows, explained.reconstructions, None
    steps = explained.contributions.argmax(axis=2)
    rows, made = (
        np.take_along_axis(each, steps[:, :, None], axis=2)[:, :, 0]
        for each in (explained.rows, explained.reconstructions)
    )
    return rows, made, steps


def _expansion(pair: Pair) -> Expansion | None:
    data = pair.manifest.data
    if data.columns is None or not data.categories or not isinstance(data.categories, Mapping):
        return None
    return Expansion(data.columns, data.categories)


def _ranges(contributions: Contributions, count: int) -> NDArray[np.float64]:
    found = contributions.usual_range()
    return np.full((count, 2), np.nan) if found is None else np.stack(found, axis=1)


def _as_texts(ranges: NDArray[np.float64]) -> NDArray[np.str_]:
    return np.array([shown_range(low, high, _RANGE_DIGITS) for low, high in ranges.tolist()])


def _usual_values(contributions: Contributions, values: Sequence[str], own: slice) -> str:
    """Returns the values of a category that most of the held-out rows have, if there are any."""
    order = np.arange(len(values))
    if contributions.held_out is not None and len(contributions.held_out.rows):
        counts = contributions.held_out.rows[:, own].sum(axis=0)
        order = np.argsort(-counts, kind="stable")[: max(1, int((counts > 0).sum()))]
    shown = [values[place] for place in order[:_SHOWN_VALUES]]
    return "|".join([*shown, "..."] if len(order) > _SHOWN_VALUES else shown)
