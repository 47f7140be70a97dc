"""Rows of numbers in columns, from a table or an array: what tabular data and series start as."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.data.array_layout import layout_of
from isthmus.data.arrays import LoadedArray, key_if_present, load_array
from isthmus.data.categories import (
    Expansion,
    UnknownValues,
    check_are_columns,
    distinct_values,
)
from isthmus.data.rows import FloatArray, Labels, Layout
from isthmus.data.storage import ARRAY_ENDINGS, TABLE_ENDINGS, Source
from isthmus.data.table_layout import TableForm, TableLayout
from isthmus.data.tables import (
    column_names,
    numeric_names,
    read_columns,
    read_labels,
    read_texts,
)
from isthmus.errors import DataError, nearest
from isthmus.spec import DataSpec

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Matrix:
    """Numbers in columns.

    Attributes:
        values: Shape (N, F), as read; may hold NaN and infinity.
        layout: The form they came in.
        columns: Names of the F columns, if they have any; `colour=red` for a category's value.
        key: Name of the array in an npz.
        labels: Shape (N,), if asked for.
        expansion: How a table's own columns became these, if some are categories.
    """

    values: FloatArray
    layout: Layout
    columns: tuple[str, ...] | None = None
    key: str | None = None
    labels: Labels | None = None
    expansion: Expansion | None = None


def read_matrix(source: Source, spec: DataSpec, *, one_axis: bool = False) -> Matrix:
    """Reads the columns that a job file asks for.

    Args:
        source: A csv, parquet, npz or npy, or a bundled set.
        spec: Its `key`, `columns`, `exclude` and `labels` choose.
        one_axis: Whether an array of shape (N,) will do, as one column.

    Raises:
        DataError: If the file cannot be read so.
    """
    _refuse_others(source, spec.kind)
    if source.is_array:
        loaded = load_array(source, spec.key, spec.labels)
        values = _two_axes(loaded, source, one_axis)
        if loaded.columns is None:
            if spec.columns is not None or spec.exclude:
                raise DataError(
                    f"{source.name}: the columns of an array have no names, so data.columns and "
                    "data.exclude cannot choose among them; leave them out, or use a csv or parquet"
                )
            return Matrix(
                _float32(values),
                layout_of(loaded.values, source, loaded.key),
                None,
                loaded.key,
                loaded.labels,
            )
        columns = _chosen_columns(loaded.columns, spec, source)
        return _bundled_matrix(values, loaded, columns, source)
    form = form_to_train(source, spec)
    labels = read_labels(source, spec.labels) if spec.labels is not None else None
    return replace(_table_matrix(source, form.columns, form.expansion), labels=labels)


def form_to_train(source: Source, spec: DataSpec) -> TableForm:
    """The columns of a csv or parquet that a job file asks for.

    Raises:
        DataError: If some are absent, or none is left.
    """
    names = column_names(source)
    if spec.labels is not None:
        _refuse_absent([spec.labels], names, "data.labels", source)
    columns = _chosen_columns(names, spec, source)
    return TableForm(source, columns, _expansion(source, columns, spec))


def read_matrix_like(
    source: Source, data: DataSpec, width: int, *, one_axis: bool = False
) -> Matrix:
    """Reads the columns that a trained pair needs: by name in any order, or by their number.

    Args:
        source: A csv, parquet, npz or npy, or a bundled set.
        data: What the pair was trained on; columns it does not name are left alone.
        width: How many columns the pair needs.
        one_axis: Whether an array of shape (N,) will do, as one column.

    Raises:
        DataError: If columns are absent, or their number is wrong.
    """
    _refuse_others(source, data.kind)
    if not source.is_array:
        form = form_like(source, data, width)
        return _table_matrix(source, form.columns, form.expansion)
    loaded = load_array(source, key_if_present(source, data.key), None)
    values, columns = features_like(loaded, source, data, width, one_axis=one_axis)
    layout = layout_of(loaded.values if columns is None else values, source, loaded.key)
    return Matrix(_float32(values), layout, columns)


def form_like(source: Source, data: DataSpec, width: int) -> TableForm:
    """The columns of a csv or parquet that a trained pair needs, as `read_matrix_like`."""
    names = column_names(source)
    if data.columns is not None:
        columns = _needed_columns(data.columns, names, source)
        return TableForm(source, columns, _expansion(source, columns, data))
    others = (data.labels, *data.exclude)
    candidates = [name for name in names if name not in others and not _is_index(name)]
    columns = tuple(numeric_names(source, candidates))
    _refuse_width(len(columns), width, "columns of numbers", source)
    return TableForm(source, columns)


def features_like(
    loaded: LoadedArray, source: Source, data: DataSpec, width: int, *, one_axis: bool = False
) -> tuple[NDArray[Any], tuple[str, ...] | None]:
    """The columns of an array that a trained pair needs, as `read_matrix_like`, and their names.

    Returns:
        Shape (N, width), not copied unless columns are chosen.
    """
    values = _two_axes(loaded, source, one_axis)
    if loaded.columns is not None and data.columns is not None:
        columns = _needed_columns(data.columns, loaded.columns, source)
        return _chosen(values, loaded.columns, columns), columns
    _refuse_width(values.shape[1], width, "columns", source)
    return values, None


def _expansion(source: Source, columns: tuple[str, ...], spec: DataSpec) -> Expansion | None:
    if not spec.categories:
        return None
    check_are_columns(tuple(spec.categories), columns, source.name)
    if isinstance(spec.categories, Mapping):
        return Expansion(columns, spec.categories)
    texts = read_texts(source, spec.categories)
    found = {name: distinct_values(texts[name], name, source.name) for name in spec.categories}
    return Expansion(columns, found)


def _table_matrix(source: Source, columns: tuple[str, ...], expansion: Expansion | None) -> Matrix:
    if expansion is None:
        values = read_columns(source, columns)
        return Matrix(values, _table_layout(source, columns, len(values), None), columns)
    texts = read_texts(source, tuple(expansion.values))
    rows = len(next(iter(texts.values())))
    numbers = (
        read_columns(source, expansion.numeric)
        if expansion.numeric
        else np.empty((rows, 0), np.float32)
    )
    values = expansion.expand(numbers, texts)
    unknown = UnknownValues(expansion, source.name)
    unknown.add(values, texts)
    unknown.report()
    layout = _table_layout(source, columns, rows, expansion)
    return Matrix(values, layout, expansion.features, expansion=expansion)


def _two_axes(loaded: LoadedArray, source: Source, one_axis: bool) -> NDArray[Any]:
    """The array as (N, F), not copied."""
    array = loaded.values
    where = f'{source.name}: array "{loaded.key}"' if loaded.key else source.name
    if array.ndim == 1 and not one_axis:
        raise DataError(
            f"{where} has one axis, shape {array.shape}; rows need two, (rows, features): "
            "reshape it, or set data.kind: series"
        )
    if array.ndim > 2:
        raise DataError(
            f"{where} has {array.ndim} axes, shape {array.shape}; two are needed, "
            "(rows, features): reshape it, or set data.kind: images"
        )
    return array.reshape(len(array), -1)


def _float32(values: NDArray[Any]) -> FloatArray:
    with np.errstate(over="ignore"):  # beyond float32: infinite, and refused as that
        return np.ascontiguousarray(values, dtype=np.float32)


def _bundled_matrix(
    values: NDArray[Any], loaded: LoadedArray, columns: tuple[str, ...], source: Source
) -> Matrix:
    chosen = _chosen(values, loaded.columns or (), columns)
    return Matrix(_float32(chosen), layout_of(chosen, source, None), columns, None, loaded.labels)


def _chosen(values: NDArray[Any], names: Sequence[str], columns: tuple[str, ...]) -> NDArray[Any]:
    return values[:, [names.index(column) for column in columns]]


def _needed_columns(
    needed: tuple[str, ...], names: Sequence[str], source: Source
) -> tuple[str, ...]:
    absent = [name for name in needed if name not in names]
    if absent:
        shown = ", ".join(f'"{name}"' for name in absent)
        raise DataError(
            f"{source.name}: no column {shown}, which the model was trained on; "
            f"{nearest(absent[0], names)}"
        )
    return needed


def _chosen_columns(names: Sequence[str], spec: DataSpec, source: Source) -> tuple[str, ...]:
    for field, wanted in (("columns", spec.columns or ()), ("exclude", spec.exclude)):
        _refuse_absent(wanted, names, f"data.{field}", source)
    others = {*spec.exclude, spec.labels}
    if spec.columns is not None:
        columns = tuple(dict.fromkeys(name for name in spec.columns if name not in others))
    else:
        columns = tuple(name for name in names if name not in others and not _is_index(name))
        for name in names:
            if _is_index(name):
                _logger.warning('%s: column "%s", an index, is left out', source.name, name)
    if not columns:
        raise DataError(
            f"{source.name}: data.exclude and data.labels leave no column; "
            f"the file has {', '.join(names)}"
        )
    return columns


def _is_index(name: str) -> bool:
    """Whether it is what pandas writes of an index that has no name."""
    return name in ("", "Unnamed: 0") or name.startswith("__index_level_")


def _table_layout(
    source: Source, columns: tuple[str, ...], total: int, expansion: Expansion | None
) -> TableLayout:
    form = TableForm(source, columns, expansion)
    return TableLayout(form, np.arange(total, dtype=np.int64), total)


def _refuse_absent(wanted: Sequence[str], names: Sequence[str], field: str, source: Source) -> None:
    for name in wanted:
        if name not in names:
            present = [column for column in names if column]
            raise DataError(
                f'{source.name}: no column "{name}" ({field}); {nearest(name, present)}'
            )


def _refuse_width(found: int, width: int, what: str, source: Source) -> None:
    if found != width:
        raise DataError(
            f"{source.name}: has {found} {what}; the model was trained on {width}: give those"
        )


def _refuse_others(source: Source, kind: str) -> None:
    if source.is_array or source.ending in TABLE_ENDINGS:
        return
    what = "a folder" if source.path.is_dir() else f"a {source.ending} file"
    endings = ", ".join((*TABLE_ENDINGS, *ARRAY_ENDINGS))
    raise DataError(f"{source.name}: is {what}; data.kind: {kind} is read from {endings}")
