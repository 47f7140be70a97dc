"""From a job file's `data` to rows: finds the source, its kind, and reads it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import NamedTuple

from isthmus.data.array_stream import stream_array
from isthmus.data.arrays import load_array
from isthmus.data.audio import read_audio, read_audio_like
from isthmus.data.bundled import IMAGE_SET
from isthmus.data.images import read_images, read_images_like
from isthmus.data.labels import keep_labelled
from isthmus.data.quality import refuse_constant, report_constant
from isthmus.data.rows import Rows
from isthmus.data.series import read_series, read_series_like
from isthmus.data.storage import (
    AUDIO_ENDINGS,
    IMAGE_ENDINGS,
    TABLE_ENDINGS,
    Source,
    list_files,
    locate,
)
from isthmus.data.stream import RowStream, WholeRows
from isthmus.data.table_stream import stream_table
from isthmus.data.tabular import read_tabular, read_tabular_like
from isthmus.errors import DataError
from isthmus.spec import DataSpec
from isthmus.types import DataKind, ScalingMode, Shape

_logger = logging.getLogger(__name__)
_FEWEST_ROWS = 3


class _Reader(NamedTuple):
    for_training: Callable[[Source, DataSpec], tuple[Rows, DataSpec]]
    like_trained: Callable[[Source, DataSpec, Shape], Rows]
    scaling: ScalingMode


_READERS: Mapping[DataKind, _Reader] = {
    DataKind.TABULAR: _Reader(read_tabular, read_tabular_like, ScalingMode.STANDARD),
    DataKind.IMAGES: _Reader(read_images, read_images_like, ScalingMode.MINMAX),
    DataKind.SERIES: _Reader(read_series, read_series_like, ScalingMode.STANDARD),
    DataKind.AUDIO: _Reader(read_audio, read_audio_like, ScalingMode.NONE),
}


def read_rows(spec: DataSpec) -> tuple[Rows, DataSpec]:
    """Reads the rows to train on.

    Returns:
        The rows, and the spec with `kind`, `key`, `columns`, `window`, `stride` and `scaling`
        filled in where the data have them; `image_size` stays `None` if nothing is resized.

    Raises:
        DataError: If the data cannot be read, or cannot be trained on as they are.
    """
    source = locate(spec.path)
    kind = _guess_kind(source, spec) if spec.kind == "auto" else spec.kind
    reader = _READERS[kind]
    scaling = reader.scaling if spec.scaling == "auto" else spec.scaling
    if spec.missing == "mean" and scaling is not ScalingMode.STANDARD:
        raise DataError(
            f"data.missing: mean needs data.scaling: standard, not {scaling}, whose zero is not "
            "the mean; set data.scaling to standard, or data.missing to drop"
        )
    if spec.categories and (kind is not DataKind.TABULAR or source.ending not in TABLE_ENDINGS):
        raise DataError(
            f"{source.name}: data.categories are columns of a table, and this is {kind} from "
            f"{source.ending or 'a folder'}; leave it out, or use a csv or parquet"
        )
    resolved = spec.model_copy(update={"kind": kind, "scaling": scaling})
    rows, resolved = reader.for_training(source, resolved)
    rows = keep_labelled(rows, spec.keep_labels, source.name)
    if len(rows) < _FEWEST_ROWS:
        raise DataError(
            f"{source.name}: {len(rows)} row(s) to train on; at least {_FEWEST_ROWS} are needed, "
            "one each to train, validate and test"
        )
    _check_varies(rows, resolved, source)
    _logger.info("%s: %d rows of shape %s", source.name, len(rows), rows.values.shape[1:])
    return rows, resolved


def read_input(data: DataSpec, path: str, row_shape: Shape) -> Rows:
    """Reads rows for a trained pair from another file or folder.

    Labels are ignored, columns are found by name in any order, and other columns are left alone.

    Args:
        data: What the pair was trained on, as `read_rows` returned it.
        path: The input: a file, a folder, or `s3://`.
        row_shape: Shape of the pair's rows, as its plan says.

    Raises:
        DataError: If the input cannot be read, or does not hold such rows.
    """
    if data.kind == "auto":
        raise ValueError("data is not resolved: use the spec that read_rows returned")
    return _READERS[data.kind].like_trained(locate(path), data, row_shape)


def open_input(data: DataSpec, path: str, row_shape: Shape) -> RowStream:
    """The same rows as `read_input`, a block at a time.

    Tables and arrays are read as they are needed, an npz once it is unpacked; series, audio and
    folders of images are read whole, and are one block.

    Args:
        data: What the pair was trained on, as `read_rows` returned it.
        path: The input: a file, a folder, or `s3://`.
        row_shape: Shape of the pair's rows, as its plan says.

    Raises:
        DataError: If the input cannot be read, or does not hold such rows; a fault in some row is
            told when its block is read.
    """
    source = locate(path)
    if data.kind is DataKind.TABULAR and source.ending in TABLE_ENDINGS:
        return stream_table(source, data, row_shape[0])
    if data.kind in (DataKind.TABULAR, DataKind.IMAGES) and source.is_array:
        return stream_array(source, data, row_shape)
    return WholeRows(read_input(data, path, row_shape))


def read_paired_rows(data: DataSpec, rows: Rows) -> Rows | None:
    """Reads the other measurements of the same rows, in the same order; `None` if there are none.

    Args:
        data: As `read_rows` returned it.
        rows: The first measurements.

    Raises:
        DataError: If they cannot be read, or are not as many.
    """
    if data.paired_path is None:
        return None
    if data.keep_labels is not None or data.missing == "drop":
        raise DataError(
            "data.paired_path needs every row in its place; leave out data.keep_labels and "
            "data.missing: drop"
        )
    paired = read_input(data, data.paired_path, rows.values.shape[1:])
    if len(paired) != len(rows):
        raise DataError(
            f"{data.paired_path}: {len(paired)} rows, and {data.path} has {len(rows)}; "
            "both must measure the same things in the same order"
        )
    return paired


def _guess_kind(source: Source, spec: DataSpec) -> DataKind:
    if source.is_bundled:
        return DataKind.IMAGES if source.name == IMAGE_SET else DataKind.TABULAR
    if source.path.is_dir():
        return _guess_folder(source)
    if source.ending in IMAGE_ENDINGS:
        return DataKind.IMAGES
    if source.ending in AUDIO_ENDINGS:
        return DataKind.AUDIO
    if spec.window is not None:
        return DataKind.SERIES
    if source.is_array and load_array(source, spec.key, spec.labels).values.ndim in (3, 4):
        return DataKind.IMAGES
    return DataKind.TABULAR


def _guess_folder(source: Source) -> DataKind:
    names = list_files(source, (*IMAGE_ENDINGS, *AUDIO_ENDINGS), "images or audio")
    images = sum(name.lower().endswith(IMAGE_ENDINGS) for name in names)
    if 0 < images < len(names):
        raise DataError(
            f"{source.name}: holds {images} images and {len(names) - images} audio files; "
            "set data.kind to images or audio"
        )
    return DataKind.IMAGES if images else DataKind.AUDIO


def _check_varies(rows: Rows, resolved: DataSpec, source: Source) -> None:
    values = rows.values
    if rows.kind is DataKind.TABULAR:
        report_constant(values, resolved.columns, source.name)
    elif rows.kind is DataKind.SERIES:
        by_channel = values.swapaxes(1, 2).reshape(-1, values.shape[1])
        report_constant(by_channel, resolved.columns, source.name)
    else:
        refuse_constant(values, source.name)
