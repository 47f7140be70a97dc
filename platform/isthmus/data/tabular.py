"""Tabular data: each row of a table or array is a row."""

from __future__ import annotations

from isthmus.data.matrix import Matrix, read_matrix, read_matrix_like
from isthmus.data.quality import refuse_empty_columns, rows_without_missing
from isthmus.data.rows import Rows
from isthmus.data.storage import Source
from isthmus.spec import DataSpec
from isthmus.types import DataKind, Shape


def read_tabular(source: Source, spec: DataSpec) -> tuple[Rows, DataSpec]:
    """Reads rows of shape (F,) to train on, and fills in `key` and `columns`.

    Raises:
        DataError: If the file cannot be read so.
    """
    matrix = read_matrix(source, spec)
    rows = _as_rows(matrix, source, spec)
    if spec.missing == "mean":
        refuse_empty_columns(rows.values, matrix.columns, source.name)
    settled: dict[str, object] = {"key": matrix.key, "columns": matrix.columns}
    if matrix.expansion is not None:
        settled["columns"] = matrix.expansion.columns
        settled["categories"] = matrix.expansion.values
    return rows, spec.model_copy(update=settled)


def read_tabular_like(source: Source, data: DataSpec, row_shape: Shape) -> Rows:
    """Reads rows of the shape (F,) that a trained pair needs.

    Raises:
        DataError: If the file does not hold such rows.
    """
    return _as_rows(read_matrix_like(source, data, row_shape[0]), source, data)


def _as_rows(matrix: Matrix, source: Source, spec: DataSpec) -> Rows:
    rows = Rows(matrix.values, DataKind.TABULAR, matrix.layout, matrix.labels)
    kept = rows_without_missing(rows.values, spec.missing, matrix.columns, source.name)
    return rows if kept is None else rows.take(kept)
