"""Holds a job's input against the rows that the pair was trained on, and warns at the end."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from isthmus.data import RangeWatch
from isthmus.drift import DriftWatch
from isthmus.execution.reference_rows import ReferenceRows
from isthmus.registry import Pair
from isthmus.spec.secrets import without_password


class InputWatch:
    """Looks at every block of an input for values out of range and for drift."""

    def __init__(self, pair: Pair, source: str, held_out: ReferenceRows) -> None:
        """Creates the watch of an input for a pair, with the pair's held-out rows, if any."""
        schema, name = pair.manifest.rows_taken, without_password(source)
        self._range = RangeWatch(schema, name, indicators=pair.manifest.data.indicators)
        self._drift = DriftWatch(schema, name, held_out)

    def look(self, values: NDArray[np.float32], is_anomaly: NDArray[np.bool_]) -> None:
        """Looks at rows, shape (n, *row_shape), and at which of them are anomalies, shape (n,)."""
        self._range.look(values)
        self._drift.look(values, is_anomaly)

    def report(self) -> None:
        """Logs a line for each kind of misfit."""
        self._range.report()
        self._drift.report()
