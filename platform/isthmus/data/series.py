"""Series: the columns of a table or array are channels, cut into windows of time steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.data.matrix import Matrix, read_matrix, read_matrix_like
from isthmus.data.provenance import Provenance
from isthmus.data.quality import refuse_empty_columns, rows_without_missing
from isthmus.data.rows import FloatArray, IndexArray, Labels, Layout, Rows
from isthmus.data.storage import Source
from isthmus.data.windows import cut_windows, merge_windows, window_starts
from isthmus.errors import DataError
from isthmus.spec import DataSpec
from isthmus.types import DataKind, Shape

DEFAULT_WINDOW = 64


def read_series(source: Source, spec: DataSpec) -> tuple[Rows, DataSpec]:
    """Reads windows of shape (C, window), and fills in `key`, `columns`, `window`, `stride`.

    Raises:
        DataError: If the file cannot be read so.
    """
    window = spec.window or DEFAULT_WINDOW
    matrix = read_matrix(source, spec, one_axis=True)
    spec = spec.model_copy(
        update={
            "key": matrix.key,
            "columns": matrix.columns,
            "window": window,
            "stride": spec.stride or window // 2,
        }
    )
    if spec.missing == "mean":
        refuse_empty_columns(matrix.values, matrix.columns, source.name)
    return _as_rows(matrix, source, spec), spec


def read_series_like(source: Source, data: DataSpec, row_shape: Shape) -> Rows:
    """Reads windows of the shape (C, window) that a trained pair needs.

    Raises:
        DataError: If the file does not hold such a series.
    """
    matrix = read_matrix_like(source, data, row_shape[0], one_axis=True)
    return _as_rows(matrix, source, data.model_copy(update={"window": row_shape[1]}))


def _as_rows(matrix: Matrix, source: Source, spec: DataSpec) -> Rows:
    """Rows of a spec that has a window."""
    window = spec.window or DEFAULT_WINDOW
    signal_TC = matrix.values
    length = len(signal_TC)
    if window > length:
        raise DataError(
            f"{source.name}: the series has {length} steps, fewer than data.window={window}; "
            f"set data.window to at most {length}"
        )
    # Missing values are told of by column and step, before windows repeat them.
    whole_steps = rows_without_missing(signal_TC, spec.missing, matrix.columns, source.name)
    starts = window_starts(length, window, spec.stride or window // 2)
    layout = SeriesLayout(matrix.layout, signal_TC, starts, window)
    labels = None if matrix.labels is None else _window_labels(matrix.labels, starts, window)
    values = cut_windows(signal_TC, starts, window)
    rows = Rows(values, DataKind.SERIES, layout, labels, starts=starts)
    if whole_steps is None:
        return rows
    whole = np.flatnonzero(np.isfinite(values).all(axis=(1, 2))).astype(np.int64)
    if not len(whole):
        raise DataError(
            f"{source.name}: every window of {window} steps has a missing value, so "
            "data.missing: drop leaves none; use mean, or a shorter data.window"
        )
    return rows.take(whole)


def _window_labels(labels: Labels, starts: IndexArray, window: int) -> Labels:
    """The rarest label among each window's steps: one anomalous step makes a window anomalous."""
    present, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    rarest_first = np.argsort(counts, kind="stable")
    rank = np.empty(len(present), dtype=np.int64)
    rank[rarest_first] = np.arange(len(present))
    views = np.lib.stride_tricks.sliding_window_view(rank[codes], window)
    return np.asarray(present[rarest_first[views[starts].min(axis=1)]])


@dataclass(frozen=True, eq=False)
class SeriesLayout:
    """Windows of a series: averaged where they overlap, and written as the series came.

    Attributes:
        steps: The form of the series itself, one row for each step.
        signal_TC: Shape (T, C). The series as read, for the steps that no window covers.
        starts: Shape (N,). First step of each window.
        window: Steps in a window.
    """

    steps: Layout
    signal_TC: FloatArray
    starts: IndexArray
    window: int

    def take(self, kept: IndexArray) -> SeriesLayout:
        """The layout of only these windows."""
        return replace(self, starts=self.starts[kept])

    def index(self) -> Mapping[str, NDArray[Any]]:
        """`first_step` and `last_step` of each window, counted from 0."""
        return {"first_step": self.starts, "last_step": self.starts + self.window - 1}

    def check_output(self, output: Path) -> None:
        """Refuses an ending that the series' own form does not have."""
        self.steps.check_output(output)

    def write(self, values: FloatArray, output: Path, provenance: Provenance) -> None:
        """Writes windows of shape (N, C, window) as one series of T steps."""
        merged_TC = merge_windows(values, self.starts, len(self.signal_TC))
        self.steps.write(
            np.where(np.isnan(merged_TC), self.signal_TC, merged_TC), output, provenance
        )
