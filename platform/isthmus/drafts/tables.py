"""Drafts the data section for a table: as a series if it has regular times, else as rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from isthmus.data.columns.chosen import column_names
from isthmus.data.columns.first_line import is_a_row
from isthmus.data.columns.survey import Column, fields_that_read, survey
from isthmus.data.columns.times import read_times
from isthmus.data.storage.files import Files
from isthmus.data.table_rows import open_address
from isthmus.data.tables import ReadByField
from isthmus.drafts.columns import Judged, Role, is_identifier, judge
from isthmus.drafts.fields import Field
from isthmus.errors import DataError
from isthmus.spec import DataSpec
from isthmus.types import DataKind

_WINDOWS = (64, 32, 16, 8)
_WINDOWS_IN_A_SERIES = 16
_REGULAR_STEPS = 0.8
_STEP_TOLERANCE = 0.01
_MOST_SERIES = 1000


def draft_table(files: Files, spec: DataSpec) -> Iterator[list[Field]]:
    """Yields the data section's fields, the likeliest first; the caller takes what can be read.

    Args:
        files: The table or tables, of which the first is looked at.
        spec: The data section with what the caller knows.

    Raises:
        DataError: If the table is damaged, or no column is left to train on.
    """
    table = open_address(files.addresses[0], files.called(0), spec)
    if "header" not in spec.model_fields_set and table.types() is None:
        _refuse_first_row(files, spec)
    names = column_names(table)
    judged = judge(survey(table, names, spec), table.indexes())
    if not judged:
        raise DataError(f"{table.name}: has a header but no rows; give at least one")
    yield from _series(judged)
    yield _rows(judged, files.name)


def _refuse_first_row(files: Files, spec: DataSpec) -> None:
    """Raises `ReadByField` if the first line of a csv holds a row, and not the names of columns."""
    without = spec.model_copy(update={"header": "none"})
    table = open_address(files.addresses[0], files.called(0), without)
    if is_a_row(table):
        raise ReadByField(
            f"{files.name}: the first line is like the rows below it, so it is no header; set "
            "data.header: none, or data.header: auto if it is one",
            *("header", "none"),
            "The first line is like those below it, so it is taken as a row, and the columns are "
            "called f0, f1, and so on. If it is a header, write: auto",
        )


def _rows(judged: Sequence[Judged], name: str) -> list[Field]:
    features, left_out = _of_role(judged, Role.FEATURE), _left_out(judged)
    categories = _of_role(judged, Role.CATEGORY)
    if not features and not categories:
        reasons = "; ".join(f'"{each.column.name}" {each.why}' for each in judged)
        raise DataError(f"{name}: no column is left to train on: {reasons}")
    fields = [Field("kind", DataKind.TABULAR.value), *_excluded(left_out)]
    if categories:
        fields.append(
            Field(
                "categories",
                [each.column.name for each in categories],
                "Texts with few values: each value becomes a feature, 0 or 1.",
                [each.why for each in categories],
            )
        )
    return [*fields, *_labels(judged), *_gaps(features)]


def _series(judged: Sequence[Judged]) -> Iterator[list[Field]]:
    times, features = _of_role(judged, Role.TIME), _of_role(judged, Role.FEATURE)
    if len(times) != 1 or not features:
        return
    series_id, steps = _steps(times[0].column, judged)
    window = next((each for each in _WINDOWS if steps >= _WINDOWS_IN_A_SERIES * each), None)
    if window is None:
        return
    used = {times[0].column.name, series_id}
    others = [
        replace(each, why=f"{each.why}; a series takes no categories")
        if each.role is Role.CATEGORY
        else each
        for each in judged
        if each.role in (Role.LEFT_OUT, Role.CATEGORY)
    ]
    fields = [
        Field(
            "kind",
            DataKind.SERIES.value,
            "The times are regular, so rows are windows of steps. For single rows: kind: tabular, "
            "the time under exclude, and neither time nor window.",
        ),
        Field("time", times[0].column.name, "Steps are sorted by it; no window crosses a gap."),
    ]
    if series_id is not None:
        why = "It tells several series in the table apart; no window crosses two."
        fields.append(Field("series_id", series_id, why))
    fields += [
        Field("window", window, "Steps in a window, and from one window's start to the next."),
        Field("stride", window // 2),
    ]
    yield [
        *fields,
        *_excluded([each for each in others if each.column.name not in used]),
        *_labels(judged),
        *_gaps(features),
    ]


def _steps(times: Column, judged: Sequence[Judged]) -> tuple[str | None, int]:
    """Returns the column that tells series apart, and the steps of the longest; 0 if irregular."""
    texts = times.texts if times.texts is not None else times.numbers.astype(str)
    if times.is_missing.any():
        return None, 0
    try:
        ticks = read_times(texts.astype(np.str_), times.name, "", None).ticks
    except DataError:
        return None, 0
    if _is_regular(pd.Series(ticks)):
        return None, len(ticks)
    for each in judged:
        column = each.column
        if each.role is not Role.CATEGORY and not is_identifier(column.name):
            continue
        cells = column.texts if column.texts is not None else column.numbers
        groups = pd.Series(ticks).groupby(pd.Series(cells), sort=False)
        if 1 < groups.ngroups <= _MOST_SERIES and all(_is_regular(one) for _, one in groups):
            return column.name, int(groups.size().max())
    return None, 0


def _is_regular(ticks: pd.Series[float]) -> bool:
    """Whether no two times are equal, and most are as far from the next as usual."""
    steps = np.diff(np.sort(ticks.to_numpy()))
    if len(steps) < 2 or not (steps > 0).all():
        return False
    usual = float(np.median(steps))
    return bool((np.abs(steps - usual) <= _STEP_TOLERANCE * usual).mean() >= _REGULAR_STEPS)


def _of_role(judged: Sequence[Judged], role: Role) -> list[Judged]:
    return [each for each in judged if each.role is role]


def _left_out(judged: Sequence[Judged]) -> list[Judged]:
    return [each for each in judged if each.role in (Role.LEFT_OUT, Role.TIME)]


def _excluded(left_out: Sequence[Judged]) -> list[Field]:
    if not left_out:
        return []
    names, notes = [each.column.name for each in left_out], [each.why for each in left_out]
    why = "These columns are not trained on; delete the line of one that should be."
    return [Field("exclude", names, why, notes)]


def _labels(judged: Sequence[Judged]) -> list[Field]:
    found = _of_role(judged, Role.LABEL)
    return labels_fields(found[0].column.name, found[0].column.cells) if found else []


def labels_fields(name: str, labels: Sequence[object]) -> list[Field]:
    """Returns the fields about labels, of which the most frequent is proposed as the normal one.

    Args:
        name: The value of `data.labels`.
        labels: The label of each row that was looked at.
    """
    counts = Counter(labels).most_common()
    shown = ", ".join(f"{value} ({count:,} rows)" for value, count in counts[:6])
    return [
        Field("labels", name, f"Guessed from the name. Labels are never trained on: {shown}."),
        Field(
            "keep_labels",
            [counts[0][0]],
            "To detect anomalies, train on the normal rows alone; this is the most frequent label:",
            is_proposal=True,
        ),
    ]


def _gaps(features: Sequence[Judged]) -> list[Field]:
    """Returns the fields that say how numbers are written, and what is done with missing ones."""
    columns = [each.column for each in features]
    found, _ = fields_that_read(columns)
    written = [each.example for each in columns if each.writing is not None]
    fields = []
    for name, value in found.items():
        example = next((each for each in written if value in each), "")
        why = f"Numbers are written as {example}." if example else ""
        fields.append(Field(name, value, why))
    signs = sorted({sign for each in columns for sign in each.missing_signs})
    if signs:
        fields.append(Field("missing_values", signs, "These texts among numbers mean no value."))
    gaps = [each for each in columns if each.missing_signs or each.is_missing.any()]
    if gaps:
        shown = ", ".join(each.name for each in gaps[:4]) + (", ..." if len(gaps) > 4 else "")
        why = f"Values are missing in {shown}: each becomes its column's mean; or drop the rows."
        fields.append(Field("missing", "mean", why))
    return fields
