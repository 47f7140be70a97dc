"""Detects anomalies in a file: scores every row, and compares the score with a threshold."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from isthmus.data import (
    Block,
    Provenance,
    RowSource,
    UseOptions,
    check_table_output,
    open_files,
    open_rejected,
    open_results,
    write_behind,
)
from isthmus.data.files import is_in_s3
from isthmus.errors import UsageError
from isthmus.jobs.blocks import OnRows, blocks_of
from isthmus.jobs.controls import Control, Decisions, deciding
from isthmus.jobs.explaining import Explained, explaining
from isthmus.jobs.input_watch import InputWatch
from isthmus.jobs.inputs import InputPart, files_of, no_rows, refuse_replaced_input
from isthmus.jobs.points import Per, PointsFound, detect_points, scores_points
from isthmus.jobs.provenance import provenance_of_detection, recorded
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
        control: The rate of false alarms or of false discoveries that is kept; by default the
            false-alarm rate that the pair was calibrated for.
        device: The device that the pair computes on; `auto` is a GPU if there is one.
        explain: Whether to add columns that say why each row is strange, and, for images, series
            and audio, pictures of the strangest rows in the folder `<output>.heatmaps`.
        per: What of series has a score: each `point`, or each `window` alone.

    A log line says so if the input has drifted from the rows that were held out of training.

    Raises:
        UsageError: If the pair has too few calibration rows for that rate, if a GPU is asked for
            and there is none, or if the output is in S3.
        ModelNotFound: If there is no such pair.
        DataError: If the file does not hold the kind of data that the pair was trained on, if none
            of its rows can be read, or if the output would replace it.
        RegistryError: If the pair is damaged.
    """
    if is_in_s3(str(output)):
        raise UsageError(
            f"{output}: results are written to a file of this machine; name one, or add --address "
            "to have a cluster write a folder of parts to S3"
        )
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
        source: The input, as in `detect`.
        output: The path of the scores, as in `detect`.
        on_rows: The function for the progress, as in `detect`.
        options: The options of the input, as in `detect`.
        allow_unseen: The rule for unseen categories, as in `detect`.
        control: The rate that is kept, as in `detect`.
        explain: The wish for explanations, as in `detect`.
        per: The choice between steps and windows, as in `detect`.
        held_out: Returns the pair's held-out rows, which tell drift and what errors are usual.
        part: The part of the source that is scored, if not all of it is. It may have no rows.
    """
    refuse_replaced_input(source, output)
    options = options or UseOptions(set_aside=True)
    control = control or Control()
    output = Path(output)
    if scores_points(pair, per, explain=explain):
        how = (control, on_rows, options, held_out, part)
        return _result_of_points(pair, detect_points(pair, source, output, *how))
    files = files_of(source, part)
    stream = open_files(pair.manifest.data, files, pair.manifest.rows_taken, options)
    provenance = provenance_of_detection(
        pair, source, control.said(pair, pair.detector.calibration), options, part
    )
    watch = InputWatch(pair, source, held_out)
    with explaining(pair, held_out, output, provenance, is_asked=explain) as explained:
        asked = _Asked(
            without_password(source), control, allow_unseen, may_be_empty=part is not None
        )
        result = _detect_rows(pair, stream, output, provenance, asked, watch, explained, on_rows)
    watch.report()
    return result


@dataclass(frozen=True)
class _Asked:
    """What is asked of the scoring of rows.

    Attributes:
        called: What messages call the input.
        control: The rate of false alarms or of false discoveries that is kept.
        allow_unseen: Whether a row with a category that training did not have may be normal.
        may_be_empty: Whether there may be no row, because the input is a part of another.
    """

    called: str
    control: Control
    allow_unseen: bool
    may_be_empty: bool


def _detect_rows(
    pair: Pair,
    stream: RowSource,
    output: Path,
    provenance: Provenance,
    asked: _Asked,
    watch: InputWatch,
    explained: Explained,
    on_rows: OnRows | None,
) -> DetectResult:
    """Scores the rows of a source into a file."""
    calibration = pair.detector.calibration
    rows = 0
    with (
        deciding(pair, calibration, asked.control) as decisions,
        open_results(output, provenance) as append_now,
        open_rejected(output, asked.called, provenance) as rejected,
        write_behind(append_now) as append,
        decisions.appending(append),
        closing(blocks_of(stream, on_rows)) as blocks,
    ):
        scoring = _Scoring(pair, watch, explained, decisions, asked.allow_unseen)
        for block, on_block_rows in blocks if not asked.may_be_empty or stream.count != 0 else ():
            rejected.add(block.rejected)
            if len(block.values):
                scoring.add(block, on_block_rows)
                rows += len(block.values)
        if not asked.may_be_empty:
            rejected.refuse_nothing_left(rows)
        elif rows == 0:
            scoring.add(no_rows(pair.manifest.data, pair.manifest.plan.row_shape))
    return _result_of_rows(pair, output, decisions, rows, rejected.count)


@dataclass(frozen=True)
class _Scoring:
    """Scores blocks of rows, and hands them to what decides on them."""

    pair: Pair
    watch: InputWatch
    explained: Explained
    decisions: Decisions
    allow_unseen: bool

    def add(self, block: Block, on_rows: OnRows | None = None) -> None:
        found = self.pair.detect(block.values, on_rows=on_rows, as_read=True)
        self.watch.look(block.values, found.anomalies)
        columns = {**block.index, "score": found.scores, "p_value": found.p_values}
        certain = None
        if block.reasons is not None:
            columns["reason"] = block.reasons
            certain = None if self.allow_unseen else block.reasons != ""
        self.decisions.add({**columns, **self.explained(block, found.scores)}, certain)


def _result_of_rows(
    pair: Pair, output: Path, decisions: Decisions, rows: int, rejected: int
) -> DetectResult:
    return DetectResult(
        rows=rows,
        anomalies=decisions.anomalies,
        rejected=rejected,
        threshold=decisions.threshold,
        rule=decisions.rule,
        output=output,
        model=pair.reference,
        pair_id=pair.manifest.pair_id,
    )


def _result_of_points(pair: Pair, found: PointsFound) -> DetectResult:
    return DetectResult(
        rows=found.steps,
        anomalies=found.anomalies,
        rejected=0,
        threshold=found.threshold,
        rule=found.rule,
        output=found.output,
        model=pair.reference,
        pair_id=pair.manifest.pair_id,
        points=found,
    )
