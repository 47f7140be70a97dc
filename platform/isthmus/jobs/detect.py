"""Detects anomalies in a file: scores every row, and compares the score with a threshold."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from isthmus.data import (
    RangeWatch,
    UseOptions,
    check_table_output,
    open_input,
    open_results,
    write_behind,
)
from isthmus.jobs.blocks import OnRows, blocks_of
from isthmus.jobs.controls import Control, deciding
from isthmus.jobs.inputs import refuse_replaced_input
from isthmus.jobs.points import Per, PointsFound, detect_points, scores_points
from isthmus.jobs.provenance import provenance_of, recorded
from isthmus.registry import Pair, load
from isthmus.spec import Settings
from isthmus.spec.secrets import without_password


@dataclass(frozen=True)
class DetectResult:
    """The result of a detection job.

    Attributes:
        rows: Number of rows; of steps, where single steps of series are scored.
        anomalies: Number of anomalies.
        threshold: Scores above it are anomalies; NaN if the control is of false discoveries.
        rule: What makes a row an anomaly, in words.
        output: The path of the scores.
        model: The pair's name and version, `digits/3`.
        pair_id: The id of the pair that scored them, which the output holds too.
        points: Further figures, where single steps of series are scored.
    """

    rows: int
    anomalies: int
    threshold: float
    rule: str
    output: Path
    model: str
    pair_id: str
    points: PointsFound | None = None


def detect(
    model: str,
    source: str,
    output: str | Path,
    settings: Settings,
    on_rows: OnRows | None = None,
    *,
    options: UseOptions | None = None,
    allow_unseen: bool = False,
    control: Control | None = None,
    per: Per = "auto",
) -> DetectResult:
    """Scores the rows of a file or folder with a registered pair.

    Tables and arrays are scored in blocks, and may be larger than memory. The output has one line
    per row, in order: `row` (from 0), the row's name if it has one, `score`, `p_value` (about the
    share of normal rows that score at least as high) and `anomaly`. Of series it has one line per
    step, and the ranges of anomalous steps are written beside it, to `OUTPUT.ranges.csv`.

    Args:
        model: `NAME@ALIAS`, `NAME/VERSION`, or `NAME` for its champion.
        source: An npz, npy, csv or parquet file, or a folder of images or sounds; local or `s3://`.
        output: The path of a csv, parquet or npz file, which appears whole or not at all.
        settings: The settings with the address of the registry.
        on_rows: Called with (rows done, all rows) during the work.
        options: What is asked for of the input, such as resampling.
        allow_unseen: Whether a row with a category that training did not have may be normal. By
            default it counts as an anomaly; the output's column `reason` names it in any case.
        control: Which rate of false alarms or of false discoveries is kept; by default the
            false-alarm rate that the pair was calibrated for.
        per: What of series has a score: each `point`, or each `window` alone.

    Raises:
        UsageError: If the pair has too few calibration rows for that rate.
        ModelNotFound: If there is no such pair.
        DataError: If the file does not hold the kind of data that the pair was trained on, or if
            the output would replace it.
        RegistryError: If the pair is damaged.
    """
    check_table_output(Path(output))
    pair = load(model, settings)
    with recorded(pair, "detect", settings) as record:
        result = detect_with(
            *(pair, source, output, on_rows),
            options=options,
            allow_unseen=allow_unseen,
            control=control,
            per=per,
        )
        record(result.output, result.rows)
    return result


def detect_with(
    pair: Pair,
    source: str,
    output: str | Path,
    on_rows: OnRows | None = None,
    *,
    options: UseOptions | None = None,
    allow_unseen: bool = False,
    control: Control | None = None,
    per: Per = "auto",
) -> DetectResult:
    """Does the same as `detect`, with a pair that is already loaded."""
    refuse_replaced_input(source, output)
    control = control or Control()
    if scores_points(pair, per):
        of_points = detect_points(pair, source, Path(output), control, on_rows, options)
        return _result_of_points(pair, of_points)
    calibration = pair.detector.calibration
    stream = open_input(pair.manifest.data, source, pair.manifest.rows_taken, options)
    watch = RangeWatch(pair.manifest.rows_taken, without_password(source))
    provenance = provenance_of(pair, source, job="detect", **control.said(pair, calibration))
    rows = 0
    with (
        deciding(pair, calibration, control) as decisions,
        open_results(Path(output), provenance) as append_now,
        write_behind(append_now) as append,
        decisions.appending(append),
        closing(blocks_of(stream, on_rows)) as blocks,
    ):
        for block, on_block_rows in blocks:
            watch.look(block.values)
            found = pair.detect(block.values, on_rows=on_block_rows, as_read=True)
            columns = {**block.index, "score": found.scores, "p_value": found.p_values}
            certain = None
            if block.reasons is not None:
                columns["reason"] = block.reasons
                certain = None if allow_unseen else block.reasons != ""
            decisions.add(columns, certain)
            rows += len(found.scores)
    watch.report()
    return DetectResult(
        rows=rows,
        anomalies=decisions.anomalies,
        threshold=decisions.threshold,
        rule=decisions.rule,
        output=Path(output),
        model=pair.reference,
        pair_id=pair.manifest.pair_id,
    )


def _result_of_points(pair: Pair, found: PointsFound) -> DetectResult:
    return DetectResult(
        rows=found.steps,
        anomalies=found.anomalies,
        threshold=found.threshold,
        rule=found.rule,
        output=found.output,
        model=pair.reference,
        pair_id=pair.manifest.pair_id,
        points=found,
    )
