"""Windows of series, read from single steps and written back as steps."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from isthmus.data.columns.quality import report_dropped
from isthmus.data.columns.times import Times
from isthmus.data.outputs.provenance import Provenance
from isthmus.data.outputs.rejected import nothing_read, place_of
from isthmus.data.rows import (
    Block,
    FloatArray,
    IndexArray,
    Labels,
    Rejected,
    RowSource,
    WriteBlock,
    rows_in_a_block,
)
from isthmus.data.steps.read_steps import ReadSteps, read_steps
from isthmus.data.steps.window_choice import SHORTEST, default_window, training_stride
from isthmus.data.steps.windows import cut_windows, merge_windows, window_labels, window_starts
from isthmus.errors import DataError
from isthmus.spec import DataSpec, RowSchema
from isthmus.types import DataKind

_logger = logging.getLogger(__name__)
# A step that is longer than the usual one by this factor is a gap.
_GAP = 1.5
_STEP_TOLERANCE = 0.01


@dataclass(frozen=True, eq=False)
class SeriesRows:
    """Windows of one series or of several.

    Attributes:
        steps: The source of single steps.
        schema: The schema of the windows.
        signal_TC: Shape (T, C). All steps, those of a series together and in the order of time.
        order: Shape (T,). The number of each of these steps in the source, from 0, in which steps
            that are set aside count too.
        starts: Shape (N,). The first step of each window in `signal_TC`.
        begins: Shape (T,). The position in `signal_TC` where the series of each step begins.
        lengths: Shape (T,). The number of steps of the series of each step.
        pieces: Shape (T,). The unbroken piece of a series that each step lies in, from 0.
        names: The columns that name each step: its series, its time; T entries each.
        time_format: The format of the dates, if they do not say day and month by themselves.
        labels: Shape (N,). The labels of the windows, if there are any.
        rejected: The steps that are set aside because they cannot be read.
    """

    steps: RowSource
    schema: RowSchema
    signal_TC: FloatArray
    order: IndexArray
    starts: IndexArray
    begins: IndexArray
    lengths: IndexArray
    pieces: IndexArray
    names: Mapping[str, NDArray[Any]]
    time_format: str | None
    labels: Labels | None
    rejected: tuple[Rejected, ...] = ()

    @property
    def count(self) -> int:
        """The number of windows."""
        return len(self.starts)

    @property
    def positions(self) -> IndexArray:
        """The position in `signal_TC` of each step, in the order of the source, shape (T,)."""
        return np.argsort(self.order)

    @property
    def ranks(self) -> IndexArray:
        """The position of each step of `signal_TC` in the order of the source, shape (T,)."""
        return np.argsort(self.positions)

    @property
    def is_covered(self) -> NDArray[np.bool_]:
        """Whether a window covers each step of `signal_TC`, shape (T,)."""
        begun_less_ended = np.zeros(len(self.order) + 1, dtype=np.int64)
        np.add.at(begun_less_ended, self.starts, 1)
        np.add.at(begun_less_ended, self.starts + self.schema.shape[1], -1)
        return np.asarray(np.cumsum(begun_less_ended[:-1]) > 0)

    def blocks(self, *, carry: bool = False) -> Iterator[Block]:
        """Reads the windows; the last block has the steps that are set aside.

        If there is no window, there is one block without rows. See `RowSource.blocks`.
        """
        window = self.schema.shape[1]
        at_once = rows_in_a_block(self.schema.shape)
        none = np.empty((0, *self.schema.shape), dtype=np.float32)
        for first in range(0, max(1, self.count), at_once):
            starts = self.starts[first : first + at_once]
            ends = starts + window - 1
            index = {"first_step": self.order[starts], "last_step": self.order[ends]}
            if "series_id" in self.names:
                index["series_id"] = self.names["series_id"][starts]
            if "time" in self.names:
                index["first_time"] = self.names["time"][starts]
                index["last_time"] = self.names["time"][ends]
            yield Block(
                cut_windows(self.signal_TC, starts, window) if len(starts) else none,
                index,
                labels=None if self.labels is None else self.labels[first : first + at_once],
                starts=starts - self.begins[starts],
                lengths=self.lengths[starts],
                rejected=self.rejected if first + at_once >= self.count else (),
            )

    def check_output(self, output: Path) -> None:
        """Refuses an output that the steps could not be written to."""
        self.steps.check_output(output)

    @contextmanager
    def open_output(self, output: Path, provenance: Provenance) -> Iterator[WriteBlock]:
        """Writes windows as the series that they were cut from, averaged where they overlap.

        A step that no window covers keeps its value.
        """
        self.check_output(output)
        windows: list[FloatArray] = []
        starts: list[IndexArray] = []
        position = self.positions
        number = self.order[position]

        def write(block: Block, values: FloatArray) -> None:
            windows.append(values)
            starts.append(position[np.searchsorted(number, block.index["first_step"])])

        yield write
        merged_TC = self.signal_TC
        if windows:
            merged_TC = merge_windows(
                np.concatenate(windows), np.concatenate(starts), len(self.signal_TC)
            )
            merged_TC = np.where(np.isnan(merged_TC), self.signal_TC, merged_TC)
        in_source, done = merged_TC[position], 0
        with self.steps.open_output(output, provenance) as write_steps:
            for block in self.steps.blocks(carry=True):
                end = done + len(block.values)
                write_steps(block, in_source[done:end])
                done = end


def series_rows(
    steps: RowSource,
    spec: DataSpec,
    name: str,
    *,
    step_s: float | None,
    is_training: bool = False,
    is_trained: bool = False,
    let_short: bool = False,
    sets_aside: bool = False,
) -> SeriesRows:
    """Cuts steps into windows.

    Args:
        steps: The source of single steps, whose index has the columns of time and of the id.
        spec: The data section; it has a window, unless this is for training.
        name: The name of the source for messages.
        step_s: The time between two steps that a trained pair is used to, in seconds.
        is_training: Whether a window and a stride that the section leaves open are chosen to train
            on these steps. Else the stride is half a window by default.
        is_trained: Whether a trained pair, whose window stays, takes these steps.
        let_short: Whether the result may have no window.
        sets_aside: Whether steps that cannot be read are set aside, as the source of the steps does
            too. They are gaps.

    Raises:
        DataError: If no series is long enough, the times are not those of series, or steps are
            closer or further apart than `step_s`.
    """
    read = read_steps(steps, spec, name, sets_aside=sets_aside)
    rows, series, times = read.rows, read.series, read.times
    order = _order(series, times, len(rows), name)
    found_step_s = None
    new_series = _first_steps(series, order)
    series_numbers = np.cumsum(new_series, dtype=np.int64)
    is_break = new_series | read.follow_on_rejected(order)
    if times is not None:
        steps_s, gaps = _gaps(times, order, series_numbers, is_break, name)
        is_break |= gaps
        _refuse_other_steps(steps_s, step_s, name)
        found_step_s = _common_step(steps_s, name)
    window = spec.window or default_window(is_break, new_series, spec)
    stride = spec.stride or max(1, window // 2)
    if is_training and spec.stride is None:
        stride = training_stride(len(rows), rows.values.shape[1], window)
    if not let_short:
        _refuse_no_window(is_break, window, rows.rejected, name, is_trained=is_trained)
    starts = _window_starts(is_break, window, stride, name)
    shape = (steps.schema.shape[0], window)
    result = SeriesRows(
        steps=steps,
        schema=steps.schema.model_copy(
            update={"kind": DataKind.SERIES, "shape": shape, "time_step_s": found_step_s}
        ),
        signal_TC=np.ascontiguousarray(rows.values[order]),
        order=read.numbers[order],
        starts=starts,
        begins=np.maximum.accumulate(np.where(new_series, np.arange(len(rows)), 0)),
        lengths=np.bincount(series_numbers)[series_numbers],
        pieces=np.cumsum(is_break),
        names=_names(read, spec, order),
        time_format=None if times is None else times.format,
        labels=None if rows.labels is None else window_labels(rows.labels[order], starts, window),
        rejected=rows.rejected,
    )
    return _without_missing(result, spec, name)


def _first_steps(series: NDArray[Any] | None, order: IndexArray) -> NDArray[np.bool_]:
    """Returns the steps, in their order, at which another series than before begins."""
    is_first = np.zeros(len(order), dtype=bool)
    if series is not None:
        is_first[1:] = series[order][1:] != series[order][:-1]
    return is_first


def _order(series: NDArray[Any] | None, times: Times | None, count: int, name: str) -> IndexArray:
    """Returns the positions of the steps, those of a series together and in the order of time."""
    codes = np.zeros(count, dtype=np.int64)
    if series is not None:
        # Series in the order in which they come first.
        _, first, found = np.unique(series, return_index=True, return_inverse=True)
        codes = np.argsort(np.argsort(first))[found]
    by_series = np.lexsort([codes])
    if times is None:
        return by_series.astype(np.int64)
    order = np.lexsort([times.ticks, codes])
    if not np.array_equal(order, by_series):
        _logger.warning("%s: the steps are not in the order of data.time; they are sorted", name)
    return order.astype(np.int64)


def _names(read: ReadSteps, spec: DataSpec, order: IndexArray) -> dict[str, NDArray[Any]]:
    found: dict[str, NDArray[Any]] = {}
    if read.series is not None:
        found["series_id"] = read.series[order]
    if spec.time is not None:
        found["time"] = read.rows.index[spec.time][order]
    return found


def _gaps(
    times: Times, order: IndexArray, series: IndexArray, is_break: NDArray[np.bool_], name: str
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Finds the gaps of each series, which has a usual step of its own.

    Args:
        times: The times of the steps.
        order: Shape (T,). The positions of the steps in the order of time.
        series: Shape (T,). The series of each step in that order, as a whole number.
        is_break: Shape (T,). The steps that are known not to follow on the one before.
        name: The name of the source for messages.

    Returns:
        The usual time between steps of each series that has two steps, in seconds, and the gaps in
        time: the further steps that do not follow on the one before, shape (T,).
    """
    follows = ~is_break[1:]
    distances = pd.Series(np.diff(times.ticks[order])[follows])
    if (distances == 0).any():
        raise DataError(
            f"{name}: two steps of a series have the same time; if there are several series, name "
            "the column that tells them apart as data.series_id"
        )
    of_series = distances.groupby(series[1:][follows])
    gaps = np.zeros(len(order), dtype=bool)
    gaps[1:][follows] = distances > _GAP * of_series.transform("median")
    if gaps.any():
        _logger.warning("%s: %d gap(s) in time; no window crosses one", name, int(gaps.sum()))
    usual_s = of_series.median() / times.ticks_per_s
    return np.asarray(usual_s, dtype=np.float64), gaps


def _common_step(steps_s: NDArray[np.float64], name: str) -> float | None:
    """Returns the usual step of all series, in seconds; `None` if theirs differ."""
    if not len(steps_s):
        return None
    least, most = float(steps_s.min()), float(steps_s.max())
    if most - least > _STEP_TOLERANCE * least:
        _logger.warning(
            "%s: the series have different steps, %g s to %g s; a window of one lasts longer than "
            "that of another: resample them unless that is meant",
            *(name, least, most),
        )
        return None
    return float(np.median(steps_s))


def _refuse_other_steps(steps_s: NDArray[np.float64], trained_s: float | None, name: str) -> None:
    if not trained_s:
        return
    differ = np.abs(steps_s - trained_s) > _STEP_TOLERANCE * trained_s
    if differ.any():
        raise DataError(
            f"{name}: steps are {steps_s[differ][0]:g} s apart and the model was trained on steps "
            f"of {trained_s:g} s; resample the series"
        )


def _refuse_no_window(
    is_break: NDArray[np.bool_],
    window: int,
    rejected: Sequence[Rejected],
    name: str,
    *,
    is_trained: bool,
) -> None:
    """Refuses series that are all shorter than a window; the first step set aside may tell why."""
    borders = np.flatnonzero(np.concatenate([is_break, [True]]))
    longest = int(np.diff(borders, prepend=0).max())
    if longest >= window:
        return
    if rejected and not len(is_break):
        raise DataError(nothing_read(name, len(rejected), rejected[0]))
    what = "the series has" if len(borders) == 1 else "the longest unbroken series has"
    what = f"{what} {longest} step{'' if longest == 1 else 's'}"
    if rejected:
        raise DataError(
            f"{name}: {what}, fewer than a window of {window}, as {len(rejected)} "
            f"step(s) cannot be read; correct them, first {place_of(rejected[0])}: "
            f"{rejected[0].reason}"
        )
    if is_trained:
        raise DataError(
            f"{name}: {what}, and the model takes windows of {window}; give {window} or more in a "
            "row"
        )
    if longest < SHORTEST:
        raise DataError(
            f"{name}: {what}, fewer than the shortest window of {SHORTEST}; give a longer series"
        )
    raise DataError(
        f"{name}: {what}, fewer than data.window={window}; set data.window to at most {longest}"
    )


def _window_starts(is_break: NDArray[np.bool_], window: int, stride: int, name: str) -> IndexArray:
    """Returns the first steps of windows within each unbroken run of steps."""
    borders = [0, *np.flatnonzero(is_break).tolist(), len(is_break)]
    found, short = [], 0
    for begin, end in pairwise(borders):
        if end - begin >= window:
            found.append(begin + window_starts(end - begin, window, stride))
        elif end > begin:
            short += 1
    if not found:
        return np.empty(0, dtype=np.int64)
    if short:
        _logger.warning(
            "%s: %d series or part(s) between gaps are shorter than data.window=%d and left out",
            *(name, short, window),
        )
    return np.concatenate(found)


def _without_missing(rows: SeriesRows, spec: DataSpec, name: str) -> SeriesRows:
    """Leaves out the windows with a missing value, if `data.missing` is "drop"."""
    if spec.missing != "drop":
        return rows
    absent = np.asarray(np.isnan(rows.signal_TC).any(axis=1))
    if not absent.any():
        return rows
    before = np.concatenate([[0], np.cumsum(absent)])
    window = rows.schema.shape[1]
    whole = np.flatnonzero(before[rows.starts + window] == before[rows.starts])
    if not len(whole):
        raise DataError(
            f"{name}: every window of {window} steps has a missing value, so "
            "data.missing: drop leaves none; use mean, or a shorter data.window"
        )
    report_dropped(int(absent.sum()), len(absent), name)
    labels = None if rows.labels is None else rows.labels[whole]
    return replace(rows, starts=rows.starts[whole], labels=labels)
