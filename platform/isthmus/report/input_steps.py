"""What a page says of the input's series whose single steps were scored: windows side by side."""

from __future__ import annotations

from contextlib import closing

import numpy as np

from isthmus.data import RowSource, read_ahead
from isthmus.data.series_rows import SeriesRows
from isthmus.drift import RowSample
from isthmus.explanations import StrangeRows, Strangest
from isthmus.report.scores_file import ScoreBlock, ScoresFile


def read_steps(
    file: ScoresFile, source: RowSource, most: int
) -> tuple[StrangeRows, ScoreBlock, RowSample] | None:
    """Reads the windows of series, each with the score of its strangest step.

    Args:
        file: The scores of single steps.
        source: The input, as windows that do not overlap.
        most: How many of the strangest windows are kept.

    Returns:
        The strangest windows, their scores, and windows drawn at random; `None` if these are not
        the steps that were scored.
    """
    assert isinstance(source, SeriesRows)  # noqa: S101 (only series have steps)
    steps, scores, p_values, anomalies = _of_steps(file)
    if not len(steps) or steps.max() >= len(source.order) or source.count == 0:
        return None
    of_step = np.full(len(source.order), -np.inf)
    of_step[steps] = np.nan_to_num(scores, nan=np.inf)
    p_of_step, flags = np.ones(len(source.order)), np.zeros(len(source.order), dtype=bool)
    p_of_step[steps], flags[steps] = p_values, anomalies
    # The steps of the source that each window has, shape (N, window).
    places = source.order[source.starts[:, None] + np.arange(source.schema.shape[1])]
    of_window, window_flags = of_step[places].max(axis=1), flags[places].any(axis=1)
    sample, strangest, done = RowSample(source.schema.shape), Strangest(most), 0
    with closing(read_ahead(source.blocks())) as blocks:
        for block in blocks:
            part = slice(done, done + len(block.values))
            sample.look(block.values, window_flags[part])
            strangest.look(block, of_window[part].astype(np.float32))
            done += len(block.values)
    rows = strangest.rows
    assert rows is not None  # noqa: S101 (there are windows)
    index = {name: np.asarray(each).astype(str) for name, each in rows.block.index.items()}
    found = ScoreBlock(
        of_window[rows.positions],
        p_of_step[places[rows.positions]].min(axis=1),
        window_flags[rows.positions],
        index,
        {},
    )
    return rows, found, sample


def _of_steps(file: ScoresFile) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    blocks = list(file.blocks())
    return (
        np.concatenate([np.asarray(each.index["step"]).astype(np.int64) for each in blocks]),
        np.concatenate([each.scores for each in blocks]),
        np.concatenate([each.p_values for each in blocks]),
        np.concatenate([each.anomalies for each in blocks]),
    )
