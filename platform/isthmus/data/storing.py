"""A table too large for the memory, split into files of rows that training reads a block of."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow.parquet as pq

from isthmus.data.fingerprint import Fingerprint
from isthmus.data.matrix import form_to_train
from isthmus.data.quality import refuse_empty_columns, report_constant
from isthmus.data.rows import FloatArray, IndexArray
from isthmus.data.splits import PARTS, check_sizes, split_block
from isthmus.data.storage import TABLE_ENDINGS, Source, locate
from isthmus.data.stored import StoredRows, TemporaryFolder
from isthmus.data.stream import read_ahead
from isthmus.data.table_stream import TableStream
from isthmus.data.tables import said_plainly
from isthmus.errors import DataError
from isthmus.spec import DataSpec
from isthmus.types import DataKind, ScalingMode

_logger = logging.getLogger(__name__)
# Below that, a copy in memory costs less than it saves: rows are then drawn in any order.
_MOST_BYTES_IN_MEMORY = 256 << 20
# A number written as text is longer than a float32.
_TEXT_OVER_BINARY = 2


@dataclass(frozen=True, eq=False)
class StoredSplit:
    """The rows of a large table by the parts that `split_rows` would give, in data units.

    Attributes:
        train: Rows to train on.
        validation: Rows for early stopping and for calibrating scores.
        test: Rows that training never sees.
        fingerprint: sha256 of the data.
    """

    train: StoredRows
    validation: StoredRows
    test: StoredRows
    fingerprint: str


def store_split(spec: DataSpec, seed: int) -> tuple[StoredSplit, DataSpec] | None:
    """Splits a large csv or parquet into files, in one pass over it and in little memory.

    Returns:
        The rows, and the spec with what the data settle, as of `read_rows`; `None` if the rows
        fit in memory, or have to be there: for categories, a second view or chosen labels.

    Raises:
        DataError: If the data cannot be read, or cannot be trained on as they are.
    """
    source = locate(spec.path)
    if not _may_be_stored(source, spec):
        return None
    form = form_to_train(source, spec)
    if _bytes_in_memory(source, len(form.columns)) <= _MOST_BYTES_IN_MEMORY:
        return None
    scaling = ScalingMode.STANDARD if spec.scaling == "auto" else spec.scaling
    settled = {"kind": DataKind.TABULAR, "scaling": scaling, "columns": form.columns}
    stream = TableStream(form, spec, None)
    folder = TemporaryFolder()
    _logger.info("%s: too large for the memory; its rows go to %s", source.name, folder.path)
    try:
        with _said_of_disk(folder.path), _Storing(folder, form.columns) as storing:
            for block in read_ahead(stream.blocks()):
                storing.add(block.values, split_block(block.values, spec, seed))
        storing.check(source, spec)
    except BaseException:
        folder.remove()
        raise
    split = StoredSplit(
        **{part: storing.rows(part) for part in PARTS}, fingerprint=storing.fingerprint.hexdigest()
    )
    return split, spec.model_copy(update=settled)


@dataclass
class _Storing:
    """The open files, and what only all rows tell."""

    folder: TemporaryFolder
    columns: tuple[str, ...]
    fingerprint: Fingerprint = field(default_factory=Fingerprint)
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PARTS, 0))
    lowest: FloatArray | None = None
    highest: FloatArray | None = None

    def __enter__(self) -> _Storing:
        with ExitStack() as stack:
            self._files: dict[str, IO[bytes]] = {
                part: stack.enter_context(self._path(part).open("wb")) for part in PARTS
            }
            self._close = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._close.close()

    def add(self, values: FloatArray, parts: Mapping[str, IndexArray]) -> None:
        self.fingerprint.add(values)
        lowest, highest = np.fmin.reduce(values, axis=0), np.fmax.reduce(values, axis=0)
        self.lowest = lowest if self.lowest is None else np.fmin(self.lowest, lowest)
        self.highest = highest if self.highest is None else np.fmax(self.highest, highest)
        for part, numbers in parts.items():
            rows = values[numbers]
            # Not `tofile`, whose error does not say that the disk is full.
            self._files[part].write(rows.reshape(-1).view(np.uint8).data)
            self.counts[part] += len(rows)

    def check(self, source: Source, spec: DataSpec) -> None:
        assert self.lowest is not None  # noqa: S101 (an empty table is refused as it is read)
        assert self.highest is not None  # noqa: S101
        extremes = np.stack([self.lowest, self.highest])
        if spec.missing == "mean":
            refuse_empty_columns(extremes, self.columns, source.name)
        report_constant(extremes, self.columns, source.name, rows=sum(self.counts.values()))
        check_sizes(self.counts, spec)

    def rows(self, part: str) -> StoredRows:
        shape = (self.counts[part], len(self.columns))
        return StoredRows(self._path(part), shape, folder=self.folder)

    def _path(self, part: str) -> Path:
        return self.folder.path / f"{part}.float32"


def _may_be_stored(source: Source, spec: DataSpec) -> bool:
    is_table = not source.is_bundled and source.ending in TABLE_ENDINGS
    is_tabular = spec.kind == DataKind.TABULAR or (spec.kind == "auto" and spec.window is None)
    needs_memory = spec.categories or spec.paired_path is not None or spec.keep_labels is not None
    standard = spec.scaling in ("auto", ScalingMode.STANDARD)
    # What is wrong with such a job is said where all rows are in memory.
    return is_table and is_tabular and not needs_memory and (spec.missing != "mean" or standard)


def _bytes_in_memory(source: Source, columns: int) -> int:
    if source.ending != ".parquet":
        return source.path.stat().st_size // _TEXT_OVER_BINARY
    with said_plainly(source):
        return int(pq.read_metadata(source.path).num_rows) * columns * 4


@contextmanager
def _said_of_disk(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DataError(
            f"{folder.parent}: has no room for a copy of the rows; free some, or set TMPDIR to a "
            "folder on a larger disk"
        ) from error
