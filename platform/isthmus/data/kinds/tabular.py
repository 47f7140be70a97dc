"""Tabular data: each row of a table or of an array is a row of shape (F,)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from isthmus.data import arrays, tables
from isthmus.data.array_rows import ArrayRows
from isthmus.data.arrays import LoadedArray, open_array
from isthmus.data.columns.categories import (
    Expansion,
    check_are_columns,
    distinct_values,
    without_signs,
)
from isthmus.data.columns.chosen import (
    column_names,
    columns_like_trained,
    columns_to_train,
    needed_columns,
    refuse_width,
)
from isthmus.data.columns.partitions import partition_keys, partition_keys_like
from isthmus.data.columns.units import units_to_train, warn_of_units
from isthmus.data.kinds import Kind, UseOptions
from isthmus.data.many import ManyRows
from isthmus.data.prepared.centring import find_centre
from isthmus.data.rows import RowSource, joined
from isthmus.data.storage.files import Files, ending_of
from isthmus.data.table_rows import TableRows, doubles, open_address, texts_of
from isthmus.data.tables import TableFormat
from isthmus.errors import DataError
from isthmus.kinds import KindFacts
from isthmus.spec import DataSpec, RowSchema
from isthmus.types import DataKind, ScalingMode

_logger = logging.getLogger(__name__)
_LOOKED_AT_ROWS = 10_000
_CHUNK_ROWS = 65_536


class Tabular(Kind):
    """Rows of F numbers, from tables, databases and arrays of two axes."""

    SUMMARY = "rows of numbers, from tables, databases and arrays of two axes"
    FACTS = KindFacts(
        words="rows of {shape} numbers",
        feature="feature",
        place="row",
        shown_as="numbers",
        from_tables=True,
        split_by="content",
        scaling=ScalingMode.STANDARD,
        net="dense",
        # Measured on 22 sets of ADBench. Of series and images `kernel_denoising` alone is better,
        # as drawing in the tails of single features helps only where features are of different
        # kinds.
        score="consensus",
        noise_filter=None,
        noise_measure="error",
    )

    @classmethod
    def open(cls, files: Files, spec: DataSpec) -> tuple[RowSource, DataSpec]:
        """Opens the rows to train on, and settles `key`, `columns` and `categories`."""
        if is_array(files):
            return open_arrays(files, spec)
        return open_tables(files, spec)

    @classmethod
    def open_like(
        cls, files: Files, data: DataSpec, schema: RowSchema, options: UseOptions
    ) -> RowSource:
        """Opens rows for a trained pair: columns by name in any order, or by their number."""
        if not is_array(files):
            return open_tables_like(files, data, schema, sets_aside=options.set_aside)
        return open_arrays_like(files, data, schema, sets_aside=options.set_aside)


def is_array(files: Files) -> bool:
    """Returns whether the files hold arrays and no tables.

    Raises:
        DataError: If they hold neither.
    """
    if arrays.is_bundled(files.name):
        return True
    if any(tables.is_database(address) for address in files.addresses):
        return False
    found = files.endings
    if found <= set(arrays.endings()):
        return True
    if found <= set(tables.endings()):
        return False
    if found <= {*tables.endings(), *arrays.endings()}:
        table = next(name for name in files.names if ending_of(name) in tables.endings())
        array = next(name for name in files.names if ending_of(name) in arrays.endings())
        raise DataError(
            f"{files.name}: holds both tables ({table}) and arrays ({array}); name those of one "
            "kind"
        )
    what = "a folder" if files.is_folder else f"a {files.ending()} file"
    endings = ", ".join((*tables.endings(), *arrays.endings()))
    raise DataError(f"{files.name}: is {what}; data.kind: tabular is read from {endings}")


# -- tables ---------------------------------------------------------------------------------------


def open_tables(
    files: Files, spec: DataSpec, *, extra: tuple[str, ...] = ()
) -> tuple[RowSource, DataSpec]:
    """Opens tables to train on.

    Args:
        files: The tables, all with the columns of the first.
        spec: The data section.
        extra: Columns that the index of each block carries as they are.
    """
    keys = partition_keys(files, spec)
    first = open_address(files.addresses[0], files.called(0), spec)
    names = column_names(first, list(keys[0]))
    columns = columns_to_train(names, spec, first.name, first.indexes())
    expansion = _found_categories(files, columns, spec, keys)
    features = expansion.features if expansion else columns
    schema = RowSchema(kind=DataKind.TABULAR, shape=(len(features),), features=features)
    numbers = expansion.numeric if expansion else columns
    of_file = tuple(name for name in numbers if name not in keys[0])
    units = units_to_train(spec.units, first.units(), numbers, features, first.name)
    schema = schema.model_copy(
        update={"centre": _table_centre(first, of_file, features), "units": units}
    )
    settled: dict[str, object] = {"columns": columns}
    if expansion is not None:
        settled["categories"] = expansion.values
    one = TableRows(
        *(files.addresses[0], first.name, spec, columns, schema),
        expansion=expansion,
        keys=keys[0],
        extra=extra,
        has_labels=True,
        opened=first,
    )
    return _rows_of_all(one, files, keys), spec.model_copy(update=settled)


def open_tables_like(
    files: Files,
    data: DataSpec,
    schema: RowSchema,
    *,
    extra: tuple[str, ...] = (),
    sets_aside: bool = False,
) -> RowSource:
    """Opens tables for a trained pair; columns that it was not trained on are left alone."""
    first = open_address(files.addresses[0], files.called(0), data)
    keys = partition_keys_like(files, data, first.schema().names)
    names = column_names(first, list(keys[0]))
    width = schema.shape[0]
    columns = columns_like_trained(first, names, data, width)
    expansion = None
    if data.categories and isinstance(data.categories, Mapping):
        expansion = Expansion(columns, data.categories)
    if schema.features is None:
        features = expansion.features if expansion else columns
        schema = schema.model_copy(update={"features": features})
    one = TableRows(
        *(files.addresses[0], first.name, data, columns, schema),
        expansion=expansion,
        keys=keys[0],
        extra=extra,
        opened=first,
        sets_aside=sets_aside,
    )
    return _rows_of_all(one, files, keys)


def _rows_of_all(one: TableRows, files: Files, keys: Sequence[Mapping[str, str]]) -> RowSource:
    """Returns the rows of all files, given those of the first."""
    if not files.is_folder:
        return one
    parts = [
        replace(
            one,
            address=address,
            name=files.called(place),
            keys=keys[place],
            first=one.name,
            opened=None if place else one.opened,
        )
        for place, address in enumerate(files.addresses)
    ]
    return ManyRows(tuple(parts), files.names)


def _found_categories(
    files: Files, columns: tuple[str, ...], spec: DataSpec, keys: Sequence[Mapping[str, str]]
) -> Expansion | None:
    """Finds the values of the categorical columns in one pass over all files."""
    texts = tuple(name for name in keys[0] if name in columns and not _is_number(name, keys))
    if not spec.categories and not texts:
        return None
    if isinstance(spec.categories, Mapping):
        check_are_columns(tuple(spec.categories), columns, files.name)
        return Expansion(columns, spec.categories)
    wanted = tuple(dict.fromkeys((*spec.categories, *texts)))
    check_are_columns(wanted, columns, files.name)
    found: dict[str, list[np.ndarray]] = {name: [] for name in wanted}
    of_file = [name for name in wanted if name not in keys[0]]
    for place, address in enumerate(files.addresses):
        table = open_address(address, files.called(place), spec)
        for name in wanted:
            if name in keys[place]:
                found[name].append(np.array([keys[place][name]]))
        for part in table.batches([], of_file, _CHUNK_ROWS) if of_file else ():
            for name in of_file:
                found[name].append(np.unique(texts_of(part.column(name))))
    cells = {name: without_signs(joined(each), spec.missing_values) for name, each in found.items()}
    return Expansion(
        columns, {name: distinct_values(cells[name], name, files.name) for name in wanted}
    )


def _is_number(name: str, keys: Sequence[Mapping[str, str]]) -> bool:
    try:
        for each in keys:
            float(each[name] or "nan")
    except ValueError:
        return False
    return True


def _table_centre(
    table: TableFormat, numbers: tuple[str, ...], features: tuple[str, ...]
) -> tuple[float, ...] | None:
    """Returns the centre of each feature, found by the first rows; `None` if none needs one."""
    try:
        part = next(iter(table.batches(numbers, [], _LOOKED_AT_ROWS)), None) if numbers else None
    except DataError:
        return None  # the fault is raised where the rows are read
    if part is None:
        return None
    values = np.column_stack([doubles(part.column(name).combine_chunks()) for name in numbers])
    found = find_centre(values, numbers, table.name)
    if found is None:
        return None
    centres = dict(zip(numbers, found, strict=True))
    return tuple(centres.get(name, 0.0) for name in features)


# -- arrays ---------------------------------------------------------------------------------------


def open_arrays(
    files: Files, spec: DataSpec, *, may_have_one_axis: bool = False
) -> tuple[RowSource, DataSpec]:
    """Opens arrays to train on.

    Args:
        files: The arrays, all with as many columns as the first.
        spec: The data section.
        may_have_one_axis: Whether an array of shape (N,) will do, as one column.
    """
    parts: list[ArrayRows] = []
    for place in range(len(files)):
        path = None if arrays.is_bundled(files.name) else files.path(place)
        name = files.called(place)
        loaded = open_array(str(path or files.name), name, spec.key, spec.labels)
        has_one_axis = may_have_one_axis and len(loaded.values.shape) == 1
        width = 1 if has_one_axis else _width(loaded, name)
        if parts:
            refuse_width(width, parts[0].schema.shape[0], "columns", name)
            warn_of_units(loaded.units, parts[0].schema, name)
            parts.append(replace(parts[0], array=loaded, path=path, name=name))
            continue
        columns = _columns_of(loaded, spec, name)
        chosen = _places(loaded, columns)
        sample = np.asarray(loaded.values[:_LOOKED_AT_ROWS]).reshape(-1, width)
        centre = find_centre(sample if chosen is None else sample[:, chosen], columns, name)
        shape = (width if chosen is None else len(chosen),)
        units = loaded.units
        if columns is not None:
            units = units_to_train(spec.units, {}, columns, columns, name)
        schema = RowSchema(
            kind=DataKind.TABULAR, shape=shape, features=columns, centre=centre, units=units
        )
        parts.append(ArrayRows(loaded, path, name, spec, schema, chosen))
    settled = {"key": parts[0].array.key, "columns": parts[0].schema.features}
    source = parts[0] if not files.is_folder else ManyRows(tuple(parts), files.names)
    return source, spec.model_copy(update=settled)


def _columns_of(loaded: LoadedArray, spec: DataSpec, name: str) -> tuple[str, ...] | None:
    if loaded.columns is not None:
        return columns_to_train(loaded.columns, spec.model_copy(update={"labels": None}), name)
    if spec.columns is not None or spec.exclude or spec.units:
        raise DataError(
            f"{name}: the columns of an array have no names, so data.columns, data.exclude and "
            "data.units cannot name any; leave them out, or use a csv or parquet"
        )
    return None


def _places(loaded: LoadedArray, columns: tuple[str, ...] | None) -> tuple[int, ...] | None:
    if columns is None or loaded.columns is None or columns == loaded.columns:
        return None
    return tuple(loaded.columns.index(column) for column in columns)


def open_arrays_like(
    files: Files,
    data: DataSpec,
    schema: RowSchema,
    *,
    may_have_one_axis: bool = False,
    sets_aside: bool = False,
) -> RowSource:
    """Opens arrays for a trained pair; their columns are taken by their place.

    The arguments are those of `open_arrays`, and the schema of the training rows.
    """
    parts = [
        replace(_array_like(files, place, data, schema, may_have_one_axis), sets_aside=sets_aside)
        for place in range(len(files))
    ]
    return parts[0] if not files.is_folder else ManyRows(tuple(parts), files.names)


def _array_like(
    files: Files, place: int, data: DataSpec, schema: RowSchema, may_have_one_axis: bool
) -> ArrayRows:
    path = None if arrays.is_bundled(files.name) else files.path(place)
    name = files.called(place)
    loaded = open_array(str(path or files.name), name, data.key, None, key_is_needed=False)
    if loaded.columns is not None and data.columns is not None:
        columns = needed_columns(data.columns, loaded.columns, name)
        chosen = _places(loaded, columns)
        schema = schema.model_copy(update={"features": columns})
        return ArrayRows(loaded, path, name, data, schema, chosen)
    has_one_axis = may_have_one_axis and len(loaded.values.shape) == 1
    width = 1 if has_one_axis else _width(loaded, name)
    refuse_width(width, schema.shape[0], "columns", name)
    schema = schema.model_copy(update={"features": None})
    warn_of_units(loaded.units, schema, name)
    return ArrayRows(loaded, path, name, data, schema)


def _width(loaded: LoadedArray, name: str) -> int:
    """Returns the number of columns of an array of two axes."""
    shape = loaded.values.shape
    where = f'{name}: array "{loaded.key}"' if loaded.key else name
    if len(shape) == 1:
        raise DataError(
            f"{where} has one axis, shape {shape}; rows need two, (rows, features): "
            "reshape it, or set data.kind: series"
        )
    if len(shape) > 2:
        raise DataError(
            f"{where} has {len(shape)} axes, shape {shape}; two are needed, (rows, features): "
            "reshape it, or set data.kind: images"
        )
    return shape[1]
