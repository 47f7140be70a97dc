"""A table that Ray Data reads on a cluster: no process ever holds more of it than a few blocks.

Each file is one task of Ray Data's. The task reads with the same reader as of one file, so that a
row has the same numbers, the same hash and so the same place in the split as anywhere else. Two
passes settle what is known before training: the first counts, checks and sums, the second sums the
squares about the mean and draws the samples. Every epoch of training is a further pass.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from isthmus.data.fingerprint import Fingerprint, fingerprint_of_files
from isthmus.data.rows import FloatArray
from isthmus.data.scaling import ScalingStatistics, no_scaling, settle_scaling
from isthmus.data.splits import PARTS, hash_rows, sample_block, split_block
from isthmus.data.storing import check_extremes
from isthmus.data.table_files import TableFiles
from isthmus.errors import DataError
from isthmus.types import ScalingMode, Shape

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
        table: Where all rows lie.
        seed: The job's, which decides the split.
        count: How many rows there are to train on.
        statistics: How they are scaled.
        sample: Shape (n, F), scaled: some of them, or all if those are few; always the same.
    """

    table: TableFiles
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
        files = _open_files(self.table).randomize_block_order(seed=order)
        read = partial(_training_rows, self.table, self.statistics, self.seed)
        files_of_a_task = len(self.table.paths) // _FEWEST_TASKS
        at_once = min(_MOST_FILES_OF_A_TASK, max(1, files_of_a_task))
        return _settings(files.map_batches(read, batch_size=at_once))


@dataclass(frozen=True, eq=False)
class DistributedSplit:
    """A table of Ray Data's by the parts that `split_rows` would give.

    Attributes:
        train: Rows to train on, scaled.
        validation: Shape (n, F), data units: rows for early stopping and for calibrating scores;
            a sample if there are very many, drawn by their content and so always the same.
        test: Shape (n, F), data units: rows that training never sees; a sample likewise.
        sizes: How many rows each part has in all.
        statistics: How rows are scaled.
        fingerprint: sha256 of the data.
    """

    train: DistributedRows
    validation: FloatArray
    test: FloatArray
    sizes: dict[str, int]
    statistics: ScalingStatistics
    fingerprint: str


def distribute_split(table: TableFiles, seed: int) -> DistributedSplit:
    """Splits a table on the Ray that is connected.

    Raises:
        DataError: If the data cannot be read, or cannot be trained on as they are.
    """
    scaling = ScalingMode(table.settled().scaling)
    summary = _Summary.of(_each_file(table, partial(_summarise, table, seed)))
    check_extremes(
        summary.lowest, summary.highest, summary.sizes, table.columns, table.name, table.spec
    )
    width = len(table.columns)
    wanted = max(_FEWEST_SAMPLED_ROWS, _NUMBERS_IN_A_SAMPLE // width)
    shares = {part: wanted / size for part, size in summary.sizes.items()}
    mean = summary.sums / np.where(summary.finite > 0, summary.finite, np.nan)
    second = _each_file(table, partial(_sample, table, seed, mean, shares))
    statistics = _statistics(scaling, mean, summary, second)
    samples = {part: _joined([each.rows[part] for each in second], seed) for part in PARTS}
    for part in ("validation", "test"):
        if len(samples[part]) < summary.sizes[part]:
            _logger.info(
                "%s: %d of its %d %s rows are used, a sample that is always the same",
                table.name,
                len(samples[part]),
                summary.sizes[part],
                part,
            )
    return DistributedSplit(
        train=DistributedRows(
            table=table,
            seed=seed,
            count=summary.sizes["train"],
            statistics=statistics,
            sample=statistics.scaled(samples["train"]),
        ),
        validation=samples["validation"],
        test=samples["test"],
        sizes=summary.sizes,
        statistics=statistics,
        fingerprint=fingerprint_of_files(summary.fingerprints),
    )


# -- what is done with each file, in a task of Ray Data's -----------------------------------------


@dataclass
class _FileSummary:
    """What the first pass finds in one file; the last four are of its training rows.

    Attributes:
        fingerprint: sha256 of its rows.
        sizes: How many rows each part has.
        lowest: Shape (F,): the least of each column over all rows; NaN if it has no value.
        highest: Shape (F,): the greatest.
        finite: Shape (F,): how many values each column has.
        sums: Shape (F,): their sum.
        train_lowest: Shape (F,): the least of them.
        train_highest: Shape (F,): the greatest.
    """

    fingerprint: str
    sizes: dict[str, int]
    lowest: FloatArray
    highest: FloatArray
    finite: NDArray[np.float64]
    sums: NDArray[np.float64]
    train_lowest: FloatArray
    train_highest: FloatArray


def _summarise(table: TableFiles, seed: int, path: str) -> _FileSummary:
    width = len(table.columns)
    none = np.full(width, np.nan, dtype=np.float32)
    found = _FileSummary(
        "", dict.fromkeys(PARTS, 0), none, none, np.zeros(width), np.zeros(width), none, none
    )
    digest = Fingerprint()
    for values in _pieces(table, path):
        digest.add(values)
        parts = split_block(values, table.spec, seed)
        for part, numbers in parts.items():
            found.sizes[part] += len(numbers)
        train = values[parts["train"]]
        found.finite += np.isfinite(train).sum(axis=0)
        found.sums += np.nansum(train, axis=0, dtype=float)
        found.lowest = np.fmin(found.lowest, _least(values))
        found.highest = np.fmax(found.highest, _greatest(values))
        found.train_lowest = np.fmin(found.train_lowest, _least(train))
        found.train_highest = np.fmax(found.train_highest, _greatest(train))
    found.fingerprint = digest.hexdigest()
    return found


def _least(values: FloatArray) -> FloatArray:
    """The least of each column; NaN if it has no value, or there is no row."""
    least: FloatArray = np.fmin.reduce(values, axis=0, initial=np.nan)
    return least


def _greatest(values: FloatArray) -> FloatArray:
    """The greatest of each column; NaN if it has no value, or there is no row."""
    greatest: FloatArray = np.fmax.reduce(values, axis=0, initial=np.nan)
    return greatest


@dataclass
class _FileSample:
    """What the second pass finds in one file.

    Attributes:
        squares: Shape (F,): of the training rows, summed about the mean.
        rows: A sample of each part, each of shape (n, F), data units.
    """

    squares: NDArray[np.float64]
    rows: dict[str, FloatArray]


def _sample(
    table: TableFiles,
    seed: int,
    mean: NDArray[np.float64],
    shares: dict[str, float],
    path: str,
) -> _FileSample:
    squares = np.zeros(len(table.columns))
    drawn: dict[str, list[FloatArray]] = {part: [] for part in PARTS}
    for values in _pieces(table, path):
        for part, numbers in split_block(values, table.spec, seed).items():
            rows = values[numbers]
            if part == "train":
                squares += np.nansum(np.square(rows.astype(np.float64) - mean), axis=0)
            drawn[part].append(rows[sample_block(rows, shares[part], seed)])
    empty = np.empty((0, len(table.columns)), dtype=np.float32)
    return _FileSample(squares, {part: np.concatenate([empty, *drawn[part]]) for part in PARTS})


def _training_rows(
    table: TableFiles, statistics: ScalingStatistics, seed: int, files: dict[str, NDArray[Any]]
) -> Iterator[dict[str, FloatArray]]:
    """Reads the training rows of some files, a piece of each in turn."""
    unread = [_pieces(table, str(path)) for path in files["path"]]
    while unread:
        for each in tuple(unread):
            piece = next(each, None)
            if piece is None:
                unread.remove(each)
                continue
            train = piece[split_block(piece, table.spec, seed)["train"]]
            if len(train):
                yield {ROWS: statistics.scaled(train)}


def _pieces(table: TableFiles, path: str) -> Iterator[FloatArray]:
    """Reads a file in short pieces: what is computed of one takes a multiple of its memory."""
    rows = max(1, _PIECE_BYTES // (4 * len(table.columns)))
    for block in table.blocks(path):
        for first in range(0, len(block.values), rows):
            yield block.values[first : first + rows]


# -- what the driver makes of it ------------------------------------------------------------------


@dataclass
class _Summary:
    """What the first pass finds in all files, as `_FileSummary` has it of one."""

    fingerprints: list[str] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    lowest: FloatArray = field(default_factory=lambda: np.empty(0, np.float32))
    highest: FloatArray = field(default_factory=lambda: np.empty(0, np.float32))
    finite: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    sums: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    train_lowest: FloatArray = field(default_factory=lambda: np.empty(0, np.float32))
    train_highest: FloatArray = field(default_factory=lambda: np.empty(0, np.float32))

    @classmethod
    def of(cls, files: Sequence[_FileSummary]) -> _Summary:
        """Sums up in the order of the files, so that the last digit is the same every time."""
        return cls(
            fingerprints=[each.fingerprint for each in files],
            sizes={part: sum(each.sizes[part] for each in files) for part in PARTS},
            lowest=np.fmin.reduce([each.lowest for each in files]),
            highest=np.fmax.reduce([each.highest for each in files]),
            finite=np.sum([each.finite for each in files], axis=0),
            sums=np.sum([each.sums for each in files], axis=0),
            train_lowest=np.fmin.reduce([each.train_lowest for each in files]),
            train_highest=np.fmax.reduce([each.train_highest for each in files]),
        )


def _statistics(
    mode: ScalingMode,
    mean: NDArray[np.float64],
    summary: _Summary,
    second: Sequence[_FileSample],
) -> ScalingStatistics:
    """The statistics that `fit_scaling` gives of the same training rows."""
    if mode is ScalingMode.NONE:
        return no_scaling(1)
    if mode is ScalingMode.STANDARD:
        squares = np.sum([each.squares for each in second], axis=0)
        count = np.where(summary.finite > 0, summary.finite, np.nan)
        return settle_scaling(mean, np.sqrt(squares / count))
    lowest = summary.train_lowest.astype(np.float64)
    return settle_scaling(lowest, summary.train_highest.astype(np.float64) - lowest)


def _joined(samples: Sequence[FloatArray], seed: int) -> FloatArray:
    """The samples of all files, mixed in an order that their content alone determines."""
    rows = np.concatenate(samples)
    return rows[np.argsort(hash_rows(rows, seed), kind="stable")]


def _each_file(table: TableFiles, find: Callable[[str], Found]) -> list[Found]:
    """Does something with each file, side by side, and returns what came of it in their order.

    Raises:
        DataError: What was said of the first file with a fault.
    """
    from ray.exceptions import RayError

    def find_in(row: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"number": row["number"], "found": find(row["path"]), "fault": ""}
        except DataError as error:
            return {"number": row["number"], "found": None, "fault": str(error)}

    try:
        # Objects of Python's own travel in a column as they are.
        rows = _settings(_open_files(table).map(find_in)).take_all()
    except RayError as error:
        raise DataError(
            f"{table.name}: Ray Data could not read it ({str(error).splitlines()[0]}); the log of "
            "the cluster says more"
        ) from error
    rows.sort(key=lambda row: int(row["number"]))
    fault = next((row["fault"] for row in rows if row["fault"]), None)
    if fault is not None:
        raise DataError(fault)
    return [row["found"] for row in rows]


def _open_files(table: TableFiles) -> Dataset:
    """The files of a table as a dataset: a row, a block and so a task each."""
    from ray.data import from_items

    items = [{"number": number, "path": path} for number, path in enumerate(table.paths)]
    return from_items(items, override_num_blocks=len(items))


def _settings(dataset: Dataset) -> Dataset:
    dataset.context.target_max_block_size = _BLOCK_BYTES
    dataset.context.enable_progress_bars = False
    return dataset
