"""Reads the input's rows again beside their scores, for a page."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.data import Block, UseOptions, open_all_rows, open_input, read_ahead
from isthmus.data.columns.labels import FOLDER_LABELS, matching
from isthmus.data.rows import rows_in_a_block
from isthmus.data.steps.series_rows import SeriesRows
from isthmus.data.steps.windows import cut_windows
from isthmus.drift import RowSample
from isthmus.errors import DataError
from isthmus.explanations import StrangeRows, Strangest
from isthmus.registry import Pair
from isthmus.report.scores_file import ScoreBlock, ScoresFile
from isthmus.report.series_steps import StepScores, strangest_windows
from isthmus.report.summary import ScoresBeside, ScoresSummary
from isthmus.spec.paths import is_local
from isthmus.types import DataKind

_COMPARED = ("row", "file", "first_step")


@dataclass(frozen=True, eq=False)
class InputRows:
    """The rows of an input.

    Attributes:
        strange: The strangest rows.
        sample: Rows drawn at random, with which of them are anomalies.
        files: The file of each row of the summary's sample, if rows are files.
        peaks: The scores of the strangest steps, if each step of series has a score of its own;
            the strangest rows are then the windows around them.
    """

    strange: StrangeRows
    sample: RowSample
    files: NDArray[np.str_] | None = None
    peaks: ScoreBlock | None = None


def place_of(file: ScoresFile) -> str:
    """Returns where the input is now: a relative path may mean the folder of the scores."""
    source = file.source
    if source and is_local(source) and not Path(source).is_absolute():
        beside = file.path.parent / source
        if not Path(source).exists() and beside.exists():
            return str(beside)
    return source


def read_input(file: ScoresFile, pair: Pair, summary: ScoresSummary) -> InputRows:
    """Reads the rows that were scored once more.

    Args:
        file: The scores.
        pair: The pair that made them.
        summary: The summary of the scores.

    Raises:
        DataError: If the input cannot be read any more, or has changed.
    """
    extra = file.provenance.extra
    query = extra.get("query")
    options = UseOptions(
        set_aside=True,
        resample=extra.get("resample") is True,
        query=query if isinstance(query, str) else None,
    )
    place = place_of(file)
    if file.is_of_steps:
        return _read_steps(file, pair, len(summary.strangest), place, options)
    schema = pair.manifest.rows_taken
    source = open_input(pair.manifest.data, place, schema, options)
    sample, strangest = RowSample(schema.shape), Strangest(len(summary.strangest))
    beside, done, files = ScoresBeside(file), 0, []
    with closing(read_ahead(source.blocks())) as blocks:
        for block in blocks:
            scores = beside.take(len(block.values))
            if scores is None or not _are_the_same(block, scores):
                raise _changed(place)
            sample.look(block.values, scores.anomalies)
            strangest.look(block, scores.scores.astype(np.float32))
            if "file" in block.index:
                first, end = np.searchsorted(summary.positions, [done, done + len(scores)])
                files.append(block.index["file"][summary.positions[first:end] - done].astype(str))
            done += len(scores)
    if not beside.is_at_end or strangest.rows is None:
        raise _changed(place)
    return InputRows(strangest.rows, sample, np.concatenate(files) if files else None)


def _read_steps(
    file: ScoresFile, pair: Pair, most: int, place: str, options: UseOptions
) -> InputRows:
    data, schema = pair.manifest.data, pair.manifest.rows_taken
    every = data.model_copy(update={"stride": 1})
    series = open_input(every, place, schema, options)
    if not isinstance(series, SeriesRows):
        raise _changed(place)
    steps = StepScores.read(file, series)
    if steps is None:
        raise _changed(place)
    strange, peaks = strangest_windows(series, steps, most)
    window = schema.shape[1]
    # Windows that overlap by half say all, and are less alike.
    starts = series.starts[:: max(1, window // 2)]
    sample = RowSample(schema.shape)
    at_once = rows_in_a_block(schema.shape)
    for first in range(0, len(starts), at_once):
        own = starts[first : first + at_once]
        windows = cut_windows(series.signal_TC, own, window)
        sample.look(windows, steps.are_windows_anomalous(own, window))
    return InputRows(strange, sample, peaks=peaks)


def _are_the_same(block: Block, scores: ScoreBlock) -> bool:
    """Returns whether the names of rows are those beside their scores."""
    names = [name for name in _COMPARED if name in block.index and name in scores.index]
    return all(
        np.array_equal(np.asarray(block.index[name]).astype(str), scores.index[name])
        for name in names
    )


def _changed(place: str) -> DataError:
    return DataError(f"{place}: has other rows than those that were scored; detect once more")


def truth_of(
    file: ScoresFile, pair: Pair, summary: ScoresSummary, rows: InputRows
) -> NDArray[np.bool_] | None:
    """Returns which rows of the summary's sample are anomalies by the labels of the input.

    Anomalies are the rows with labels that the pair's job does not keep; if it keeps all, those
    with label 1 where the labels are 0 and 1.

    Returns:
        Shape (n,); `None` if the input has no labels, or if they do not tell.
    """
    data = pair.manifest.data
    if data.labels is None and data.keep_labels is None:
        return None
    if data.labels == FOLDER_LABELS and pair.manifest.plan.kind is not DataKind.TABULAR:
        labels = None if rows.files is None else _folders(rows.files)
    else:
        labels = _labels(file, pair, summary)
    if labels is None or len(labels) != len(summary.sample):
        return None
    if data.keep_labels is not None:
        is_anomaly = ~matching(labels, data.keep_labels)
    elif set(np.unique(labels.astype(str)).tolist()) <= {"0", "1", "0.0", "1.0"}:
        is_anomaly = matching(labels, [1])
    else:
        return None
    return is_anomaly if 0 < is_anomaly.sum() < len(is_anomaly) else None


def _folders(files: NDArray[np.str_]) -> NDArray[np.str_] | None:
    if not all("/" in name for name in files):
        return None
    return np.array([name.split("/", 1)[0] for name in files])


def _labels(file: ScoresFile, pair: Pair, summary: ScoresSummary) -> NDArray[Any] | None:
    """Reads the labels of the summary's sample, as training reads them."""
    place = place_of(file)
    data = pair.manifest.data.model_copy(update={"path": place, "keep_labels": None})
    found, done = [], 0
    try:
        source, _ = open_all_rows(data)
        with closing(read_ahead(source.blocks())) as blocks:
            for block in blocks:
                if block.labels is None:
                    return None
                end = done + len(block.values)
                inside = summary.positions[(summary.positions >= done) & (summary.positions < end)]
                found.append(block.labels[inside - done])
                done = end
    except DataError:
        return None  # an input without labels
    return np.concatenate(found) if done == summary.rows else None
