"""Detect anomalies in a file: a score for every row, and whether it is above what is normal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from isthmus.data import check_table_output, read_input, write_table
from isthmus.jobs.provenance import provenance_of
from isthmus.registry import load
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
    on_rows: Callable[[int, int], None] | None = None,
) -> DetectResult:
    """Scores the rows of a file or folder with a registered pair.

    The output has a line for each row, in order: `row` (from 0), its name if it has one, `score`,
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
    rows = read_input(pair.manifest.data, source, pair.manifest.plan.row_shape)
    detections = pair.detect(rows.values, on_rows=on_rows)
    columns = {
        **rows.layout.index(),
        "score": detections.scores,
        "p_value": detections.p_values,
        "anomaly": detections.anomalies,
    }
    provenance = provenance_of(pair, source, job="detect", threshold=detections.threshold)
    write_table(columns, Path(output), provenance)
    return DetectResult(
        rows=len(rows.values),
        anomalies=int(detections.anomalies.sum()),
        threshold=detections.threshold,
        output=Path(output),
        model=pair.reference,
        pair_id=pair.manifest.pair_id,
    )
