"""Rows too many for the memory: split into files of rows that training reads a block of."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import IO

import numpy as np

from isthmus.data.columns.quality import refuse_empty_columns, report_constant
from isthmus.data.many import KeptLabels, ManyRows
from isthmus.data.prepared.fingerprint import Fingerprint, fingerprint_of_files
from isthmus.data.prepared.scaling import Moments
from isthmus.data.prepared.splits import (
    PARTS,
    check_sizes,
    is_split_alike_in_blocks,
    split_block,
)
from isthmus.data.prepared.stored import StoredRows, TemporaryFolder, said_of_disk
from isthmus.data.room import fits_when_split, is_count_exact
from isthmus.data.rows import FloatArray, IndexArray, RowSource, read_ahead
from isthmus.data.storage.files import ending_of
from isthmus.data.table_rows import TableRows
from isthmus.errors import DataError
from isthmus.kinds import facts_of
from isthmus.resources import in_units
from isthmus.spec import DataSpec, RowSchema

_logger = logging.getLogger(__name__)
# Below that, a copy in memory costs less than it saves: rows are then drawn in any order.
_MOST_BYTES_IN_MEMORY = 256 << 20
# A number written as text is longer than a float32, and several times shorter when compressed.
_TEXT_OVER_BINARY, _COMPRESSED_TEXT_OVER_BINARY = 2, 0.5


@dataclass(frozen=True, eq=False)
class StoredSplit:
    """The rows of a large source by the parts that `split_rows` would give, in data units.

    Attributes:
        train: Rows to train on.
        validation: Rows for early stopping.
        calibration: Rows for calibrating scores; none if the share of such rows is 0.
        test: Rows that training never sees.
        fingerprint: The sha256 of the data.
        moments: The moments of the training rows.
    """

    train: StoredRows
    validation: StoredRows
    calibration: StoredRows
    test: StoredRows
    fingerprint: str
    moments: Moments


def is_large(source: RowSource, spec: DataSpec) -> bool:
    """Returns whether the rows are not to be read into memory.

    Rows that are ordered in time, grouped by file or paired with others are always read whole, and
    refused if they do not fit. The free memory decides only where the split is the same either way,
    so that a run that is resumed on another machine does not train on rows that it held out.
    """
    if facts_of(source.schema.kind).split_by != "content" or spec.partner_path is not None:
        return False
    size_bytes = _bytes_in_memory(source)
    if size_bytes > _MOST_BYTES_IN_MEMORY:
        return True
    count = _exact_count(source, spec)
    is_alike = count is not None and is_split_alike_in_blocks(count, spec)
    return is_alike and not fits_when_split(size_bytes)


def _exact_count(source: RowSource, spec: DataSpec) -> int | None:
    return source.count if is_count_exact(source, spec) else None


def rows_expected(source: RowSource) -> float:
    """Returns about how many rows a source has, by the size of its files where only that tells."""
    return _bytes_in_memory(source) / (4 * prod(source.schema.shape))


def store_split(source: RowSource, spec: DataSpec, seed: int) -> StoredSplit:
    """Splits rows into files, in one pass over them and in little memory.

    Args:
        source: The rows.
        spec: The settled data section.
        seed: The seed of the split.

    Raises:
        DataError: If the data cannot be read, or cannot be trained on as they are.
    """
    folder = TemporaryFolder()
    try:
        _refuse_no_room(folder.path, source, spec)
    except BaseException:
        folder.remove()
        raise
    _logger.info("%s: too large for the memory; its rows go to %s", spec.shown_path, folder.path)
    try:
        with said_of_disk(folder.path), _Storing(folder, source.schema) as storing:
            for block in read_ahead(source.blocks()):
                storing.add(block.part, block.values, split_block(block.values, spec, seed))
        storing.check(spec)
    except BaseException:
        folder.remove()
        raise
    return StoredSplit(
        **{part: storing.rows(part) for part in PARTS},
        fingerprint=storing.fingerprint(),
        moments=storing.of_train,
    )


def _refuse_no_room(folder: Path, source: RowSource, spec: DataSpec) -> None:
    """Refuses rows that are known not to fit on a disk, before any of them is read."""
    needed, free = _bytes_in_memory(source), shutil.disk_usage(folder).free
    count = _exact_count(source, spec)
    if count is not None and needed > free:
        raise DataError(
            f"{spec.shown_path}: a copy of its {count:,} rows needs "
            f"{in_units(needed)}, and {folder.parent} has {in_units(free)} left; free some, or set "
            "TMPDIR to a folder on a larger disk"
        )


def check_extremes(
    moments: Moments, counts: Mapping[str, int], schema: RowSchema, spec: DataSpec
) -> None:
    """Refuses and logs what only all rows of a source tell.

    Args:
        moments: The moments of all rows.
        counts: The number of rows of each part.
        schema: The schema of the rows.
        spec: The settled data section.

    Raises:
        DataError: If a column has no value to fill in, nothing varies, or a part is empty.
    """
    name = spec.shown_path
    extremes = np.stack([moments.lowest, moments.highest]).astype(np.float32)
    if spec.missing == "mean":
        refuse_empty_columns(extremes, schema.features, name)
    report_constant(extremes, schema.features, name, rows=sum(counts.values()))
    check_sizes(counts, spec)


@dataclass
class _Storing:
    """The open files, and what only all rows tell."""

    folder: TemporaryFolder
    schema: RowSchema
    digests: dict[int, Fingerprint] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PARTS, 0))

    def __enter__(self) -> _Storing:
        self.of_all = self.of_train = Moments.none(self.schema.shape[0])
        with ExitStack() as stack:
            self._files: dict[str, IO[bytes]] = {
                part: stack.enter_context(self._path(part).open("wb")) for part in PARTS
            }
            self._close = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._close.close()

    def add(self, file: int, values: FloatArray, parts: Mapping[str, IndexArray]) -> None:
        self.digests.setdefault(file, Fingerprint()).add(values)
        for part, numbers in parts.items():
            rows = values[numbers]
            moments = Moments.of(rows)
            self.of_all = self.of_all.merged(moments)
            if part == "train":
                self.of_train = self.of_train.merged(moments)
            # Not `tofile`, whose error does not say that the disk is full.
            self._files[part].write(rows.reshape(-1).view(np.uint8).data)
            self.counts[part] += len(rows)

    def check(self, spec: DataSpec) -> None:
        if not sum(self.counts.values()):
            raise DataError(f"{spec.shown_path}: its files have no rows; give at least one")
        check_extremes(self.of_all, self.counts, self.schema, spec)

    def fingerprint(self) -> str:
        return fingerprint_of_files([digest.hexdigest() for digest in self.digests.values()])

    def rows(self, part: str) -> StoredRows:
        shape = (self.counts[part], *self.schema.shape)
        return StoredRows(self._path(part), shape, folder=self.folder)

    def _path(self, part: str) -> Path:
        return self.folder.path / f"{part}.float32"


def _bytes_in_memory(source: RowSource) -> float:
    count = source.count
    if count is not None:
        return 4 * count * prod(source.schema.shape)
    inner = source.inner if isinstance(source, KeptLabels) else source
    parts = inner.parts if isinstance(inner, ManyRows) else (inner,)
    return sum(_bytes_of_text(part.table.path) for part in parts if isinstance(part, TableRows))


def _bytes_of_text(path: Path) -> float:
    is_compressed = "." in ending_of(path.name).removeprefix(".")
    return path.stat().st_size / (
        _COMPRESSED_TEXT_OVER_BINARY if is_compressed else _TEXT_OVER_BINARY
    )
