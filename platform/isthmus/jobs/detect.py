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
        anomalies: Number of rows whose score is above the threshold.
        threshold: Scores above it are anomalies; 1 % of normal rows have such a score.
        output: The path of the scores.
        model: The pair's name and version, `digits/3`.
        pair_id: The id of the pair that scored them, which the output holds too.
        points: Further figures, where single steps of series are scored.
    """

    rows: int
    anomalies: int
    threshold: float
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
    per: Per = "auto",
) -> DetectResult:
    """Scores the rows of a file or folder with a registered pair.

    Tables and arrays are scored in blocks, and may be larger than memory. The output has one line
    per row, in order: `row` (from 0), the row's name if it has one, `score`, `p_value` (the share
    of normal rows that score at least as high) and `anomaly`. Of series it has one line per step,
    and the ranges of anomalous steps are written beside it, to `OUTPUT.ranges.csv`.

    Args:
        model: `NAME@ALIAS`, `NAME/VERSION`, or `NAME` for its champion.
        source: An npz, npy, csv or parquet file, or a folder of images or sounds; local or `s3://`.
        output: The path of a csv, parquet or npz file, which appears whole or not at all.
        settings: The settings with the address of the registry.
        on_rows: Called with (rows done, all rows) during the work.
        options: What is asked for of the input, such as resampling.
        allow_unseen: Whether a row with a category that training did not have may be normal. By
            default it counts as an anomaly; the output's column `reason` names it in any case.
        per: What of series has a score: each `point`, or each `window` alone.

    Raises:
        ModelNotFound: If there is no such pair.
        DataError: If the file does not hold the kind of data that the pair was trained on, or if
            the output would replace it.
        RegistryError: If the pair is damaged.
    """
    check_table_output(Path(output))
    pair = load(model, settings)
    with recorded(pair, "detect", settings) as record:
        result = detect_with(
            *(pair, source, output, on_rows), options=options, allow_unseen=allow_unseen, per=per
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
    per: Per = "auto",
) -> DetectResult:
    """Does the same as `detect`, with a pair that is already loaded."""
    refuse_replaced_input(source, output)
    if scores_points(pair, per):
        return _result_of_points(pair, detect_points(pair, source, output, on_rows, options))
    stream = open_input(pair.manifest.data, source, pair.manifest.rows_taken, options)
    watch = RangeWatch(pair.manifest.rows_taken, without_password(source))
    provenance = provenance_of(pair, source, job="detect", threshold=pair.threshold)
    rows = anomalies = 0
    with (
        open_results(Path(output), provenance) as append_now,
        write_behind(append_now) as append,
        closing(blocks_of(stream, on_rows)) as blocks,
    ):
        for block, on_block_rows in blocks:
            watch.look(block.values)
            found = pair.detect(block.values, on_rows=on_block_rows, as_read=True)
            is_anomaly, reasons = found.anomalies, {}
            if block.reasons is not None:
                reasons = {"reason": block.reasons}
                if not allow_unseen:
                    is_anomaly = is_anomaly | (block.reasons != "")
            append(
                {
                    **block.index,
                    "score": found.scores,
                    "p_value": found.p_values,
                    "anomaly": is_anomaly,
                    **reasons,
                }
            )
            rows += len(found.scores)
            anomalies += int(is_anomaly.sum())
    watch.report()
    return DetectResult(
        rows=rows,
        anomalies=anomalies,
        threshold=pair.threshold,
        output=Path(output),
        model=pair.reference,
        pair_id=pair.manifest.pair_id,
    )


def _result_of_points(pair: Pair, found: PointsFound) -> DetectResult:
    return DetectResult(
        rows=found.steps,
        anomalies=found.anomalies,
        threshold=found.threshold,
        output=found.output,
        model=pair.reference,
        pair_id=pair.manifest.pair_id,
        points=found,
    )
