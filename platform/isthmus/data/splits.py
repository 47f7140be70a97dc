"""Which rows train, validate and test: the same rows every time, also when the data have grown."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.data.rows import FloatArray, IndexArray, Rows
from isthmus.errors import DataError
from isthmus.spec import DataSpec

_logger = logging.getLogger(__name__)
PARTS = ("train", "validation", "test")
_HASHED_AT_ONCE = 4_000_000
# Keeps the draw of samples apart from the split, whose seeds are below it.
_SAMPLE_STREAM = 1 << 40
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, eq=False)
class Split:
    """Numbers of the rows in each part, each sorted and counted from 0.

    Attributes:
        train: Rows to train on.
        validation: Rows for early stopping and for calibrating scores.
        test: Rows that training never sees.
    """

    train: IndexArray
    validation: IndexArray
    test: IndexArray


def split_rows(rows: Rows, spec: DataSpec, seed: int) -> Split:
    """Splits rows by a hash of their content and the seed, or by time where they are ordered.

    By the hash, a row that was held out once stays held out when rows are added or moved, and
    equal rows never straddle the split. Rows of one group, which is a file, go by the group's
    hash, if there are three files or more. Ordered rows train on the earliest steps of each series
    and test on its latest; windows across a border are dropped.

    Raises:
        DataError: If a part would be empty.
    """
    window = rows.values.shape[-1]
    files = 0 if rows.groups is None else len(np.unique(rows.groups))
    if rows.groups is not None and files >= len(PARTS):
        split = _by_group(rows.groups, spec, seed)
        found, needed = f"{files} files", f"about {_enough(spec)} files"
    elif rows.starts is not None:
        lengths = _lengths(rows, window)
        split = _by_time(rows.starts, lengths, window, spec)
        found, needed = _steps_found_and_needed(lengths, window, spec)
        if files:
            found = f"{files} file(s) of at most {found}"
    else:
        split = _by_number(_uniform(hash_rows(rows.values, seed)), spec)
        found, needed = f"{len(rows)} rows", f"about {_enough(spec)} different rows"
    sizes = {part: len(getattr(split, part)) for part in PARTS}
    _refuse_empty(sizes, found, needed, spec)
    _report_uneven(
        sizes, len(rows), spec, together="windows of one file" if files else "equal rows"
    )
    return split


def _lengths(rows: Rows, window: int) -> IndexArray:
    if rows.lengths is not None:
        return rows.lengths
    starts = rows.starts if rows.starts is not None else np.zeros(0, np.int64)
    return np.full(len(starts), int(starts.max()) + window, dtype=np.int64)


def _by_group(groups: IndexArray, spec: DataSpec, seed: int) -> Split:
    """Splits files by a hash of their names; each part has one file at least.

    Where few files leave a part empty by their hash, the files are ranked by it instead: a file
    that is added then changes the part of few others.
    """
    numbers = _uniform(_mix(groups.view(np.uint64), seed))
    split = _by_number(numbers, spec)
    if all(len(getattr(split, part)) for part in PARTS):
        return split
    ranked = np.unique(numbers)
    count = len(ranked)
    for_test = max(1, round(count * spec.test_fraction))
    for_validation = max(1, round(count * spec.validation_fraction))
    while for_test + for_validation >= count:
        for_test, for_validation = max(1, for_test - 1), max(1, for_validation - 1)
    rank = np.searchsorted(ranked, numbers)
    return Split(
        train=np.flatnonzero(rank >= for_test + for_validation),
        validation=np.flatnonzero((rank >= for_test) & (rank < for_test + for_validation)),
        test=np.flatnonzero(rank < for_test),
    )


def split_block(values: FloatArray, spec: DataSpec, seed: int) -> dict[str, IndexArray]:
    """The split of some rows that have no order, as `split_rows` makes it of all of them.

    Returns:
        Numbers of the rows in each of `PARTS`, counted from the first of these.
    """
    split = _by_number(_uniform(hash_rows(values, seed)), spec)
    return {part: getattr(split, part) for part in PARTS}


def sample_block(values: FloatArray, share: float, seed: int) -> IndexArray:
    """Draws a share of some rows by a second hash of their content: the same rows every time.

    The draw says nothing of the part of the split that a row is in.

    Returns:
        Numbers of about `share` of the rows, all of them from 1 on; sorted, counted from 0.
    """
    if share >= 1:
        return np.arange(len(values))
    return np.flatnonzero(_uniform(hash_rows(values, seed + _SAMPLE_STREAM)) < share)


def check_sizes(sizes: Mapping[str, int], spec: DataSpec) -> None:
    """What `split_rows` refuses and logs, of the sizes of the parts.

    Raises:
        DataError: If a part is empty.
    """
    count = sum(sizes.values())
    _refuse_empty(sizes, f"{count} rows", f"about {_enough(spec)} different rows", spec)
    _report_uneven(sizes, count, spec, together="equal rows")


class TooFewRows(DataError):
    """So few rows are there that a part of the split would be empty."""


def _refuse_empty(sizes: Mapping[str, int], found: str, needed: str, spec: DataSpec) -> None:
    for part, size in sizes.items():
        if not size:
            raise TooFewRows(
                f"{spec.shown_path}: {found} leave none for {part}; {needed} are needed, or other "
                "values of data.validation_fraction and data.test_fraction"
            )


def _report_uneven(sizes: Mapping[str, int], count: int, spec: DataSpec, *, together: str) -> None:
    """Logs a held-out part that is far from its share, because many rows went there together."""
    for part, fraction in (
        ("validation", spec.validation_fraction),
        ("test", spec.test_fraction),
    ):
        share = sizes[part] / count
        if abs(share - fraction) > 0.05 + 3 * math.sqrt(fraction * (1 - fraction) / count):
            _logger.warning(
                "%s: %.0f%% of the rows are for %s, not %.0f%%: %s stay together",
                *(spec.shown_path, 100 * share, part, 100 * fraction, together),
            )


def _by_number(numbers: NDArray[np.float64], spec: DataSpec) -> Split:
    is_test = numbers < spec.test_fraction
    is_validation = ~is_test & (numbers < spec.test_fraction + spec.validation_fraction)
    return Split(
        train=np.flatnonzero(~is_test & ~is_validation),
        validation=np.flatnonzero(is_validation),
        test=np.flatnonzero(is_test),
    )


def _by_time(starts: IndexArray, lengths: IndexArray, window: int, spec: DataSpec) -> Split:
    ends = starts + window
    validation_from = np.round(lengths * _train_fraction(spec))
    test_from = np.round(lengths * (1 - spec.test_fraction))
    return Split(
        train=np.flatnonzero(ends <= validation_from),
        validation=np.flatnonzero((starts >= validation_from) & (ends <= test_from)),
        test=np.flatnonzero(starts >= test_from),
    )


def _train_fraction(spec: DataSpec) -> float:
    return 1 - spec.validation_fraction - spec.test_fraction


def _smallest_fraction(spec: DataSpec) -> float:
    return min(spec.validation_fraction, spec.test_fraction, _train_fraction(spec))


def _enough(spec: DataSpec) -> int:
    # With that many rows the smallest part is empty for one seed in 150 (e^-5).
    return math.ceil(5 / _smallest_fraction(spec))


def _steps_found_and_needed(lengths: IndexArray, window: int, spec: DataSpec) -> tuple[str, str]:
    stride = spec.stride or window
    needed = math.ceil((window + stride) / _smallest_fraction(spec))
    return f"{int(lengths.max())} steps", f"about {needed} steps"


def hash_rows(values: FloatArray, seed: int) -> NDArray[np.uint64]:
    """Returns a number for each row, shape (N,), that depends on its content and the seed only.

    Source: Dietzfelbinger 1996, "Universal hashing and k-wise independence", STACS: a sum of the
    row's 32-bit words times random 64-bit numbers.
    """
    flat = values.reshape(len(values), -1)
    width = flat.shape[1]
    factors = _mix(np.arange(1, width + 1, dtype=np.uint64), seed) | np.uint64(1)
    hashes = np.empty(len(flat), dtype=np.uint64)
    at_once = max(1, _HASHED_AT_ONCE // width)
    for first in range(0, len(flat), at_once):
        block = flat[first : first + at_once] + np.float32(0)  # -0.0 becomes 0.0
        block[np.isnan(block)] = np.nan  # NaN has many forms
        hashes[first : first + at_once] = block.view(np.uint32).astype(np.uint64) @ factors
    return _mix(hashes, seed)


def _mix(numbers: NDArray[np.uint64], seed: int) -> NDArray[np.uint64]:
    """Spreads numbers evenly over 64 bits, differently for each seed.

    Source: the finaliser of splitmix64, Steele et al. 2014, doi:10.1145/2714064.2660195.
    """
    # Arrays wrap around in silence, as is meant here; a scalar would warn.
    mixed = numbers + np.array([seed + 1], dtype=np.uint64) * _GOLDEN
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))


def _uniform(hashes: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Hashes as numbers in [0, 1)."""
    return (hashes >> np.uint64(11)).astype(np.float64) * 2.0**-53
