"""Chooses the columns that become features: those that a job names, or that a pair needs."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Collection, Sequence

from isthmus.data.tables import TableFormat, is_numeric
from isthmus.errors import DataError, nearest
from isthmus.spec import DataSpec

_logger = logging.getLogger(__name__)
# What pandas calls the column of an index without a name, once it was written and read again.
_INDEX = re.compile(r"|Unnamed: \d+(\.\d+)*|__index_level_\d+__|index_level_\d+")


def column_names(table: TableFormat, keys: Sequence[str] = ()) -> list[str]:
    """Returns the names of the columns, in order, with those of a partition's keys.

    Raises:
        DataError: If the file is damaged, or two columns have the same name.
    """
    names = [*table.schema().names, *keys]
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise DataError(f'{table.name}: more than one column is called "{twice[0]}"; rename them')
    return names


def columns_to_train(
    names: Sequence[str], spec: DataSpec, name: str, indexes: Collection[str] = ()
) -> tuple[str, ...]:
    """Returns the columns that a job asks for: those named, or all that are not left out.

    Args:
        names: The names of all columns.
        spec: The data section, whose `columns`, `exclude`, `labels`, `time` and `series_id` choose.
        name: The name of the table for messages.
        indexes: The columns that the file names as an index.

    Raises:
        DataError: If some are absent, or none is left.
    """
    fields = (
        ("columns", spec.columns or ()),
        ("exclude", spec.exclude),
        ("labels", (spec.labels,) if spec.labels else ()),
        ("time", (spec.time,) if spec.time else ()),
        ("series_id", (spec.series_id,) if spec.series_id else ()),
    )
    refuse_absent(
        [(f"data.{field}", each) for field, wanted in fields for each in wanted], names, name
    )
    others = {*spec.exclude, spec.labels, spec.time, spec.series_id}
    if spec.columns is not None:
        columns = tuple(dict.fromkeys(each for each in spec.columns if each not in others))
    else:
        candidates = [each for each in names if each not in others]
        columns = tuple(each for each in candidates if not is_index(each, indexes))
        for each in candidates:
            if each not in columns:
                _logger.warning('%s: column "%s", an index, is left out', name, each)
    if not columns:
        raise DataError(
            f"{name}: data.exclude and data.labels leave no column; the file has {', '.join(names)}"
        )
    return columns


def columns_like_trained(
    table: TableFormat, names: Sequence[str], data: DataSpec, width: int
) -> tuple[str, ...]:
    """Returns the columns that a trained pair needs: by name in any order, or by their number.

    Raises:
        DataError: If columns are absent, or their number is wrong.
    """
    if data.columns is not None:
        return needed_columns(data.columns, names, table.name)
    others = (data.labels, data.time, data.series_id, *data.exclude)
    schema, indexes = table.schema(), table.indexes()
    columns = tuple(
        name
        for name in schema.names
        if name not in others
        and not is_index(name, indexes)
        and is_numeric(schema.field(name).type)
    )
    refuse_width(len(columns), width, "columns of numbers", table.name)
    return columns


def needed_columns(needed: tuple[str, ...], names: Sequence[str], name: str) -> tuple[str, ...]:
    """Returns the columns that a pair was trained on.

    Raises:
        DataError: If some are absent.
    """
    absent = [column for column in needed if column not in names]
    if absent:
        shown = ", ".join(f'"{column}"' for column in absent)
        raise DataError(
            f"{name}: no column {shown}, which the model was trained on; "
            f"{nearest(absent[0], names)}"
        )
    return needed


def is_index(name: str, indexes: Collection[str] = ()) -> bool:
    """Returns whether a column is an index that pandas wrote, and not data."""
    return name in indexes or _INDEX.fullmatch(name) is not None


def refuse_absent(wanted: Sequence[tuple[str, str]], names: Sequence[str], name: str) -> None:
    """Refuses fields of the data section that name columns which are not there, all at once.

    Args:
        wanted: The field and the column that it names, for each.
        names: The names of all columns.
        name: The name of the table for messages.

    Raises:
        DataError: If some are absent.
    """
    absent = [(field, each) for field, each in wanted if each not in names]
    if absent:
        shown = " and ".join(f'"{each}" ({field})' for field, each in absent)
        present = [column for column in names if column]
        raise DataError(
            f"{name}: no column {shown}; {nearest(absent[0][1], present, 'The file has')}"
        )


def refuse_width(found: int, width: int, what: str, name: str) -> None:
    """Refuses another number of columns than a pair was trained on."""
    if found != width:
        raise DataError(f"{name}: has {found} {what}; the model was trained on {width}: give those")
