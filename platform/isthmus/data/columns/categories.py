"""Columns of categories: each value becomes a feature of its own, 1 where a row has it, else 0.

The first layer of a net then holds a vector for each value, its embedding.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from isthmus.data.rows import FloatArray
from isthmus.errors import DataError

_logger = logging.getLogger(__name__)
_MOST_VALUES = 256
_NO_VALUE = "has no value, and in training each row had one"
Texts = Mapping[str, NDArray[np.str_]]


@dataclass(frozen=True)
class Expansion:
    """The rule by which columns become features, in the columns' order.

    Attributes:
        columns: Names of the columns.
        values: The values of each categorical column, in the order of their features.
    """

    columns: tuple[str, ...]
    values: Mapping[str, tuple[str, ...]]

    @property
    def numeric(self) -> tuple[str, ...]:
        """The columns that hold numbers."""
        return tuple(name for name in self.columns if name not in self.values)

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features: the column's, or `colour=red`."""
        return tuple(
            feature
            for name in self.columns
            for feature in (
                [f"{name}={value}" for value in self.values[name]]
                if name in self.values
                else [name]
            )
        )

    @property
    def width(self) -> int:
        """The number of features."""
        return sum(len(self.values.get(name, (name,))) for name in self.columns)

    def expand(self, numbers: FloatArray, texts: Texts) -> FloatArray:
        """Features of rows; a value that the training rows never had is 0 in all of its own.

        Args:
            numbers: Shape (N, numeric columns).
            texts: Shape (N,) each: the categorical columns.

        Returns:
            Shape (N, width).
        """
        features = np.zeros((len(numbers), self.width), dtype=np.float32)
        for name, own in self.slices():
            if name in self.values:
                features[:, own] = _indicators(texts[name], np.array(self.values[name]))
            else:
                features[:, own.start] = numbers[:, self.numeric.index(name)]
        return features

    def slices(self) -> Iterator[tuple[str, slice]]:
        """Each column's own features."""
        first = 0
        for name in self.columns:
            count = len(self.values.get(name, (name,)))
            yield name, slice(first, first + count)
            first += count

    def collapse(self, features: FloatArray) -> dict[str, NDArray[np.float32] | NDArray[np.str_]]:
        """The inverse, of reconstructed features (N, width): the likeliest value of each column."""
        columns: dict[str, NDArray[np.float32] | NDArray[np.str_]] = {}
        for name, own in self.slices():
            block = features[:, own]
            if name in self.values:
                columns[name] = np.array(self.values[name])[block.argmax(axis=1)]
            else:
                columns[name] = np.ascontiguousarray(block[:, 0])
        return columns


@dataclass
class UnknownValues:
    """Finds the values of categories that training did not have, and logs them once.

    Attributes:
        expansion: The expansion of training.
        source: The name of the source for messages.
    """

    expansion: Expansion
    source: str
    _counts: Counter[str] = field(default_factory=Counter)
    _examples: dict[str, str] = field(default_factory=dict)
    _gaps: Counter[str] = field(default_factory=Counter)

    def reasons(self, features: FloatArray, texts: Texts) -> NDArray[np.str_]:
        """Returns why each row is unusual: the values that training did not have; else "".

        Args:
            features: Shape (N, width). What `Expansion.expand` made of the rows.
            texts: The categorical columns, shape (N,) each.
        """
        found = np.full(len(features), "", dtype=object)
        for name, own in self.expansion.slices():
            if name not in self.expansion.values:
                continue
            for place in np.flatnonzero(~features[:, own].any(axis=1)):
                cell = str(texts[name][place])
                if cell:
                    self._counts[name] += 1
                    self._examples.setdefault(name, cell)
                else:
                    self._gaps[name] += 1
                said = f'{name}="{cell}" was not in training' if cell else f"{name} {_NO_VALUE}"
                found[place] = f"{found[place]}; {said}" if found[place] else said
        return found.astype(np.str_)

    def report(self) -> None:
        """Logs a line for each column that had any."""
        for name, count in self._counts.items():
            _logger.warning(
                '%s: column "%s" has %d row(s) with values that training did not have '
                '(for example "%s")',
                *(self.source, name, count, self._examples[name]),
            )
        for name, count in self._gaps.items():
            _logger.warning(
                '%s: column "%s" has %d row(s) without a value, and in training each row had one',
                *(self.source, name, count),
            )


def _indicators(texts: NDArray[np.str_], known: NDArray[np.str_]) -> NDArray[np.bool_]:
    """Returns whether each text is each of the known values, shape (N, values)."""
    cells, values = canonical(texts), canonical(known)
    # A pair of an earlier version may know two forms of a value apart.
    is_alone = (values[:, None] == values).sum(axis=1) == 1
    return np.stack(
        [
            cells == value if alone else texts == as_known
            for value, as_known, alone in zip(values, known, is_alone, strict=True)
        ],
        axis=1,
    )


def canonical(texts: NDArray[np.str_]) -> NDArray[np.str_]:
    """Returns texts in which a whole number and a truth value are written in one way.

    A csv that pandas writes has 1.0 and True where a parquet of the same frame has 1 and true, and
    R writes TRUE.
    """
    if not len(texts):  # every row of a block was set aside
        return texts
    for truth in ("true", "false"):
        is_truth = (texts == truth.capitalize()) | (texts == truth.upper())
        if is_truth.any():
            texts = np.where(is_truth, truth, texts)
    is_whole = np.char.endswith(texts, ".0") & np.char.isdigit(
        np.char.replace(np.char.lstrip(texts, "-"), ".", "")
    )
    if not is_whole.any():
        return texts
    return np.where(is_whole, np.char.partition(texts, ".")[:, 0], texts)


def without_signs(
    texts: NDArray[np.str_], signs: Sequence[str], known: Sequence[str] = ()
) -> NDArray[np.str_]:
    """Returns texts in which those that mean a missing value are empty.

    Args:
        texts: The cells of a column.
        signs: The texts that mean a missing value.
        known: The values of the column that a pair was trained on: none of them means that.
    """
    missing = [each for each in canonical(np.array(signs, dtype=np.str_)) if each]
    missing = [each for each in missing if each not in canonical(np.array(known, dtype=np.str_))]
    if not missing:
        return texts
    return np.where(np.isin(canonical(texts), missing), "", texts)


def distinct_values(texts: NDArray[np.str_], column: str, source: str) -> tuple[str, ...]:
    """The values of a categorical column, sorted; an empty cell is one of them.

    Raises:
        DataError: If there are more than a category could have.
    """
    found = np.unique(canonical(texts))
    if len(found) > _MOST_VALUES:
        raise DataError(
            f'{source}: column "{column}" (data.categories) has {len(found)} different values, '
            f"more than {_MOST_VALUES}; list it under data.exclude"
        )
    return tuple(str(value) for value in found)


def check_are_columns(categories: Sequence[str], columns: Sequence[str], source: str) -> None:
    """Refuses categories that are not among the columns to use.

    Raises:
        DataError: Naming the first of them.
    """
    for name in categories:
        if name not in columns:
            raise DataError(
                f'{source}: data.categories names "{name}", which is not among the columns to '
                f"use: {', '.join(columns)}"
            )
