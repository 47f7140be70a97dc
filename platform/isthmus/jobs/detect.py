"""Detects anomalies in a file: scores every row, and compares the score with a threshold."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.data import (
    Block,
    RangeWatch,
    UseOptions,
    check_table_output,
    locate,
    open_files,
    open_rejected,
    open_results,
    write_behind,
)
from isthmus.data.files import is_in_s3
from isthmus.errors import UsageError
from isthmus.jobs.blocks import OnRows, blocks_of
from isthmus.jobs.controls import Control, deciding
from isthmus.jobs.inputs import InputPart, no_rows, refuse_replaced_input
from isthmus.jobs.provenance import provenance_of, recorded
from isthmus.registry import Device, Pair, load
from isthmus.spec import Settings
from isthmus.spec.secrets import without_password


@dataclass(frozen=True)
class DetectResult:
    """The result of a detection job.

    Attributes:
        rows: Number of scored rows.
        anomalies: Number of anomalies.
        rejected: Number of rows that cannot be read. They are set aside, with their reasons, in
            `OUTPUT.rejected.csv`.
        threshold: Scores above it are anomalies; NaN if the control is of false discoveries.
        rule: What makes a row an anomaly, in words.
        output: The path of the scores.
        model: The pair's name and version, `digits/3`.
        pair_id: The id of the pair that scored them, which the output holds too.
    """

    rows: int
    anomalies: int
    rejected: int
    threshold: float
    rule: str
    output: Path
    model: str
    pair_id: str


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
) -> DetectResult:
    """Scores the rows of a file or folder with a registered pair.

    Tables and arrays are scored in blocks, and may be larger than memory. The output has one line
    per row, in order: `row` (from 0), the row's name if it has one, `score`, `p_value` (about the
    share of normal rows that score at least as high) and `anomaly`. Rows that cannot be read are
    set aside, with their reasons, in `OUTPUT.rejected.csv`.

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
    with recorded(pair, "detect", settings) as record:
        result = detect_with(
            *(pair, source, output, on_rows),
            options=options,
            allow_unseen=allow_unseen,
            control=control,
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
        part: The part of the source that is scored, if not all of it is. It may have no rows.
    """
    refuse_replaced_input(source, output)
    options = options or UseOptions(set_aside=True)
    control = control or Control()
    files = locate(without_password(source)) if part is None else part.files
    stream = open_files(pair.manifest.data, files, pair.manifest.rows_taken, options)
    watch = RangeWatch(pair.manifest.rows_taken, without_password(source))
    noted = {} if part is None else part.noted
    provenance = provenance_of(pair, source, job="detect", **control.said(pair), **noted)
    rows = 0
    with (
        deciding(pair, control) as decisions,
        open_results(Path(output), provenance) as append_now,
        open_rejected(Path(output), without_password(source), provenance) as rejected,
        write_behind(append_now) as append,
        decisions.appending(append),
        closing(blocks_of(stream, on_rows)) as blocks,
    ):
        for block, on_block_rows in blocks if part is None or stream.count != 0 else ():
            rejected.add(block.rejected)
            if not len(block.values):
                continue
            watch.look(block.values)
            decisions.add(*_scored(pair, block, on_block_rows, allow_unseen=allow_unseen))
            rows += len(block.values)
        if part is None:
            rejected.refuse_nothing_left(rows)
        elif rows == 0:
            none = no_rows(pair.manifest.data, pair.manifest.plan.row_shape)
            decisions.add(*_scored(pair, none, None, allow_unseen=allow_unseen))
    watch.report()
    return DetectResult(
        rows=rows,
        anomalies=decisions.anomalies,
        rejected=rejected.count,
        threshold=decisions.threshold,
        rule=decisions.rule,
        output=Path(output),
        model=pair.reference,
        pair_id=pair.manifest.pair_id,
    )


def _scored(
    pair: Pair, block: Block, on_rows: OnRows | None, *, allow_unseen: bool
) -> tuple[dict[str, NDArray[Any]], NDArray[np.bool_] | None]:
    """Scores a block.

    Returns:
        The columns of its results, and which rows are anomalies whatever they score.
    """
    found = pair.detect(block.values, on_rows=on_rows, as_read=True)
    columns = {**block.index, "score": found.scores, "p_value": found.p_values}
    if block.reasons is None:
        return columns, None
    return {**columns, "reason": block.reasons}, None if allow_unseen else block.reasons != ""
