"""Frames for a pair: columns are found by name, and categories told by the pair's manifest."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from isthmus.bundle.manifest import PairManifest
from isthmus.data import collect, open_files
from isthmus.data.columns.chosen import needed_columns
from isthmus.data.frames import CALLED, Frame, as_file
from isthmus.data.table_rows import doubles
from isthmus.errors import DataError
from isthmus.kinds import facts_of
from isthmus.spec import DataSpec
from isthmus.types import DataKind


def finds_columns(manifest: PairManifest, frame: Any) -> bool:
    """Returns whether a pair finds the columns of a frame by name, and not by their order.

    It does unless it was trained on columns without names, or these have none.
    """
    columns = features_of(manifest)
    if columns is None:
        return False
    found = Frame(frame)
    return not found.has_numbers_for_names or set(columns) <= set(found.columns)


def features_of(manifest: PairManifest) -> tuple[str, ...] | None:
    """Returns the columns that hold a pair's features; `None` if it knows no names."""
    data = manifest.data
    if not facts_of(data.kind).from_tables:
        return None
    return data.columns or manifest.rows_taken.features


def columns_read(manifest: PairManifest, frame: Frame) -> tuple[str, ...]:
    """Returns the columns of a frame that a pair reads: its features, the time, the series' id.

    Raises:
        DataError: If some are absent.
    """
    data = manifest.data
    is_series = data.kind == DataKind.SERIES
    others = [name for name in (data.time, data.series_id) if is_series and name is not None]
    wanted = tuple(dict.fromkeys((*(features_of(manifest) or ()), *others)))
    return needed_columns(wanted, frame.columns, CALLED)


def manifest_for_frames(manifest: PairManifest) -> PairManifest:
    """Returns a manifest whose rows are those of one frame, none of which is dropped."""
    return manifest.model_copy(update={"data": _data_for_frames(manifest)})


def rows_of_frame(manifest: PairManifest, frame: Any) -> NDArray[np.float32]:
    """Returns the rows of a frame as a pair takes them, less its centre.

    Raises:
        DataError: If a column is missing, or holds something else than the pair was trained on.
    """
    found = Frame(frame)
    table = found.table(columns_read(manifest, found))
    if not table.num_rows:
        raise DataError(f"{CALLED}: has no rows; give at least one")
    with as_file(table) as files:
        return collect(open_files(_data_for_frames(manifest), files, manifest.rows_taken)).values


def names_of(frame: Any) -> tuple[str, ...]:
    """Returns the names of a frame's columns."""
    return Frame(frame).columns


def values_by_place(frame: Any, reference: str) -> NDArray[Any]:
    """Returns all columns of a frame side by side, for a pair that does not find them by name.

    Args:
        frame: The frame.
        reference: The name and version of the pair for messages.

    Returns:
        Shape (N, columns). What is missing is NaN.

    Raises:
        DataError: If a column is not of numbers.
    """
    table = Frame(frame).table()
    for field in table.schema:
        kind, types = field.type, pa.types
        if not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)
                or types.is_decimal(kind) or types.is_null(kind)):  # fmt: skip
            raise DataError(
                f'{CALLED}: column "{field.name}" is not numeric, and {reference} takes all '
                "columns by their place; give those that it was trained on, in their order"
            )
    columns = [doubles(column.combine_chunks()) for column in table.columns]
    return np.column_stack(columns) if columns else np.empty((len(table), 0))


def beside_places(frame: Any, columns: Mapping[str, NDArray[Any]]) -> Any:
    """Returns results of rows in a frame of the same library, with the index of the frame."""
    return Frame(frame).beside((), pa.table(dict(columns)))


def in_places(frame: Any, rows: NDArray[Any]) -> Any:
    """Returns a frame with other values in all of its columns.

    Args:
        frame: The frame.
        rows: The values, shape (N, ...).
    """
    given, flat = Frame(frame), rows.reshape(len(rows), prod(rows.shape[1:]))
    columns = {
        field.name: pa.array(flat[:, place], type=field.type)
        if pa.types.is_floating(field.type)
        else pa.array(flat[:, place])
        for place, field in enumerate(given.table().schema)
    }
    return given.replaced(pa.table(columns))


def _data_for_frames(manifest: PairManifest) -> DataSpec:
    data = manifest.data
    changed: dict[str, object] = {
        "columns": features_of(manifest),
        # A frame has the columns that folders would say.
        "partitions": False,
        "missing": "mean" if data.missing == "mean" else "refuse",
    }
    return data.model_copy(update=changed)
