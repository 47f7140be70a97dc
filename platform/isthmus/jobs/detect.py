"""Detect anomalies in a file: a score for every row, and whether it is above what is normal."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from isthmus.data import check_table_output, open_input, open_results, write_behind
from isthmus.jobs.blocks import OnRows, blocks_of
from isthmus.jobs.provenance import provenance_of, recorded
from isthmus.registry import Pair, load
from isthmus.spec import Settings


@dataclass(frozen=True)
class DetectResult:
    """What was written.

    Attributes:
        rows: How many were scored.
        anomalies: How many are above the threshold.
        threshold: Scores above it are anomalies; 1 % of normal rows are.
        output: Where the scores are.
        model: The pair's name and version, `digits/3`.
        pair_id: The pair that made it; the output names it too.
    """

    rows: int
    anomalies: int
    threshold: float
    output: Path
    model: str
    pair_id: str


def detect(
    model: str,
    source: str,
    output: str | Path,
    settings: Settings,
    on_rows: OnRows | None = None,
) -> DetectResult:
    """Scores the rows of a file or folder with a registered pair.

    Tables and arrays are scored a block at a time, and may be larger than the memory. The output
    has a line for each row, in order: `row` (from 0), its name if it has one, `score`,
    `p_value` (the share of normal rows that score as high) and `anomaly`.

    Args:
        model: `NAME@ALIAS`, `NAME/VERSION`, or `NAME` for its champion.
        source: npz, npy, csv, parquet, or a folder of images or sounds; local or `s3://`.
        output: csv, parquet or npz; it appears whole or not at all.
        settings: Where the registry is.
        on_rows: Told (rows done, rows in all) as the work goes on.

    Raises:
        ModelNotFound: If there is no such pair.
        DataError: If the file is not what the pair was trained on.
        RegistryError: If the pair is damaged.
    """
    check_table_output(Path(output))
    pair = load(model, settings)
    with recorded(pair, "detect", settings) as record:
        result = detect_with(pair, source, output, on_rows)
        record(result.output, result.rows)
    return result


def detect_with(
    pair: Pair, source: str, output: str | Path, on_rows: OnRows | None = None
) -> DetectResult:
    """As `detect`, with a pair that is loaded."""
    stream = open_input(pair.manifest.data, source, pair.manifest.plan.row_shape)
    provenance = provenance_of(pair, source, job="detect", threshold=pair.threshold)
    rows = anomalies = 0
    with (
        open_results(Path(output), provenance) as append_now,
        write_behind(append_now) as append,
        closing(blocks_of(stream, on_rows)) as blocks,
    ):
        for block, on_block_rows in blocks:
            found = pair.detect(block.values, on_rows=on_block_rows)
            append(
                {
                    **block.index,
                    "score": found.scores,
                    "p_value": found.p_values,
                    "anomaly": found.anomalies,
                }
            )
            rows += len(found.scores)
            anomalies += int(found.anomalies.sum())
    return DetectResult(
        rows=rows,
        anomalies=anomalies,
        threshold=pair.threshold,
        output=Path(output),
        model=pair.reference,
        pair_id=pair.manifest.pair_id,
    )
