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

from isthmus.data.fingerprint import Fingerprint, fingerprint_of_files
from isthmus.data.matrix import form_to_train
from isthmus.data.quality import refuse_empty_columns, report_constant
from isthmus.data.rows import FloatArray, IndexArray
from isthmus.data.splits import PARTS, check_sizes, split_block
from isthmus.data.storage import TABLE_ENDINGS, Source, locate
from isthmus.data.stored import StoredRows, TemporaryFolder
from isthmus.data.stream import read_ahead
from isthmus.data.table_files import TableFiles, open_table_files
from isthmus.data.tables import row_count
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
    table = find_large_table(spec)
    if table is None:
        return None
    folder = TemporaryFolder()
    _logger.info("%s: too large for the memory; its rows go to %s", table.name, folder.path)
    try:
        with _said_of_disk(folder.path), _Storing(folder, table.columns) as storing:
            for path in table.paths:
                storing.begin_file()
                for block in read_ahead(table.blocks(path)):
                    storing.add(block.values, split_block(block.values, spec, seed))
        storing.check(table.name, spec)
    except BaseException:
        folder.remove()
        raise
    split = StoredSplit(
        **{part: storing.rows(part) for part in PARTS}, fingerprint=storing.fingerprint()
    )
    return split, table.settled()


def find_large_table(spec: DataSpec) -> TableFiles | None:
    """Finds a table that is not to be read into memory: files of a folder, or one large file.

    Returns:
        `None` if the rows fit in memory, or have to be there, or are none of a table.

    Raises:
        DataError: If the data cannot be read, or cannot be trained on as they are.
    """
    files = open_table_files(spec)
    if files is not None:
        return files
    source = locate(spec.path)
    if not _may_be_stored(source, spec):
        return None
    form = form_to_train(source, spec)
    if _bytes_in_memory(source, len(form.columns)) <= _MOST_BYTES_IN_MEMORY:
        return None
    return TableFiles(spec.path, (spec.path,), form.columns, spec)


def check_extremes(
    lowest: FloatArray,
    highest: FloatArray,
    counts: Mapping[str, int],
    columns: tuple[str, ...],
    name: str,
    spec: DataSpec,
) -> None:
    """Refuses and logs what only all rows of a table tell.

    Args:
        lowest: Shape (F,): the least of each column over all rows; NaN if it has no value.
        highest: Shape (F,): the greatest.
        counts: Rows of each part.
        columns: Names of the columns.
        name: What messages call the table.
        spec: The job's data.

    Raises:
        DataError: If a column has no value to fill in, nothing varies, or a part is empty.
    """
    extremes = np.stack([lowest, highest])
    if spec.missing == "mean":
        refuse_empty_columns(extremes, columns, name)
    report_constant(extremes, columns, name, rows=sum(counts.values()))
    check_sizes(counts, spec)


@dataclass
class _Storing:
    """The open files, and what only all rows tell."""

    folder: TemporaryFolder
    columns: tuple[str, ...]
    digests: list[Fingerprint] = field(default_factory=list)
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

    def begin_file(self) -> None:
        self.digests.append(Fingerprint())

    def add(self, values: FloatArray, parts: Mapping[str, IndexArray]) -> None:
        self.digests[-1].add(values)
        lowest, highest = np.fmin.reduce(values, axis=0), np.fmax.reduce(values, axis=0)
        self.lowest = lowest if self.lowest is None else np.fmin(self.lowest, lowest)
        self.highest = highest if self.highest is None else np.fmax(self.highest, highest)
        for part, numbers in parts.items():
            rows = values[numbers]
            # Not `tofile`, whose error does not say that the disk is full.
            self._files[part].write(rows.reshape(-1).view(np.uint8).data)
            self.counts[part] += len(rows)

    def check(self, name: str, spec: DataSpec) -> None:
        if self.lowest is None or self.highest is None:
            raise DataError(f"{name}: its files have no rows; give at least one")
        check_extremes(self.lowest, self.highest, self.counts, self.columns, name, spec)

    def fingerprint(self) -> str:
        return fingerprint_of_files([digest.hexdigest() for digest in self.digests])

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
    rows = row_count(source)
    if rows is None:
        return source.path.stat().st_size // _TEXT_OVER_BINARY
    return rows * columns * 4


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
