"""From a job file's `data` to rows: finds the files and their kind, and opens them."""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path

import numpy as np

from isthmus.data import arrays, kinds, tables
from isthmus.data.arrays.sklearn import IMAGE_SET
from isthmus.data.columns.quality import refuse_constant, refuse_empty_columns, report_constant
from isthmus.data.kinds import UseOptions
from isthmus.data.many import KeptLabels
from isthmus.data.room import COPIES_TO_SPLIT, room_to_train
from isthmus.data.rows import Rows, RowSource, collect
from isthmus.data.storage.files import Files, find_files, is_in_s3
from isthmus.errors import DataError
from isthmus.kinds import facts_of
from isthmus.spec import DataSpec, RowSchema
from isthmus.spec.secrets import without_password
from isthmus.types import DataKind, ScalingMode

_logger = logging.getLogger(__name__)
_FEWEST_ROWS = 3


def open_rows(spec: DataSpec) -> tuple[RowSource, DataSpec]:
    """Opens the rows to train on, with the labels that `data.keep_labels` keeps.

    Returns:
        The rows, and the spec with `kind`, `scaling`, `key`, `columns`, `categories` and `window`
        filled in where the data have them.

    Raises:
        DataError: If the data cannot be read, or cannot be trained on as they are.
    """
    source, resolved = open_all_rows(spec)
    if spec.keep_labels is None:
        return source, resolved
    return KeptLabels(source, spec.keep_labels, spec.shown_path), resolved


def open_all_rows(spec: DataSpec) -> tuple[RowSource, DataSpec]:
    """Does the same as `open_rows`, but with the rows of all labels."""
    files = locate(spec.path)
    name = guess_kind(files, spec) if spec.kind == "auto" else spec.kind
    scaling = facts_of(name).scaling if spec.scaling == "auto" else spec.scaling
    if spec.missing == "mean" and scaling is not ScalingMode.STANDARD:
        raise DataError(
            f"data.missing: mean needs data.scaling: standard, not {scaling}, whose zero is not "
            "the mean; set data.scaling to standard, or data.missing to drop"
        )
    _refuse_unsuitable(files, spec, name)
    resolved = spec.model_copy(update={"kind": DataKind(name), "scaling": scaling})
    return kinds.get(name).open(files, resolved)


def open_input(
    data: DataSpec, path: str, schema: RowSchema, options: UseOptions | None = None
) -> RowSource:
    """Opens rows for a trained pair from another file or folder.

    Labels are ignored, columns are found by name in any order, and other columns are left alone.

    Args:
        data: The data section that the pair was trained on, as `open_rows` returned it.
        path: The input: a file, a folder, a glob, `s3://`.
        schema: The schema of the pair's training rows.
        options: The options of the person who uses the pair.

    Raises:
        DataError: If the input cannot be read, or does not hold such rows; a fault in some row is
            raised when its block is read.
    """
    return open_files(data, locate(without_password(path)), schema, options)


def open_files(
    data: DataSpec, files: Files, schema: RowSchema, options: UseOptions | None = None
) -> RowSource:
    """Does the same as `open_input`, with files that are already found."""
    if data.kind == "auto":
        raise ValueError("data is not resolved: use the spec that open_rows returned")
    options = options or UseOptions()
    if options.query is not None:
        _refuse_query_of_files(files)
        data = data.model_copy(update={"query": options.query})
    return kinds.get(data.kind).open_like(files, data, schema, options)


def read_rows(spec: DataSpec) -> tuple[Rows, DataSpec]:
    """Reads the rows to train on into memory.

    Returns:
        The rows, and the spec as `open_rows` fills it in.

    Raises:
        DataError: If the data cannot be read, or cannot be trained on as they are.
    """
    source, resolved = open_rows(spec)
    return read_opened(source, resolved), resolved


def read_opened(source: RowSource, resolved: DataSpec) -> Rows:
    """Reads what `open_rows` opened into memory, and checks it as a whole.

    Raises:
        DataError: If there are too few rows, or too many for the memory, or nothing varies.
    """
    views = 1 if resolved.partner_path is None else 2
    rows = collect(source, room_to_train(source, resolved, views * COPIES_TO_SPLIT))
    name = resolved.shown_path
    if resolved.missing == "mean" and rows.schema.kind is DataKind.TABULAR and len(rows):
        refuse_empty_columns(rows.values, rows.schema.features, name)
    if len(rows) < _FEWEST_ROWS:
        raise DataError(
            f"{name}: {len(rows)} row(s) to train on; at least {_FEWEST_ROWS} are needed, "
            "one each to train, validate and test"
        )
    _check_varies(rows, resolved, name)
    _logger.info("%s: %d rows of shape %s", name, len(rows), rows.values.shape[1:])
    return rows


def locate(path: str | tuple[str, ...]) -> Files:
    """Finds the files that a path names, or the database, or the set of scikit-learn's.

    Raises:
        DataError: If there is nothing that can be read.
    """
    if isinstance(path, str) and (arrays.is_bundled(path) or tables.is_database(path)):
        return Files(path, (path,), (path,), is_folder=False)
    for each in (path,) if isinstance(path, str) else path:
        _refuse_other_scheme(each)
    return find_files(path, all_endings())


def _refuse_other_scheme(path: str) -> None:
    scheme, separator, _ = path.partition("://")
    if not separator or is_in_s3(path) or not scheme.replace("+", "").isalnum():
        return
    if tables.is_database(path):
        raise DataError(
            f"{without_password(path)}: is a database, which is read alone; leave out the others"
        )
    raise DataError(
        f"{without_password(path)}: nothing is read from {scheme}://; databases are read from "
        f"{', '.join(tables.prefixes())}, files by their path or from s3://"
    )


def _refuse_query_of_files(files: Files) -> None:
    if not tables.is_database(files.addresses[0]):
        raise DataError(
            f"{files.name}: is no database, and data.query is for databases; leave it out"
        )


def local_output(path: str) -> Path:
    """Returns the place of results on this machine; what lies in S3 is copied to the cache.

    Raises:
        DataError: If there is no such file or folder.
    """
    files = find_files(path, all_endings())
    if not files.is_folder:
        return files.path(0)
    if not is_in_s3(path):
        return Path(path).expanduser()
    from isthmus.data.storage.s3 import fetch_folder

    return fetch_folder(path)


@cache
def all_endings() -> tuple[str, ...]:
    """Returns the endings of all files that some kind of data is read from, in lower case."""
    of_kinds = (kinds.get(name).ENDINGS for name in kinds.names())
    return (*arrays.endings(), *tables.endings(), *(each for one in of_kinds for each in one))


def guess_kind(files: Files, spec: DataSpec) -> str:
    """Returns the kind that the files' endings tell, or the shape of an array."""
    if arrays.is_bundled(files.name):
        return DataKind.IMAGES if files.name == IMAGE_SET else DataKind.TABULAR
    is_series = spec.window is not None or spec.time is not None or spec.series_id is not None
    if any(tables.is_database(address) for address in files.addresses):
        return DataKind.SERIES if is_series else DataKind.TABULAR
    of_kinds = {name: kinds.get(name).ENDINGS for name in kinds.names()}
    counts = {
        name: sum(files.ending(place) in endings for place in range(len(files)))
        for name, endings in of_kinds.items()
        if endings
    }
    present = {name: count for name, count in counts.items() if count}
    rest = len(files) - sum(present.values())
    if len(present) + (rest > 0) > 1:
        shown = [
            _counted(count, "image" if name == DataKind.IMAGES else f"{name} file")
            for name, count in present.items()
        ]
        shown += [_counted(rest, "table or array", "tables or arrays")] if rest else []
        most = max(present, key=lambda name: present[name])
        ending = next(
            files.ending(place)
            for place in range(len(files))
            if files.ending(place) in of_kinds[most]
        )
        example = f"{files.name.rstrip('/')}/*{ending}"
        raise DataError(
            f"{files.name}: holds {' and '.join(shown)}; name the files of one kind with a glob, "
            f"such as {example}"
        )
    if present:
        return next(iter(present))
    if is_series:
        return DataKind.SERIES
    if files.endings <= set(arrays.endings()):
        opened = arrays.open_array(str(files.path(0)), files.called(0), spec.key, spec.labels)
        if len(opened.values.shape) in (3, 4):
            return DataKind.IMAGES
    return DataKind.TABULAR


def _counted(count: int, one: str, many: str | None = None) -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"


def _refuse_unsuitable(files: Files, spec: DataSpec, kind: str) -> None:
    is_table = tables.is_database(files.addresses[0]) or files.endings <= set(tables.endings())
    if spec.query is not None and is_table:
        _refuse_query_of_files(files)
    if spec.categories and (kind != DataKind.TABULAR or not is_table):
        raise DataError(
            f"{files.name}: data.categories are columns of a table, and this is {kind} from "
            f"{'a folder' if files.is_folder else files.ending()}; leave it out, or use a csv or "
            "parquet"
        )
    own = kinds.get(kind).ENDINGS
    if kind == DataKind.AUDIO and not files.endings <= set(own):
        raise DataError(f"{files.name}: is no file of audio; they are read from {', '.join(own)}")
    without_effect = _fields_without_effect(spec, kind, is_table=is_table)
    if not without_effect and is_table:
        _refuse_fields_of_other_formats(files, spec)
    if without_effect:
        told = ", ".join(
            f"{' and '.join(f'data.{field}' for field in fields)} "
            f"{'are' if len(fields) > 1 else 'is'} for {takers}"
            for takers, fields in without_effect.items()
        )
        is_one = sum(map(len, without_effect.values())) == 1
        also = ", or set data.kind: series" if kind == DataKind.TABULAR else ""
        raise DataError(
            f"{files.name}: {told}, and this is {kind}; leave {'it' if is_one else 'them'} out"
            f"{also if any('series' in takers for takers in without_effect) else ''}"
        )


def _refuse_fields_of_other_formats(files: Files, spec: DataSpec) -> None:
    """Refuses fields that say how a file of one format is read, if there is none of it."""
    for field in _OF_TABLES:
        takers = tables.takers_of(field)
        is_set = getattr(spec, field) != DataSpec.model_fields[field].get_default()
        if is_set and takers and not files.endings & set(takers):
            shown = ", ".join(takers)
            what = "a database" if tables.is_database(files.addresses[0]) else files.ending()
            raise DataError(
                f"{files.name}: data.{field} is for {shown}, and this is {what}; leave it out"
            )


_OF_TABLES = ("query", "delimiter", "header", "decimal", "thousands", "missing_values", "encoding",
              "partitions", "columns", "exclude", "units")  # fmt: skip


def _fields_without_effect(spec: DataSpec, kind: str, *, is_table: bool) -> dict[str, list[str]]:
    """Returns the fields that are set and mean nothing for such data, by what they are for."""
    found: dict[str, list[str]] = {}
    facts = {each: facts_of(each) for each in DataKind}
    of_kinds = dict.fromkeys(field for each in reversed(facts.values()) for field in each.fields)
    for field in (*of_kinds, *_OF_TABLES):
        if getattr(spec, field) == DataSpec.model_fields[field].get_default():
            continue
        if field in of_kinds and field not in facts_of(kind).fields:
            takers = " and ".join(name for name, each in facts.items() if field in each.fields)
            found.setdefault(takers, []).append(field)
        elif field in _OF_TABLES and not is_table and not facts_of(kind).from_tables:
            found.setdefault("tables", []).append(field)
    return found


def _check_varies(rows: Rows, resolved: DataSpec, name: str) -> None:
    values, columns = rows.values, rows.schema.features
    if facts_of(rows.schema.kind).feature is None:
        refuse_constant(values, name)
    else:
        by_feature = np.moveaxis(values, 1, -1).reshape(-1, values.shape[1])
        report_constant(by_feature, columns, name)
