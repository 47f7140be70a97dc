"""The scores, p-values and anomalies that a loaded pair finds in rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.registry.batches import Floats

_MOST_SHOWN = 5


@dataclass(frozen=True, eq=False)
class Detections:
    """The scores, p-values and anomalies of rows.

    Attributes:
        scores: Shape (N,), by the score that the job's `scoring` chose; a higher score means a more
            unusual row.
        p_values: Shape (N,). The conformal p-values: (1 + the number of calibration rows that score
            at least as high) / (1 + their number).
        anomalies: Shape (N,), bool: true where the score is above the threshold.
        threshold: The score that rows must exceed at the rate that was asked for.
    """

    scores: Floats
    p_values: Floats
    anomalies: NDArray[np.bool_]
    threshold: float

    def _repr_html_(self) -> str:
        from isthmus.notebook import summary

        highest = np.argsort(self.scores)[::-1][:_MOST_SHOWN]
        rows = {
            f"row {row:,}": f"score {self.scores[row]:.4g}, p-value {self.p_values[row]:.3g}"
            for row in highest
        }
        title = f"{self.anomalies.sum():,} anomalies in {len(self.scores):,} rows"
        rule = f"A row is an anomaly if its score is above {self.threshold:.4g}; the highest are:"
        return summary(title, lines=[rule], facts=rows)
