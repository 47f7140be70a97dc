"""Warns in a job that its input is not like the rows that the pair was calibrated on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.bundle.held_out import HeldOutSample
from isthmus.drift.sample import Floats, RowSample
from isthmus.drift.statistics import FeatureDrift, compare_features
from isthmus.drift.summaries import summaries_of
from isthmus.kinds import facts_of
from isthmus.spec import RowSchema

_logger = logging.getLogger(__name__)
LEVEL = 0.01
"""The false-discovery rate at which a feature counts as drifted."""
LEAST_STATISTIC = 0.1
"""The Kolmogorov-Smirnov statistic from which drift is worth a warning: with thousands of rows
far smaller ones are beyond chance, and change little."""
_FEWEST_ROWS = 20
_MOST_ANOMALIES = 0.5


@dataclass(frozen=True)
class DriftReport:
    """The comparison of an input with the rows that were held out of training.

    Attributes:
        features: The drift of each feature, in the order of the features.
        rows: The number of rows of the input that were compared.
        reference_rows: The number of held-out rows.
        anomalies_left_out: Whether the rows that are anomalies were left out: a few of them are
            what detection is for, and no drift.
    """

    features: tuple[FeatureDrift, ...]
    rows: int
    reference_rows: int
    anomalies_left_out: bool

    @property
    def drifted(self) -> list[FeatureDrift]:
        """The features that drifted far enough to matter, those that drifted most first."""
        found = [
            each
            for each in self.features
            if each.adjusted_p_value <= LEVEL and each.statistic >= LEAST_STATISTIC
        ]
        return sorted(found, key=lambda each: -each.statistic)


def compare_with_held_out(
    rows: Floats, is_anomaly: NDArray[np.bool_], reference: Floats, schema: RowSchema
) -> DriftReport | None:
    """Compares a sample of an input's rows with the rows that were held out of training.

    The anomalies are left out, unless they are most of the rows: then the input is not the trained
    one with some strange rows, but another.

    Args:
        rows: Shape (N, *row_shape), in the order of the input.
        is_anomaly: Shape (N,).
        reference: Shape (M, *row_shape).
        schema: The schema of the training rows.

    Returns:
        The comparison; `None` if either has too few rows to tell.
    """
    leaves_out = bool(is_anomaly.any() and is_anomaly.mean() <= _MOST_ANOMALIES)
    compared = rows[~is_anomaly] if leaves_out else rows
    if min(len(compared), len(reference)) < _FEWEST_ROWS:
        return None
    found = summaries_of(compared, schema)
    features = compare_features(
        summaries_of(reference, schema).values,
        found.values,
        found.names,
        is_ordered=facts_of(schema.kind).are_windows,
    )
    return DriftReport(tuple(features), len(compared), len(reference), leaves_out)


class DriftWatch:
    """Samples the rows of an input while they are scored, and logs a line if they have drifted."""

    def __init__(
        self, schema: RowSchema, name: str, held_out: Callable[[], HeldOutSample | None]
    ) -> None:
        """Creates the watch.

        Args:
            schema: The schema of the pair's training rows.
            name: The name of the input for messages.
            held_out: Returns the pair's held-out rows, or `None` if there are none. It is called
                once, at the end.
        """
        self._schema, self._name, self._held_out = schema, name, held_out
        self._sample = RowSample(schema.shape)

    def look(self, values: Floats, is_anomaly: NDArray[np.bool_]) -> None:
        """Looks at rows, shape (n, *row_shape), and at which of them are anomalies, shape (n,)."""
        self._sample.look(values, is_anomaly)

    def report(self) -> DriftReport | None:
        """Logs a line if the input has drifted; returns the comparison if there could be one."""
        if len(self._sample.rows) < _FEWEST_ROWS:
            return None
        held_out = self._held_out()
        if held_out is None:
            return None
        found = compare_with_held_out(
            self._sample.rows, self._sample.flags, held_out.rows, self._schema
        )
        if found is not None and found.drifted:
            _logger.warning("%s", drift_warning(found, self._name))
        return found


def drift_warning(found: DriftReport, name: str) -> str:
    """Returns the line about an input that has drifted: by how much, and what to do."""
    first = found.drifted[0]
    others = len(found.drifted) - 1
    also = f", and {others} more of {len(found.features)} features" if others else ""
    return (
        f'{name}: has drifted from the training rows, most in "{first.name}" (Kolmogorov-Smirnov '
        f"statistic {first.statistic:.2f}, p {first.adjusted_p_value:.2g} over all features)"
        f"{also}; the promised false-alarm rate does not hold under drift: look at the page of "
        "detect --report, and train on newer rows"
    )
