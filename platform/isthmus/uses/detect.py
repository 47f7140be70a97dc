"""Detects anomalies in a file: scores every row, and compares the score with a threshold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal, cast

from isthmus.core.calibration import Calibration, error_in_words, largest_error
from isthmus.data import Block, Provenance, open_rejected, open_results, write_behind
from isthmus.detection.controls import Control, Decisions, control_of, deciding
from isthmus.detection.explaining import Explained, explaining
from isthmus.detection.input_watch import InputWatch
from isthmus.detection.points import (
    RANGES_SCHEMA,
    PointsFound,
    calibration_of_points,
    check_per,
    detect_points,
    scores_points,
)
from isthmus.errors import UsageError
from isthmus.execution.blocks import OnRows
from isthmus.execution.outputs import TableOutput
from isthmus.execution.task import Task
from isthmus.execution.use import Use, UseResult, fields_of_result
from isthmus.registry import Pair
from isthmus.spec import SpecModel


@dataclass(frozen=True, kw_only=True)
class DetectResult(UseResult):
    """The result of a detection: `rows` are steps, where single steps of series are scored.

    Attributes:
        anomalies: Number of anomalies.
        threshold: Scores above it are anomalies; NaN if the control is of false discoveries.
        rule: The rule that makes a row an anomaly, in words.
        p_value_error: The most by which a p-value is too large, as not all of very many calibration
            scores are kept; `None` if all are, so that p-values are exact.
        points: Further figures, where single steps of series are scored in this process.
    """

    anomalies: int
    threshold: float
    rule: str
    p_value_error: float | None = None
    points: PointsFound | None = None

    def moved_to(self, output: str | Path) -> DetectResult:
        """Returns the result with the places that the scores and the ranges were brought to."""
        points = self.points
        if points is not None:
            beside = f"{output}.ranges.csv"
            place = Path(beside) if isinstance(output, Path) else beside
            points = replace(points, ranges_output=place)
        return replace(self, output=output, points=points)


class Detect(Use):
    """Finds the anomalies among the rows of an input.

    The output has one line per row, in order: `row` (from 0), the row's name if it has one,
    `score`, `p_value` (about the share of normal rows that score at least as high) and `anomaly`.
    Of series it has one line per step, and the ranges of anomalous steps are written beside it, to
    `OUTPUT.ranges.csv`. Steps that cannot be read are gaps: no window crosses them. A log line says
    so if the input has drifted from the rows that were held out of training.
    """

    SUMMARY = "Score every row of a file and find the anomalies; write csv, parquet or npz."
    EXAMPLE = "isthmus detect --model digits@champion new.npz scores.csv"
    DOING, DONE = "detecting", "scored"
    OUTPUT = TableOutput()
    COUNTS = ("anomalies",)
    TABLES_BESIDE: ClassVar = {"ranges": RANGES_SCHEMA}
    HAS_REPORT = True
    NEEDS_HELD_OUT = True

    class Config(SpecModel):
        """The options of a detection."""

        allow_unseen: bool = False
        """Judge rows with categories new to the pair by their score alone: it counts such a value
        as none of those known, which is unusual too. Without this, each is an anomaly."""
        false_alarm_rate: float | None = None
        """The share of normal rows that may be flagged; by default the pair's own, 0.01."""
        control: str = "rate"
        """rate: of normal rows few are flagged. fdr: of the rows flagged in the file few are
        normal. online: the same over all files of a stream."""
        level: float | None = None
        """The false discovery rate of --control fdr and online; by default 0.1."""
        state: Path | None = None
        """The file with the state of a stream (--control online)."""
        explain: bool = False
        """Say why each row is strange, in columns; for images, series and audio also in pictures
        of the strangest, in OUTPUT.heatmaps."""
        per: Literal["auto", "point", "window"] = "auto"
        """The unit of series that has a score: each point, or each window."""

    config: Config

    def __init__(self, **options: object) -> None:
        """Creates the job; see `Config` for the options.

        Raises:
            UsageError: Naming what is wrong, or what does not go together.
        """
        super().__init__(**options)
        asked = self.config
        self.control: Control = control_of(
            asked.control, asked.false_alarm_rate, asked.level, asked.state
        )

    def check_parts(self) -> None:
        """Refuses controls that decide by all rows together, and pictures of the strangest."""
        if self.control.name != "rate":
            raise UsageError(
                f"the control {self.control.name} decides by all rows together, and --address "
                "scores each file by itself; leave one of them out"
            )
        if self.config.explain:
            raise UsageError("--explain does not go with --address; leave one of them out")

    def noted(self, pair: Pair) -> dict[str, object]:
        """Returns the rate that is kept, and the threshold that follows from it."""
        return self.control.said(pair, self._calibration(pair))

    def work(self, task: Task) -> DetectResult:
        """Scores single steps of series, or rows."""
        check_per(task.pair, self.config.per, explain=self.config.explain)
        provenance = task.provenance(self.name(), self.noted(task.pair))
        if scores_points(task.pair, self.config.per, explain=self.config.explain):
            points = detect_points(task, self.control, provenance)
            counts = {
                "rows": points.steps,
                "rejected": points.rejected,
                "anomalies": points.anomalies,
            }
            return replace(self.result(task.pair, task.output, counts), points=points)
        return self._score_rows(task, provenance)

    def result(
        self, pair: Pair, output: Path | str, counts: Mapping[str, int], *, parts: int = 0
    ) -> DetectResult:
        """Returns the result, with the threshold and the rule."""
        calibration = self._calibration(pair)
        return DetectResult(
            **fields_of_result(pair, output, counts, parts),
            threshold=self.control.threshold_of(pair, calibration),
            rule=self.control.rule_of(pair, calibration),
            p_value_error=largest_error(calibration.rows),
        )

    def headline(self, result: UseResult) -> str:
        """Returns how many anomalies there are, and by which rule."""
        found = cast("DetectResult", result)
        what = self.unit(result)
        return f"{found.anomalies:,} anomalies in {found.rows:,} {what} ({found.rule})"

    def unit(self, result: UseResult) -> str:
        """Returns "steps", if each step of series has a score of its own."""
        return "rows" if cast("DetectResult", result).points is None else "steps"

    def details(self, result: UseResult) -> list[str]:
        """Returns the error of p-values, if any, and what is to be said of steps of series."""
        found = cast("DetectResult", result)
        lines = [] if found.p_value_error is None else [error_in_words(found.p_value_error)]
        points = found.points
        if points is None:
            return lines
        lines.append(f"the p-values rest on {points.calibrated_on}")
        if points.unscored:
            lines.append(
                f"{points.unscored:,} steps have no score, as no whole window covers them; the "
                "column reason says why"
            )
        return [*lines, f"{points.ranges:,} ranges of anomalous steps: {points.ranges_output}"]

    def _calibration(self, pair: Pair) -> Calibration:
        """Returns how what is scored, steps or rows, scores where it is normal."""
        if scores_points(pair, self.config.per, explain=self.config.explain):
            return calibration_of_points(pair)
        return pair.detector.calibration

    def _score_rows(self, task: Task, provenance: Provenance) -> DetectResult:
        # A file of series without a window is no fault where others of the input have some.
        options = replace(task.options, let_short=task.part is not None)
        pair, source = task.pair, task.open(options)
        watch = InputWatch(pair, task.source, task.held_out)
        with (
            explaining(
                pair, task.held_out, task.output, provenance, is_asked=self.config.explain
            ) as explained,
            deciding(pair, pair.detector.calibration, self.control) as decisions,
            open_results(task.output, provenance) as append_now,
            open_rejected(task.output, task.called, provenance) as rejected,
            write_behind(append_now) as append,
            decisions.appending(append),
        ):
            scoring = _Scoring(pair, watch, explained, decisions, self.config.allow_unseen)
            rows = task.for_each_block(source, rejected, scoring.add)
        watch.report()
        counts = {"rows": rows, "rejected": rejected.count, "anomalies": decisions.anomalies}
        return self.result(pair, task.output, counts)


@dataclass(frozen=True)
class _Scoring:
    """Scores blocks of rows, and hands them to what decides on them."""

    pair: Pair
    watch: InputWatch
    explained: Explained
    decisions: Decisions
    allow_unseen: bool

    def add(self, block: Block, on_rows: OnRows | None) -> None:
        found = self.pair.detect(block.values, on_rows=on_rows, as_read=True)
        self.watch.look(block.values, found.anomalies)
        columns = {**block.index, "score": found.scores, "p_value": found.p_values}
        certain = None
        if block.reasons is not None:
            columns["reason"] = block.reasons
            certain = None if self.allow_unseen else block.reasons != ""
        self.decisions.add({**columns, **self.explained(block, found.scores)}, certain)
