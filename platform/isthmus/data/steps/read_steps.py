"""The single steps of series as they are read, and those among them that cannot be.

T is the number of steps that can be read, R of those that are set aside. A number of a step is its
place in the source, from 0, in which steps that are set aside count too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from isthmus.data.columns.times import Times, no_time, read_times, read_times_there_are
from isthmus.data.many import ManyRows
from isthmus.data.room import Room
from isthmus.data.rows import IndexArray, Rejected, Rows, RowSource, collect
from isthmus.data.table_rows import TableRows
from isthmus.spec import DataSpec

_UNKNOWN = -1


@dataclass(frozen=True, eq=False)
class ReadSteps:
    """The steps of a source.

    Attributes:
        rows: The T steps, in the order of the source, and in `rejected` the R that are set aside.
        numbers: Shape (T,). The number of each step.
        series: Shape (T,). The series of each step: its id, and its file if there are several.
            `None` if all are of one series.
        times: The times of the steps. `None` without `data.time`.
        aside: The places of the steps that are set aside. `None` if there are none.
    """

    rows: Rows
    numbers: IndexArray
    series: NDArray[np.str_] | None
    times: Times | None
    aside: StepsAside | None = None

    def follow_on_rejected(self, order: IndexArray) -> NDArray[np.bool_]:
        """Returns which steps have a step between the one before and themselves that is set aside.

        Args:
            order: Shape (T,). The positions of the steps in `rows`, in the order of time.

        Returns:
            Shape (T,), in the order of time.
        """
        found = np.zeros(len(order), dtype=bool)
        if self.aside is not None:
            found[1:] = self.aside.lie_between(order[:-1], order[1:])
        return found


@dataclass(frozen=True, eq=False)
class StepsAside:
    """The places of steps that are set aside among those that can be read.

    A step that has a time lies between two times of its series. The place of any other is its place
    in the source: in its own series, or in all series of its file if its series cannot be read.

    Attributes:
        codes: Shape (T,). The series of the steps that can be read, as whole numbers from 0.
        numbers: Shape (T,). Their numbers.
        ranks: Shape (T,). The ranks of their times. Empty without `data.time`.
        own_codes: Shape (R,). The series of the steps that are set aside; -1 if it is not known.
        own_numbers: Shape (R,). Their numbers.
        own_ranks: Shape (R,). The ranks of their times; -1 if the time is not known.
    """

    codes: IndexArray
    numbers: IndexArray
    ranks: IndexArray
    own_codes: IndexArray
    own_numbers: IndexArray
    own_ranks: IndexArray

    def lie_between(self, first: IndexArray, second: IndexArray) -> NDArray[np.bool_]:
        """Returns which pairs of steps, each one next to the other in time, have one between them.

        Args:
            first: Shape (P,). The positions of the earlier steps.
            second: Shape (P,). The positions of the later steps.
        """
        found = np.zeros(len(first), dtype=bool)
        is_known, has_time = self.own_codes != _UNKNOWN, self.own_ranks != _UNKNOWN
        if len(self.ranks):
            timed = self.own_codes[has_time & is_known], self.own_ranks[has_time & is_known]
            found |= _any_between(self.codes, self.ranks, timed, first, second)
        of_series = is_known & ~has_time
        placed = self.own_codes[of_series], self.own_numbers[of_series]
        low, high = np.where(first < second, (first, second), (second, first))
        by_place = _any_between(self.codes, self.numbers, placed, low, high)
        of_any = self.own_numbers[~is_known]
        anywhere = np.zeros_like(of_any), of_any
        by_place |= _any_between(np.zeros_like(self.codes), self.numbers, anywhere, low, high)
        # Where times are not in the order of the source, a place in it tells nothing of the time.
        found |= by_place & self._are_neighbours(low, high)
        return np.asarray(found & (self.codes[first] == self.codes[second]))

    def _are_neighbours(self, low: IndexArray, high: IndexArray) -> NDArray[np.bool_]:
        """Returns which pairs of steps are next to each other in the source, among their series."""
        in_series = np.argsort(self.codes, kind="stable")
        before = np.full(len(self.codes), _UNKNOWN, dtype=np.int64)
        before[in_series[1:]] = in_series[:-1]
        return np.asarray(before[high] == low)


def _any_between(
    codes: IndexArray,
    values: IndexArray,
    found: tuple[IndexArray, IndexArray],
    low: IndexArray,
    high: IndexArray,
) -> NDArray[np.bool_]:
    """Returns which pairs have a found value of their code, from that of `low` to below `high`."""
    found_codes, found_values = found
    size = 1 + max(values.max(initial=0), found_values.max(initial=0))
    keys, sorted_keys = codes * size + values, np.sort(found_codes * size + found_values)
    return np.asarray(
        np.searchsorted(sorted_keys, keys[low]) < np.searchsorted(sorted_keys, keys[high])
    )


def read_steps(steps: RowSource, spec: DataSpec, name: str, *, sets_aside: bool) -> ReadSteps:
    """Reads all steps.

    Args:
        steps: The source of single steps, whose index has the columns of time and of the id.
        spec: The data section.
        name: The name of the source for messages.
        sets_aside: Whether steps without a time are set aside; the source does so with others.

    Raises:
        DataError: If a step cannot be read and is not set aside.
    """
    rows = collect(steps, Room(name, copies=1, advice="give a part of it, or more memory"))
    series = _series_of(rows, spec)
    if sets_aside:
        return _with_aside(rows, series, steps, spec, name)
    times = None
    if spec.time is not None:
        times = read_times(rows.index[spec.time], spec.time, name, spec.time_format)
    return ReadSteps(rows, np.arange(len(rows)), series, times)


def _series_of(rows: Rows, spec: DataSpec) -> NDArray[np.str_] | None:
    file = rows.index.get("file")
    own = None if spec.series_id is None else rows.index[spec.series_id]
    if file is None or own is None:
        return own if file is None else file
    return np.char.add(np.char.add(file, "/"), own)


def _with_aside(
    rows: Rows, series: NDArray[np.str_] | None, steps: RowSource, spec: DataSpec, name: str
) -> ReadSteps:
    """Returns the steps without those that have no time, and with what is known of all others."""
    count = len(rows)
    cells = _extra_of(steps, rows.rejected)
    times, ranks = None, np.zeros(count + len(cells), dtype=np.int64)
    if spec.time is not None:
        times, ranks = _ranked_times(rows, [each.get(spec.time, "") for each in cells], spec, name)
    is_lost = ranks[:count] == _UNKNOWN
    if not rows.rejected and not is_lost.any():
        return ReadSteps(rows, np.arange(count), series, times)
    numbers, own_numbers = _numbers(rows, steps)
    of_each = np.full(count, "") if series is None else series
    codes, own_codes = _codes(of_each, _series_of_rejected(rows, cells, spec))
    kept, lost = np.flatnonzero(~is_lost), np.flatnonzero(is_lost)
    aside = StepsAside(
        codes=codes[kept],
        numbers=numbers[kept],
        ranks=ranks[kept] if spec.time is not None else np.empty(0, dtype=np.int64),
        own_codes=np.concatenate([own_codes, codes[lost]]),
        own_numbers=np.concatenate([own_numbers, numbers[lost]]),
        own_ranks=np.concatenate([ranks[count:], ranks[lost]])
        if spec.time is not None
        else np.full(len(cells), _UNKNOWN),
    )
    rejected = [*rows.rejected, *_without_time(rows, lost, spec)]
    in_order = [rejected[place] for place in np.argsort(aside.own_numbers)]
    rows = _taken(rows, kept) if len(lost) else rows
    return ReadSteps(
        replace(rows, rejected=tuple(in_order)),
        numbers[kept],
        None if series is None else series[kept],
        times,
        aside,
    )


def _ranked_times(
    rows: Rows, of_rejected: Sequence[str], spec: DataSpec, name: str
) -> tuple[Times, IndexArray]:
    """Reads the times of steps, and of those that are set aside as far as these have any.

    Returns:
        The times of the steps that have one, and the ranks of all times, shape (T + R,): -1 where
        there is no time. If all steps have one and none is set aside, the ranks are all 0.
    """
    assert spec.time is not None  # noqa: S101 (the caller asks for times)
    texts = rows.index[spec.time]
    known = np.array([place for place, text in enumerate(of_rejected) if text], dtype=np.int64)
    there = [text for text in of_rejected if text]
    if there:
        texts = np.concatenate([texts, np.array(there)])
    times, is_time = read_times_there_are(texts, spec.time, name, spec.time_format)
    if not len(of_rejected) and is_time.all():
        return times, np.zeros(len(rows), dtype=np.int64)
    ranks = np.full(len(rows) + len(of_rejected), _UNKNOWN, dtype=np.int64)
    places = np.concatenate([np.arange(len(rows)), len(rows) + known])
    ranks[places[is_time]] = np.unique(times.ticks, return_inverse=True)[1]
    return replace(times, ticks=times.ticks[: is_time[: len(rows)].sum()]), ranks


def _extra_of(steps: RowSource, rejected: Sequence[Rejected]) -> list[dict[str, str]]:
    """Returns the time and the id of steps that are set aside, as far as these can be read."""
    if isinstance(steps, ManyRows):
        found: dict[tuple[str, int], dict[str, str]] = {}
        for part, file in zip(steps.parts, steps.names, strict=True):
            own = [each for each in rejected if each.file == file]
            for one, cells in zip(own, _extra_of(part, own), strict=True):
                found[file, one.row] = cells
        return [found[each.file, each.row] for each in rejected]
    if not rejected or not isinstance(steps, TableRows) or not steps.extra:
        return [{} for _ in rejected]
    of_rows = steps.extra_of(np.array([each.row for each in rejected]))
    return [of_rows.get(each.row, {}) for each in rejected]


def _series_of_rejected(
    rows: Rows, cells: Sequence[dict[str, str]], spec: DataSpec
) -> list[str | None]:
    """Returns the series of each step that is set aside; `None` where its id cannot be read."""
    has_files = any(each.file for each in rows.rejected)
    found: list[str | None] = []
    for each, of_row in zip(rows.rejected, cells, strict=True):
        own = None if spec.series_id is None else of_row.get(spec.series_id)
        if spec.series_id is None:
            found.append(each.file)
        elif own is None:
            found.append(None)
        else:
            found.append(f"{each.file}/{own}" if has_files else own)
    return found


def _codes(
    series: NDArray[np.str_], of_rejected: Sequence[str | None]
) -> tuple[IndexArray, IndexArray]:
    """Returns whole numbers for the series of steps, and for those of steps that are set aside."""
    known = np.array([each is not None for each in of_rejected], dtype=bool)
    names = np.array([each for each in of_rejected if each is not None], dtype=np.str_)
    codes = np.unique(np.concatenate([series, names]), return_inverse=True)[1]
    own = np.full(len(of_rejected), _UNKNOWN, dtype=np.int64)
    own[known] = codes[len(series) :]
    return codes[: len(series)], own


def _numbers(rows: Rows, steps: RowSource) -> tuple[IndexArray, IndexArray]:
    """Returns the numbers of steps, and of those that are set aside."""
    row = rows.index["row"]
    own = np.array([each.row for each in rows.rejected], dtype=np.int64)
    if not isinstance(steps, ManyRows):
        return row, own
    places = {name: place for place, name in enumerate(steps.names)}
    files, found = np.unique(rows.index["file"], return_inverse=True)
    part = np.array([places[str(file)] for file in files], dtype=np.int64)[found]
    own_part = np.array([places[each.file] for each in rows.rejected], dtype=np.int64)
    sizes = np.zeros(len(places), dtype=np.int64)
    np.maximum.at(sizes, part, row + 1)
    np.maximum.at(sizes, own_part, own + 1)
    before = np.cumsum(sizes) - sizes
    return before[part] + row, before[own_part] + own


def _without_time(rows: Rows, lost: IndexArray, spec: DataSpec) -> list[Rejected]:
    """Returns the steps that are set aside because they have no time."""
    file = rows.index.get("file")
    return [
        Rejected(
            int(rows.index["row"][place]),
            no_time(str(spec.time), str(rows.index[str(spec.time)][place])),
            "" if file is None else str(file[place]),
        )
        for place in lost.tolist()
    ]


def _taken(rows: Rows, kept: IndexArray) -> Rows:
    return replace(
        rows,
        values=rows.values[kept],
        index={name: column[kept] for name, column in rows.index.items()},
        labels=None if rows.labels is None else rows.labels[kept],
    )
