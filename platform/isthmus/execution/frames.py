"""Runs a downstream job on a frame of pandas, polars or Arrow, and returns a frame of the same."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import nullcontext
from copy import copy
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather as feather

from isthmus.data import UseOptions
from isthmus.data.frames import CALLED, Frame, as_file
from isthmus.execution.blocks import OnRows
from isthmus.execution.inputs import InputPart
from isthmus.execution.outputs import RowsOutput
from isthmus.execution.reference_rows import no_reference_rows, reference_rows
from isthmus.execution.task import Task
from isthmus.execution.use import Use
from isthmus.registry import Pair
from isthmus.registry.frames import columns_read, features_of, manifest_for_frames
from isthmus.spec import Settings

# What names the rows of a file; a frame has its index, and its other columns.
_NAMES_OF_ROWS = ("row", "step", "file", "series_id", "time")


def run_on_frame(
    use: Use, pair: Pair, frame: Any, settings: Settings, *, on_rows: OnRows | None = None
) -> Any:
    """Runs a job on the rows of a frame, which is read with the checks of a file.

    Args:
        use: The job.
        pair: The pair, which finds the columns of the frame by name.
        frame: The frame. Rows keep their places; what cannot be read ends the job.
        settings: The settings with the address of the pair's registry.
        on_rows: Called with (rows done, all rows) during the work.

    Returns:
        A frame of the same library. If the job writes rows in the form of its input, it is the
        frame with the results in place of the pair's columns. If it writes a line for each row, it
        is the columns that the pair does not take, such as ids, with the results behind them. Both
        have the index of the frame. If it writes lines for windows, it is these lines.

    Raises:
        UsageError: If the pair cannot do the job.
        DataError: If the frame does not hold such rows as the pair takes.
    """
    given = Frame(frame)
    pair = _for_frames(use.adapted(pair, settings))
    use.check(pair)
    columns = given.table(columns_read(pair.manifest, given))
    rows = reference_rows(pair, settings) if use.NEEDS_HELD_OUT else nullcontext(no_reference_rows)
    with as_file(columns) as files, rows as held_out:
        output = Path(files.addresses[0]).with_name("results.feather")
        options, part = UseOptions(), InputPart(files, {})
        use.work(Task(pair, CALLED, output, options, on_rows, held_out, part))
        made = feather.read_table(output, memory_map=False)
    features = features_of(pair.manifest) or ()
    if isinstance(use.OUTPUT, RowsOutput):
        return given.replaced(_of_results(made.select(features), pair.manifest.data.categories))
    return _with_names(given, features, made)


def _for_frames(pair: Pair) -> Pair:
    """Returns the pair with a manifest that says how a frame is read; all else is shared."""
    found = copy(pair)
    found.manifest = manifest_for_frames(pair.manifest)
    return found


def _of_results(rows: pa.Table, categories: Collection[str]) -> pa.Table:
    """Returns rows in the types of results, which a table without any row does not have yet."""

    def kind(field: pa.Field) -> pa.DataType:
        if field.name in categories:
            return pa.string()
        return field.type if pa.types.is_floating(field.type) else pa.float32()

    return rows.cast(pa.schema([pa.field(each.name, kind(each)) for each in rows.schema]))


def _with_names(given: Frame, features: tuple[str, ...], made: pa.Table) -> Any:
    """Returns results with what names their rows in the frame."""
    if not {"row", "step"} & set(made.column_names):
        return given.alike(made)
    others = [name for name in given.columns if name not in features]
    return given.beside(
        others, made.drop_columns([name for name in _NAMES_OF_ROWS if name in made.column_names])
    )
