"""Frames for a pair: columns are found by name, and categories told by the pair's manifest."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.bundle.manifest import PairManifest
from isthmus.data import collect, open_files
from isthmus.data.columns.chosen import needed_columns
from isthmus.data.frames import CALLED, Frame, as_file
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
    with as_file(table) as files:
        return collect(open_files(_data_for_frames(manifest), files, manifest.rows_taken)).values


def _data_for_frames(manifest: PairManifest) -> DataSpec:
    data = manifest.data
    changed: dict[str, object] = {
        "columns": features_of(manifest),
        # A frame has the columns that folders would say.
        "partitions": False,
        "missing": "mean" if data.missing == "mean" else "refuse",
    }
    return data.model_copy(update=changed)
