"""Detects anomalies in a file: scores every row, and compares the score with a threshold."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from isthmus.data import (
    Block,
    UseOptions,
    check_table_output,
    locate,
    open_files,
    open_rejected,
    open_results,
    write_behind,
)
from isthmus.data.results import Columns
from isthmus.jobs.blocks import OnRows, blocks_of
from isthmus.jobs.controls import Control, Decisions, deciding
from isthmus.jobs.explaining import explaining
from isthmus.jobs.input_watch import InputWatch
from isthmus.jobs.inputs import InputPart, no_rows, refuse_replaced_input
from isthmus.jobs.points import Per, PointsFound, detect_points, scores_points
from isthmus.jobs.provenance import how_read, provenance_of, recorded
from isthmus.jobs.reference_rows import ReferenceRows, no_reference_rows, reference_rows
from isthmus.registry import Device, Pair, load
from isthmus.spec import Settings
from isthmus.spec.secrets import without_password


@dataclass(frozen=True)
class DetectResult:
    """The result of a detection job.

    Attributes:
        rows: Number of rows; of steps, where single steps of series are scored.
        anomalies: Number of anomalies.
        rejected: Number of rows that cannot be read. They are set aside, with their reasons, in
            `OUTPUT.rejected.csv`.
        threshold: Scores above it are anomalies; NaN if the control is of false discoveries.
        rule: What makes a row an anomaly, in words.
        output: The path of the scores.
        model: The pair's name and version, `digits/3`.
        pair_id: The id of the pair that scored them, which the output holds too.
        points: Further figures, where single steps of series are scored.
    """

    rows: int
    anomalies: int
    rejected: int
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
    device: Device = "auto",
    explain: bool = False,
    per: Per = "auto",
) -> DetectResult:
    """Scores the rows of a file or folder with a registered pair.

    Tables and arrays are scored in blocks, and may be larger than memory. The output has one line
    per row, in order: `row` (from 0), the row's name if it has one, `score`, `p_value` (about the
    share of normal rows that score at least as high) and `anomaly`. Rows that cannot be read are
    set aside, with their reasons, in `OUTPUT.rejected.csv`. Of series it has one line per step, and
    the ranges of anomalous steps are written beside it, to `OUTPUT.ranges.csv`.

    Args:
        model: `NAME@ALIAS`, `NAME/VERSION`, or `NAME` for its champion.
        source: An npz, npy, csv or parquet file, or a folder of images or sounds; local or `s3://`.
        output: The path of a csv, parquet or npz file, which appears whole or not at all.
        settings: The settings with the address of the registry.
        on_rows: Called with (rows done, all rows) during the work.
        options: What is asked for of the input, such as resampling; by default that rows which
            cannot be read are set aside.
        allow_unseen: Whether a row with a category that training did not have may be normal. By
            default it counts as an anomaly; the output's column `reason` names it in any case.
        control: Which rate of false alarms or of false discoveries is kept; by default the
            false-alarm rate that the pair was calibrated for.
        device: Where the pair computes; `auto` is a GPU if there is one.
        explain: Whether to add columns that say why each row is strange, and, for images, series
            and audio, pictures of the strangest rows in the folder `<output>.heatmaps`.
        per: What of series has a score: each `point`, or each `window` alone.

    A log line says so if the input has drifted from the rows that were held out of training.

    Raises:
        UsageError: If the pair has too few calibration rows for that rate, or if a GPU is asked for
            and there is none.
        ModelNotFound: If there is no such pair.
        DataError: If the file does not hold the kind of data that the pair was trained on, if none
            of its rows can be read, or if the output would replace it.
        RegistryError: If the pair is damaged.
    """
    check_table_output(Path(output))
    pair = load(model, settings, device)
    with (
        recorded(pair, "detect", settings) as record,
        reference_rows(pair, settings) as held_out,
    ):
        result = detect_with(
            *(pair, source, output, on_rows),
            options=options,
            allow_unseen=allow_unseen,
            control=control,
            explain=explain,
            held_out=held_out,
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
    explain: bool = False,
    per: Per = "auto",
    held_out: ReferenceRows = no_reference_rows,
    part: InputPart | None = None,
) -> DetectResult:
    """Does the same as `detect`, with a pair that is already loaded.

    Args:
        pair: The pair.
        source: As in `detect`.
        output: As in `detect`.
        on_rows: As in `detect`.
        options: As in `detect`.
        allow_unseen: As in `detect`.
        control: As in `detect`.
        explain: As in `detect`.
        per: As in `detect`.
        held_out: Returns the pair's held-out rows, which tell drift and what errors are usual.
        part: The part of the source that is scored, if not all of it is. It may have no rows.
    """
    refuse_replaced_input(source, output)
    options = options or UseOptions(set_aside=True)
    control = control or Control()
    if scores_points(pair, per, explain=explain):
        steps = detect_points(pair, source, Path(output), control, on_rows, options, held_out)
        return _result(pair, steps.output, steps, rows=steps.steps, points=steps)
    calibration = pair.detector.calibration
    files = locate(without_password(source)) if part is None else part.files
    stream = open_files(pair.manifest.data, files, pair.manifest.rows_taken, options)
    watch = InputWatch(pair, source, held_out)
    said = control.said(pair, calibration) | how_read(options) | dict(part.noted if part else {})
    provenance = provenance_of(pair, source, job="detect", **said)
    rows = 0
    with (
        explaining(pair, held_out, Path(output), provenance, is_asked=explain) as explained,
        deciding(pair, calibration, control) as decisions,
        open_results(Path(output), provenance) as append_now,
        open_rejected(Path(output), without_password(source), provenance) as rejected,
        write_behind(append_now) as append,
        decisions.appending(append),
        closing(blocks_of(stream, on_rows)) as blocks,
    ):
        score = partial(_scored, pair, watch, explained, allow_unseen)
        for block, on_block_rows in blocks if part is None or stream.count != 0 else ():
            rejected.add(block.rejected)
            if len(block.values):
                decisions.add(*score(block, on_block_rows))
                rows += len(block.values)
        if part is None:
            rejected.refuse_nothing_left(rows)
        elif rows == 0:
            decisions.add(*score(no_rows(pair.manifest.data, pair.manifest.plan.row_shape)))
    watch.report()
    return _result(pair, Path(output), decisions, rows=rows, rejected=rejected.count)


def _scored(
    pair: Pair,
    watch: InputWatch,
    explained: Callable[[Block, NDArray[np.float32]], Columns],
    allow_unseen: bool,
    block: Block,
    on_block_rows: OnRows | None = None,
) -> tuple[Columns, NDArray[np.bool_] | None]:
    """Returns the columns of a block, and which rows are anomalies whatever they score."""
    found = pair.detect(block.values, on_rows=on_block_rows, as_read=True)
    watch.look(block.values, found.anomalies)
    reasons = {} if block.reasons is None else {"reason": block.reasons}
    columns = {
        **block.index,
        "score": found.scores,
        "p_value": found.p_values,
        **reasons,
        **explained(block, found.scores),
    }
    return columns, None if block.reasons is None or allow_unseen else block.reasons != ""


def _result(
    pair: Pair,
    output: Path,
    found: Decisions | PointsFound,
    *,
    rows: int,
    rejected: int = 0,
    points: PointsFound | None = None,
) -> DetectResult:
    return DetectResult(
        rows=rows,
        anomalies=found.anomalies,
        rejected=rejected,
        threshold=found.threshold,
        rule=found.rule,
        output=output,
        model=pair.reference,
        pair_id=pair.manifest.pair_id,
        points=points,
    )
