"""Columns of categories: each value becomes a feature of its own, 1 where a row has it, else 0.

The first layer of a net then holds a vector for each value, its embedding.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.data.rows import FloatArray
from isthmus.errors import DataError

_logger = logging.getLogger(__name__)
_MOST_VALUES = 256


@dataclass(frozen=True)
class Expansion:
    """How columns become features, in the columns' order.

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
        """How many features there are."""
        return sum(len(self.values.get(name, (name,))) for name in self.columns)

    def expand(
        self, numbers: FloatArray, texts: Mapping[str, NDArray[np.str_]], source: str
    ) -> FloatArray:
        """Features of rows; a value that the training rows never had is 0 in all of its own.

        Args:
            numbers: Shape (N, numeric columns).
            texts: Shape (N,) each: the categorical columns.
            source: What messages call the source.

        Returns:
            Shape (N, width).
        """
        features = np.zeros((len(numbers), self.width), dtype=np.float32)
        first = 0
        for name in self.columns:
            if name not in self.values:
                features[:, first] = numbers[:, self.numeric.index(name)]
                first += 1
                continue
            known = self.values[name]
            for offset, value in enumerate(known):
                features[:, first + offset] = texts[name] == value
            unknown = ~np.isin(texts[name], known)
            if unknown.any():
                _logger.warning(
                    '%s: column "%s" has %d row(s) with values that training did not have '
                    '(for example "%s"); they count as none of the known ones',
                    *(source, name, int(unknown.sum()), texts[name][unknown][0]),
                )
            first += len(known)
        return features

    def collapse(self, features: FloatArray) -> dict[str, NDArray[np.float32] | NDArray[np.str_]]:
        """The inverse, of reconstructed features (N, width): the likeliest value of each column."""
        columns: dict[str, NDArray[np.float32] | NDArray[np.str_]] = {}
        first = 0
        for name in self.columns:
            count = len(self.values.get(name, (name,)))
            block = features[:, first : first + count]
            if name in self.values:
                columns[name] = np.array(self.values[name])[block.argmax(axis=1)]
            else:
                columns[name] = np.ascontiguousarray(block[:, 0])
            first += count
        return columns


def distinct_values(texts: NDArray[np.str_], column: str, source: str) -> tuple[str, ...]:
    """The values of a categorical column, sorted; an empty cell is one of them.

    Raises:
        DataError: If there are more than a category could have.
    """
    found = np.unique(texts)
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
