"""Detects anomalous steps of series: a score for every step, and ranges of anomalous ones.

Windows begin at every step, and a step's score is the mean over the windows that cover it.
Shapes: T steps, in the order of time, those of a series together.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from isthmus.core.calibration import Calibration
from isthmus.data import (
    Provenance,
    Range,
    mean_of_covering_windows,
    open_files,
    open_rejected,
    open_results,
    ranges_of,
    write_table,
)
from isthmus.data.outputs.results import Columns, table_beside
from isthmus.data.steps.series_rows import SeriesRows
from isthmus.detection.controls import Control, Decisions, deciding
from isthmus.detection.input_watch import InputWatch
from isthmus.errors import UsageError
from isthmus.execution.blocks import OnRows, blocks_of
from isthmus.execution.task import Task
from isthmus.registry import Pair
from isthmus.types import DataKind

_logger = logging.getLogger(__name__)
_STEPS_WRITTEN_AT_ONCE = 2**17
RANGES_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("series_id", "first_time", "last_time", "peak_time")),
        *((name, pa.int64()) for name in ("first_step", "last_step", "steps", "peak_step")),
        *((name, pa.float64()) for name in ("peak_score", "p_value")),
    ]
)
"""The columns that a table of ranges may have."""


@dataclass(frozen=True, eq=False)
class Points:
    """The scores, p-values and anomalies of the steps of series.

    Attributes:
        scores: Shape (T,), float32. NaN where no window covers the step.
        p_values: Shape (T,). The share of normal steps that score at least as high.
        anomalies: Shape (T,), bool. Which scores are above the threshold.
        is_scored: Shape (T,), bool. Which steps a window covers.
        ranges: The ranges of anomalous steps, in the order of the steps.
    """

    scores: NDArray[np.float32]
    p_values: NDArray[np.float32]
    anomalies: NDArray[np.bool_]
    is_scored: NDArray[np.bool_]
    ranges: tuple[Range, ...]


Per = Literal["auto", "point", "window"]
"""The unit that has a score of its own: each step of a series, or each window. `auto` is steps for
pairs of series, if they are calibrated for it, and whole rows for all other pairs."""


def scores_points(pair: Pair, per: Per, *, explain: bool) -> bool:
    """Returns whether single steps have scores; explanations are of whole windows."""
    if pair.manifest.plan.kind is not DataKind.SERIES or explain or per == "window":
        return False
    return pair.detector.point_calibration is not None


def check_per(pair: Pair, per: Per, *, explain: bool) -> None:
    """Refuses scores of single steps where there are none, and says where windows take their place.

    Raises:
        UsageError: If steps are asked for and the pair cannot score them.
    """
    kind = pair.manifest.plan.kind
    if kind is not DataKind.SERIES:
        if per != "auto":
            raise UsageError(
                f"--per is for series, and {pair.reference} takes {kind}; leave it out"
            )
        return
    if explain and per == "point":
        raise UsageError("--explain explains whole windows; leave out --per point or --explain")
    if explain or per == "window":
        return
    if per == "point":
        calibration_of_points(pair)
    elif pair.detector.point_calibration is None:
        _logger.warning(
            "%s was trained before single steps had scores; whole windows are scored: train it "
            "again for scores of steps",
            pair.reference,
        )


def calibration_of_points(pair: Pair) -> Calibration:
    """Returns how single steps of normal series score.

    Raises:
        UsageError: If the pair was not calibrated for single steps.
    """
    calibration = pair.detector.point_calibration
    if calibration is None:
        raise UsageError(
            f"{pair.reference} was trained before single steps had scores; use --per window, or "
            "train it again"
        )
    return calibration


def ranges_path(output: Path) -> Path:
    """Returns the path of the ranges beside the path of the scores, `scores.csv.ranges.csv`."""
    return table_beside(output, "ranges")


@dataclass(frozen=True)
class PointsFound:
    """The numbers of steps and anomalies that were found in series.

    Attributes:
        steps: The number of all steps.
        unscored: The number of steps without a score, as no window covers them.
        anomalies: The number of anomalous steps.
        ranges: The number of ranges of anomalous steps.
        rejected: The number of steps that cannot be read. They are set aside, and count in none of
            the other numbers.
        ranges_output: The path of the ranges, or their address in S3.
        calibrated_on: The number of calibration steps, and what they are worth, in words.
    """

    steps: int
    unscored: int
    anomalies: int
    ranges: int
    rejected: int
    ranges_output: Path | str
    calibrated_on: str = ""


def detect_points(task: Task, control: Control, provenance: Provenance) -> PointsFound:
    """Scores every step of the series of a file or folder, and writes the scores and the ranges.

    The output has one line per step, in the order of the input: `step` (from 0), `series_id` and
    `time` if there are such columns, `score`, `p_value` and `anomaly`. Steps that no window covers
    have none of the three, and a `reason`. Steps that cannot be read are set aside in
    `OUTPUT.rejected.csv`, if the task asks for that.

    Args:
        task: The input, the pair, and where the scores go.
        control: The rate of false alarms or of false discoveries that is kept.
        provenance: The provenance of the scores.

    Raises:
        DataError: If the input does not hold such series, or an output cannot be written.
    """
    pair, manifest = task.pair, task.pair.manifest
    calibration = calibration_of_points(pair)
    data = manifest.data.model_copy(update={"stride": 1})
    # A file without a window is no fault where others of the input have some.
    options = replace(task.options, let_short=task.part is not None)
    series = open_files(data, task.files(), manifest.rows_taken, options)
    assert isinstance(series, SeriesRows)  # noqa: S101 (the pair is of series)
    watch = InputWatch(pair, task.source, task.held_out)
    with deciding(pair, calibration, control) as decisions:
        points = score_points(pair, series, decisions, task.on_rows, watch)
        write_points(points, series, task, provenance)
    watch.report()
    return PointsFound(
        steps=len(points.scores),
        unscored=int((~points.is_scored).sum()),
        anomalies=decisions.anomalies,
        ranges=len(points.ranges),
        rejected=len(series.rejected),
        ranges_output=ranges_path(task.output),
        calibrated_on=calibration.size("calibration steps"),
    )


def score_points(
    pair: Pair,
    series: SeriesRows,
    decisions: Decisions,
    on_rows: OnRows | None = None,
    watch: InputWatch | None = None,
) -> Points:
    """Scores every step of series; memory holds some numbers for each step, and a block of windows.

    Args:
        pair: The pair.
        series: The series, whose windows begin at every step.
        decisions: Decides which steps are anomalies.
        on_rows: Called with (windows done, all windows) during the work.
        watch: Looks at all that is scored.
    """
    window = series.schema.shape[1]
    of_windows = np.empty(series.count, dtype=np.float32)
    done = 0
    with closing(blocks_of(series, on_rows)) as blocks:
        for block, on_block_rows in blocks:
            found = pair.detect(block.values, on_rows=on_block_rows, as_read=True)
            if watch is not None:
                watch.look(block.values, found.anomalies)
            of_windows[done : done + len(found.scores)] = found.scores
            done += len(found.scores)
    means = mean_of_covering_windows(of_windows, series.starts, window, len(series.order))
    scores = means.astype(np.float32)
    is_scored = series.is_covered
    p_values, anomalies = np.full_like(scores, np.nan), np.zeros(len(scores), dtype=bool)
    scored = scores[is_scored]
    p_values[is_scored] = calibration_of_points(pair).p_values(torch.from_numpy(scored)).numpy()
    judged: list[Columns] = []
    with decisions.appending(judged.append):
        decisions.add({"score": scored, "p_value": p_values[is_scored]})
    anomalies[is_scored] = np.concatenate([each["anomaly"] for each in judged])
    ranges = ranges_of(scores, p_values, anomalies, series.pieces, window)
    return Points(scores, p_values, anomalies, is_scored, ranges)


def write_points(points: Points, series: SeriesRows, task: Task, provenance: Provenance) -> None:
    """Writes a line for each step, in the order of the input; ranges and rejected steps beside it.

    Raises:
        DataError: If one of the files cannot be written.
    """
    output = task.output
    with open_results(output, provenance) as append:
        for columns in _columns(points, series):
            append(columns)
        # Before the scores appear: there are never new scores beside the ranges of older ones.
        write_table(_columns_of_ranges(points, series), ranges_path(output), provenance)
        with open_rejected(output, task.called, provenance) as rejected:
            rejected.add(series.rejected)


def _columns(points: Points, series: SeriesRows) -> Iterator[dict[str, NDArray[Any]]]:
    positions, steps = series.positions, len(series.order)
    reasons = None if points.is_scored.all() else _reasons(points.is_scored, series)
    # A part of an input may have no step that can be read, and its table has the columns too.
    for first in range(0, max(1, steps), _STEPS_WRITTEN_AT_ONCE):
        own = positions[first : first + _STEPS_WRITTEN_AT_ONCE]
        is_empty = ~points.is_scored[own]
        yield {
            "step": series.order[own],
            **{name: column[own] for name, column in series.names.items()},
            "score": np.ma.masked_array(points.scores[own], is_empty),
            "p_value": np.ma.masked_array(points.p_values[own], is_empty),
            "anomaly": np.ma.masked_array(points.anomalies[own], is_empty),
            **({} if reasons is None else {"reason": reasons[own]}),
        }


def _reasons(is_scored: NDArray[np.bool_], series: SeriesRows) -> NDArray[np.str_]:
    """Returns why steps have no score, shape (T,); empty texts for those that have one."""
    window = series.schema.shape[1]
    lengths = np.bincount(series.pieces)[series.pieces]
    steps = np.where(lengths == 1, " step", " steps")
    short = np.char.add(lengths.astype(np.str_), steps)
    short = np.char.add(short, f" in a row, fewer than a window of {window}")
    reasons = np.where(
        lengths < window, short, f"no window of {window} steps without missing values"
    )
    return np.where(is_scored, "", reasons)


def _columns_of_ranges(points: Points, series: SeriesRows) -> dict[str, NDArray[Any]]:
    def places(name: str) -> NDArray[np.int64]:
        return np.array([getattr(each, name) for each in points.ranges], dtype=np.int64)

    first, last, peak = places("first"), places("last"), places("peak")
    columns: dict[str, NDArray[Any]] = {}
    if "series_id" in series.names:
        columns["series_id"] = series.names["series_id"][first]
    columns |= {"first_step": series.order[first], "last_step": series.order[last]}
    if "time" in series.names:
        times = series.names["time"]
        columns |= {"first_time": times[first], "last_time": times[last]}
    columns |= {"steps": last - first + 1, "peak_step": series.order[peak]}
    if "time" in series.names:
        columns["peak_time"] = series.names["time"][peak]
    of_ranges = [(each.peak_score, each.p_value) for each in points.ranges]
    peak_scores, p_values = np.array(of_ranges, dtype=np.float32).reshape(-1, 2).T
    return columns | {"peak_score": peak_scores, "p_value": p_values}
