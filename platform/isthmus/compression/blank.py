"""Sources that have the form of an input and none of its values: their writers are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import pyarrow as pa

from isthmus.compression.forms import (
    ArrayForm,
    FolderForm,
    TableForm,
    check_pixels,
)
from isthmus.data import Block, Provenance, RowSource
from isthmus.data.array_rows import ArrayRows
from isthmus.data.arrays import LoadedArray
from isthmus.data.columns.categories import Expansion
from isthmus.data.many import ManyRows
from isthmus.data.outputs.array_output import as_dtype, save_array
from isthmus.data.outputs.output import (
    ARRAY_OUTPUT_ENDINGS,
    TABLE_OUTPUT_ENDINGS,
    check_ending,
    is_array_output,
)
from isthmus.data.outputs.table_output import CsvStyle, open_table_output
from isthmus.data.prepared.centring import restored
from isthmus.data.rows import FloatArray, WriteBlock, rows_in_a_block
from isthmus.spec import DataSpec, RowSchema


def source_of(
    form: ArrayForm | TableForm | FolderForm,
    counts: tuple[int, ...],
    data: DataSpec,
    schema: RowSchema,
    called: str,
) -> RowSource:
    """Returns a source of so many rows in each file, as a folder or a file has it.

    Raises:
        ValueError: If the form does not fit the rows.
    """
    if not isinstance(form, FolderForm):
        return _file(form, sum(counts), data, schema, called)
    if len(form.names) != len(form.files) or (counts and len(counts) != len(form.names)):
        raise ValueError("files that do not each have a name")
    parts = [
        _file(each, count, data, schema, called)
        for each, count in zip(form.files, counts or (0,) * len(form.files), strict=True)
    ]
    return ManyRows(tuple(parts), form.names)


def _file(
    form: ArrayForm | TableForm, count: int, data: DataSpec, schema: RowSchema, called: str
) -> RowSource:
    schema = schema.model_copy(update={"centre": form.centre})
    if form.centre is not None and len(form.centre) != schema.shape[0]:
        raise ValueError("a centre that is not the pair's")
    if isinstance(form, TableForm):
        expansion = Expansion(form.columns, form.categories)
        if (len(expansion.features),) != schema.shape:
            raise ValueError("columns that are not the pair's")
        return _Table(form, expansion, schema, count)
    if form.is_resized:
        check_pixels(form.row_shape[:2] if form.channels_last else form.row_shape)
    elif not form.is_part and prod(form.row_shape) != prod(schema.shape):
        raise ValueError("an array whose rows are not the pair's")
    values = np.broadcast_to(np.zeros((), dtype=form.dtype), (count, *form.row_shape))
    return ArrayRows(
        LoadedArray(values, form.key),
        None,
        called,
        data,
        schema,
        chosen=tuple(range(schema.shape[0])) if form.is_part else None,
        channels_last=form.channels_last,
        resized=(schema.shape[1], schema.shape[2]) if form.is_resized else None,
        factor=form.factor,
    )


@dataclass(frozen=True, eq=False)
class _Table:
    """The columns of a table, without values: a `RowSource`."""

    form: TableForm
    expansion: Expansion
    schema: RowSchema
    count: int

    def blocks(self, *, carry: bool = False) -> Iterator[Block]:
        at_once = rows_in_a_block(self.schema.shape)
        for first in range(0, self.count, at_once):
            rows = min(at_once, self.count - first)
            values = np.zeros((rows, *self.schema.shape), dtype=np.float32)
            yield Block(values, {"row": np.arange(first, first + rows)})

    def check_output(self, output: Path) -> None:
        endings = (*TABLE_OUTPUT_ENDINGS, *ARRAY_OUTPUT_ENDINGS)
        check_ending(output, endings, "rows of a table")

    @contextmanager
    def open_output(self, output: Path, provenance: Provenance) -> Iterator[WriteBlock]:
        if is_array_output(output):
            parts: list[FloatArray] = []
            yield lambda _, values: parts.append(restored(values, self.schema.centre))
            beside = {"columns": np.array(self.expansion.features)}
            save_array(np.concatenate(parts), "x", output, provenance, beside)
            return
        form = self.form
        style = CsvStyle(form.delimiter, form.decimal, form.has_header, form.encoding)
        with open_table_output(output, provenance, style) as append:
            yield lambda _, values: append(self._filled(values))

    def _filled(self, values: FloatArray) -> pa.Table:
        filled = self.expansion.collapse(restored(values, self.schema.centre))
        columns = {}
        for name, column in filled.items():
            kind = self.form.floats.get(name)
            if kind is not None:
                dtype = np.dtype({"halffloat": "f2", "float": "f4", "double": "f8"}[kind])
                column = as_dtype(column, dtype)
            columns[name] = pa.array(column)
        return pa.table(columns)
