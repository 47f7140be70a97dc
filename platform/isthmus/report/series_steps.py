"""The windows around the strangest steps of series, where each step has a score of its own.

T is the number of steps; steps of one series are together, in the order of time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.data import Block
from isthmus.data.steps.series_rows import SeriesRows
from isthmus.data.steps.windows import cut_windows
from isthmus.explanations import StrangeRows
from isthmus.report.scores_file import ScoreBlock, ScoresFile

MOST_STEPS_APART = 32
"""The distance between the strangest steps that are shown, if a window's length is unknown."""


@dataclass(frozen=True, eq=False)
class StepScores:
    """The scores of all steps, in the order of `SeriesRows.signal_TC`, shape (T,) each."""

    scores: NDArray[np.float32]
    p_values: NDArray[np.float32]
    anomalies: NDArray[np.bool_]

    @classmethod
    def read(cls, file: ScoresFile, series: SeriesRows) -> StepScores | None:
        """Reads the scores of series; `None` if the series have another number of steps."""
        blocks = list(file.blocks())
        scores = np.concatenate([each.scores.astype(np.float32) for each in blocks])
        if len(scores) != len(series.order):
            return None
        p_values = np.concatenate([each.p_values.astype(np.float32) for each in blocks])
        anomalies = np.concatenate([each.anomalies for each in blocks])
        ranks = series.ranks
        return cls(scores[ranks], p_values[ranks], anomalies[ranks])

    def are_windows_anomalous(self, starts: NDArray[np.int64], window: int) -> NDArray[np.bool_]:
        """Returns whether at least half of the steps of each window are anomalies, shape (N,)."""
        sums = np.concatenate([[0], np.cumsum(self.anomalies)])
        return np.asarray(2 * (sums[starts + window] - sums[starts]) >= window)


def strangest_windows(
    series: SeriesRows, steps: StepScores, most: int
) -> tuple[StrangeRows, ScoreBlock]:
    """Returns the windows around the strangest steps, which are a window apart, and their scores.

    Args:
        series: The series, with windows that begin at every step.
        steps: The scores.
        most: The most windows that are returned.
    """
    window = series.schema.shape[1]
    ranks = np.where(np.isfinite(steps.scores), steps.scores, -np.inf)
    peaks: list[int] = []
    starts: list[int] = []
    while len(peaks) < most:
        peak = int(ranks.argmax())
        if not np.isfinite(ranks[peak]):
            break
        ranks[max(0, peak - window + 1) : peak + window] = -np.inf
        start = _window_around(series.starts, peak, window)
        if start is not None:
            peaks.append(peak)
            starts.append(start)
    at, first = np.array(peaks, dtype=np.int64), np.array(starts, dtype=np.int64)
    block = Block(cut_windows(series.signal_TC, first, window), {"first_step": series.order[first]})
    scores = ScoreBlock(
        steps.scores[at].astype(np.float64),
        steps.p_values[at].astype(np.float64),
        steps.anomalies[at],
        {
            "step": series.order[at].astype(str),
            **{name: column[at].astype(str) for name, column in series.names.items()},
        },
        {},
    )
    return StrangeRows(series.order[at], steps.scores[at], block), scores


def _window_around(starts: NDArray[np.int64], step: int, window: int) -> int | None:
    """Returns the start of the window in whose middle a step lies best; `None` if none has it."""
    place = int(np.searchsorted(starts, step - window // 2))
    near = starts[max(0, place - 1) : place + 1]
    covering = near[(near <= step) & (step < near + window)]
    if not len(covering):
        return None
    return int(covering[np.abs(covering + window // 2 - step).argmin()])
