"""A table that Ray Data reads on a cluster: no process ever holds more of it than a few blocks.

Each file is one task of Ray Data's. The task reads with the same reader as of one file, so that a
row has the same numbers, the same hash and so the same place in the split as anywhere else. Two
passes settle what is known before training: the first counts, checks and sums, the second sums the
squares about the mean and draws the samples. Every epoch of training is a further pass.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from isthmus.data.many import ManyRows
from isthmus.data.prepared.fingerprint import Fingerprint, fingerprint_of_files
from isthmus.data.prepared.scaling import Moments, ScalingStatistics, merge_all, scaling_by
from isthmus.data.prepared.splits import PARTS, hash_rows, sample_block, split_block
from isthmus.data.prepared.storing import check_extremes, is_large
from isthmus.data.rows import FloatArray, RowSource
from isthmus.data.table_rows import TableRows
from isthmus.errors import DataError
from isthmus.spec import DataSpec
from isthmus.types import DataKind, ScalingMode, Shape

if TYPE_CHECKING:
    from ray.data import Dataset

_logger = logging.getLogger(__name__)
ROWS = "rows"
"""The column of the training rows, each a tensor of shape (F,)."""
# What each sample may hold: 8 MiB of float32, or so many rows if those are wide.
_NUMBERS_IN_A_SAMPLE = 1 << 21
_FEWEST_SAMPLED_ROWS = 2048
# Small, so that a shuffle buffer mixes the rows of several blocks, and a small store holds some.
_BLOCK_BYTES = 4 << 20
# A task reads several files side by side, a piece of each in turn, so that rows that lie together
# in a file do not come together; not if there are so few files that nodes would have nothing to do.
_MOST_FILES_OF_A_TASK, _FEWEST_TASKS = 2, 16
_PIECE_BYTES = 1 << 20

Found = TypeVar("Found")


@dataclass(frozen=True, eq=False)
class DistributedRows:
    """The training rows of such a table, scaled as they are read: a recipe, and a sample.

    Attributes:
        files: The files of the table, which hold all rows.
        spec: The settled data section.
        seed: The seed of the job, which decides the split.
        count: The number of rows to train on.
        statistics: The statistics by which they are scaled.
        sample: Shape (n, F), scaled: some of them, or all if those are few; always the same.
    """

    files: tuple[TableRows, ...]
    spec: DataSpec
    seed: int
    count: int
    statistics: ScalingStatistics
    sample: FloatArray

    def __len__(self) -> int:
        return self.count

    @property
    def shape(self) -> Shape:
        """(N, F)."""
        return (self.count, *self.sample.shape[1:])

    def open(self) -> Dataset:
        """Opens the rows as a dataset of Ray's with one column, `ROWS`, on the Ray connected to.

        Each pass over it takes the files in an order of its own, which the seed determines.
        """
        from ray.data import RandomSeedConfig

        order = RandomSeedConfig(seed=self.seed, reseed_after_execution=True)
        files = _open_files(self.files).randomize_block_order(seed=order)
        read = partial(_training_rows, self.files, self.spec, self.statistics, self.seed)
        files_of_a_task = len(self.files) // _FEWEST_TASKS
        at_once = min(_MOST_FILES_OF_A_TASK, max(1, files_of_a_task))
        return _settings(files.map_batches(read, batch_size=at_once))


@dataclass(frozen=True, eq=False)
class DistributedSplit:
    """A table of Ray Data's by the parts that `split_rows` would give.

    Attributes:
        train: Rows to train on, scaled.
        validation: Shape (n, F), data units: rows for early stopping; a sample if there are very
            many, drawn by their content and so always the same.
        calibration: Shape (n, F), data units: rows for calibrating scores; a sample likewise.
        test: Shape (n, F), data units: rows that training never sees; a sample likewise.
        sizes: The number of rows of each part in all.
        moments: The moments of the training rows.
        fingerprint: The sha256 of the data.
    """

    train: DistributedRows
    validation: FloatArray
    calibration: FloatArray
    test: FloatArray
    sizes: dict[str, int]
    moments: Moments
    fingerprint: str


def distributable(source: RowSource, spec: DataSpec) -> tuple[TableRows, ...] | None:
    """Returns the files of a table that Ray Data is to read on a cluster.

    Returns:
        `None` if the rows are not those of several tables or of a large one, or have to be in
        memory: for categories, chosen labels or a second view.
    """
    parts = source.parts if isinstance(source, ManyRows) else (source,)
    tables = tuple(part for part in parts if isinstance(part, TableRows))
    is_plain = (
        len(tables) == len(parts)
        and spec.kind is DataKind.TABULAR
        and spec.paired_path is None
        and tables[0].expansion is None
        and not any("://" in table.address and table.address[:5] != "s3://" for table in tables)
    )
    return tables if is_plain and (len(tables) > 1 or is_large(source, spec)) else None


def distribute_split(files: tuple[TableRows, ...], spec: DataSpec, seed: int) -> DistributedSplit:
    """Splits a table on the Ray that is connected.

    Args:
        files: The files that `distributable` returned.
        spec: The settled data section.
        seed: The seed of the split.

    Raises:
        DataError: If the data cannot be read, or cannot be trained on as they are.
    """
    width = files[0].schema.shape[0]
    found = _each_file(files, spec, partial(_summarise, spec, seed))
    sizes = {part: sum(each.sizes[part] for each in found) for part in PARTS}
    of_train = merge_all(width, (each.of_train for each in found))
    of_all = merge_all(width, (each.of_all for each in found))
    check_extremes(of_all, sizes, files[0].schema, spec)
    wanted = max(_FEWEST_SAMPLED_ROWS, _NUMBERS_IN_A_SAMPLE // width)
    shares = {part: wanted / max(size, 1) for part, size in sizes.items()}
    drawn = _each_file(files, spec, partial(_sample, spec, seed, shares))
    # A part's rows are taken out of their files' samples: the driver holds them once, not twice.
    samples = {part: _joined([each.pop(part) for each in drawn], seed) for part in PARTS}
    for part in ("validation", "calibration", "test"):
        if len(samples[part]) < sizes[part]:
            _logger.info(
                "%s: %d of its %d %s rows are used, a sample that is always the same",
                *(spec.shown_path, len(samples[part]), sizes[part], part),
            )
    statistics = scaling_by(of_train, ScalingMode(spec.scaling), DataKind.TABULAR, 1)
    return DistributedSplit(
        train=DistributedRows(
            files=files,
            spec=spec,
            seed=seed,
            count=sizes["train"],
            statistics=statistics,
            sample=statistics.scaled(samples["train"]),
        ),
        validation=samples["validation"],
        calibration=samples["calibration"],
        test=samples["test"],
        sizes=sizes,
        moments=of_train,
        fingerprint=fingerprint_of_files([each.fingerprint for each in found]),
    )


# -- what is done with each file, in a task of Ray Data's -----------------------------------------


@dataclass(frozen=True)
class _FileSummary:
    """The results of the first pass over one file.

    Attributes:
        fingerprint: The sha256 of its rows.
        sizes: The number of rows of each part.
        of_all: The moments of all its rows.
        of_train: The moments of its training rows.
    """

    fingerprint: str
    sizes: dict[str, int]
    of_all: Moments
    of_train: Moments


def _summarise(spec: DataSpec, seed: int, file: TableRows) -> _FileSummary:
    digest = Fingerprint()
    of_all = of_train = Moments.none(file.schema.shape[0])
    sizes = dict.fromkeys(PARTS, 0)
    for values in _pieces(file):
        digest.add(values)
        for part, numbers in split_block(values, spec, seed).items():
            sizes[part] += len(numbers)
            moments = Moments.of(values[numbers])
            of_all = of_all.merged(moments)
            if part == "train":
                of_train = of_train.merged(moments)
    return _FileSummary(digest.hexdigest(), sizes, of_all, of_train)


def _sample(
    spec: DataSpec, seed: int, shares: dict[str, float], file: TableRows
) -> dict[str, FloatArray]:
    """Draws a sample of each part of a file, each of shape (n, F), data units."""
    drawn: dict[str, list[FloatArray]] = {part: [] for part in PARTS}
    for values in _pieces(file):
        for part, numbers in split_block(values, spec, seed).items():
            rows = values[numbers]
            drawn[part].append(rows[sample_block(rows, shares[part], seed)])
    empty = np.empty((0, *file.schema.shape), dtype=np.float32)
    return {part: np.concatenate([empty, *drawn[part]]) for part in PARTS}


def _training_rows(
    files: tuple[TableRows, ...],
    spec: DataSpec,
    statistics: ScalingStatistics,
    seed: int,
    batch: dict[str, NDArray[Any]],
) -> Iterator[dict[str, FloatArray]]:
    """Reads the training rows of some files, a piece of each in turn."""
    unread = [_pieces(files[int(number)]) for number in batch["number"]]
    while unread:
        for each in tuple(unread):
            piece = next(each, None)
            if piece is None:
                unread.remove(each)
                continue
            train = piece[split_block(piece, spec, seed)["train"]]
            if len(train):
                yield {ROWS: statistics.scaled(train)}


def _pieces(file: TableRows) -> Iterator[FloatArray]:
    """Reads a file in short pieces: what is computed of one takes a multiple of its memory."""
    if file.count == 0:
        return
    rows = max(1, _PIECE_BYTES // (4 * file.schema.shape[0]))
    for block in file.blocks():
        for first in range(0, len(block.values), rows):
            yield block.values[first : first + rows]


# -- what the driver makes of it ------------------------------------------------------------------


def _joined(samples: Sequence[FloatArray], seed: int) -> FloatArray:
    """Returns the samples of all files, mixed in an order that their content alone determines."""
    # Hashing takes several times the memory of its rows, so it goes file by file.
    hashes = np.concatenate([hash_rows(rows, seed) for rows in samples])
    joined: FloatArray = np.concatenate(samples)[np.argsort(hashes, kind="stable")]
    return joined


def _each_file(
    files: tuple[TableRows, ...], spec: DataSpec, find: Callable[[TableRows], Found]
) -> list[Found]:
    """Does something with each file, side by side, and returns what came of it in their order.

    Raises:
        DataError: The fault of the first file that has one.
    """
    from ray.exceptions import RayError

    def find_in(row: dict[str, Any]) -> dict[str, Any]:
        number = int(row["number"])
        try:
            return {"number": number, "found": find(files[number]), "fault": ""}
        except DataError as error:
            return {"number": number, "found": None, "fault": str(error)}

    try:
        # Objects of Python's own travel in a column as they are.
        rows = _settings(_open_files(files).map(find_in)).take_all()
    except RayError as error:
        raise DataError(
            f"{spec.shown_path}: Ray Data could not read it ({str(error).splitlines()[0]}); the "
            "log of the cluster says more"
        ) from error
    rows.sort(key=lambda row: int(row["number"]))
    fault = next((row["fault"] for row in rows if row["fault"]), None)
    if fault is not None:
        raise DataError(fault)
    return [row["found"] for row in rows]


def _open_files(files: tuple[TableRows, ...]) -> Dataset:
    """Returns the files of a table as a dataset: a row, a block and so a task each."""
    from ray.data import from_items

    items = [{"number": number} for number in range(len(files))]
    return from_items(items, override_num_blocks=len(items))


def _settings(dataset: Dataset) -> Dataset:
    dataset.context.target_max_block_size = _BLOCK_BYTES
    dataset.context.enable_progress_bars = False
    return dataset
