"""Decides which rows train, validate, calibrate and test: the same ones when data have grown."""

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
_FRACTIONS = "data.validation_fraction, calibration_fraction and test_fraction"
PARTS = ("train", "validation", "calibration", "test")
_AUTO_CALIBRATION = 0.1
# With fewer calibration rows, p-values would be coarse and rates rough, and the rows are missed in
# training.
_FEWEST_CALIBRATION_ROWS = 100
# Of more rows, training an ensemble to calibrate on them all would take too long.
_MOST_COUNTED = 20_000
_FEWEST_ROWS = 10
# Of fewer files hardly any would be left to train on.
_FEWEST_FILES = 5
_HASHED_AT_ONCE = 4_000_000
# Keeps the draw of samples apart from the split, whose seeds are below it.
_SAMPLE_STREAM = 1 << 40
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, eq=False)
class Split:
    """Numbers of the rows in each part, each sorted and counted from 0.

    Attributes:
        train: Rows to train on.
        validation: Rows for early stopping.
        calibration: Rows whose scores say how normal rows score; none if `calibration_fraction`
            is 0.
        test: Rows that training never sees.
        calibration_fraction: `data.calibration_fraction`, with `auto` settled.
    """

    train: IndexArray
    validation: IndexArray
    calibration: IndexArray
    test: IndexArray
    calibration_fraction: float


def split_rows(rows: Rows, spec: DataSpec, seed: int) -> Split:
    """Splits rows by a hash of their content and the seed, or by time where they are ordered.

    By the hash, a row that was held out once stays held out when rows are added or moved, and
    equal rows never straddle the split. Where few rows leave a part empty, they are ranked by the
    hash, and each part has its share. Rows of one group, which is a file, go by the group's hash,
    if there are as many files as parts. Rows with clean versions are split as these: see
    `partners.split_by`. Ordered rows train on the earliest steps of each series
    and test on its latest; windows across a border are dropped.

    Raises:
        DataError: If a part would be empty.
    """
    fraction = spec.calibration_fraction
    if fraction == "auto":
        fraction = 0.0 if _is_small(rows, spec) else auto_calibration_fraction(spec)
    found = _split(rows, settled(spec, fraction), seed)
    if spec.calibration_fraction == "auto" and fraction and found.empty_part is not None:
        found = _split(rows, settled(spec, 0.0), seed)
    if found.empty_part is not None:
        raise DataError(
            f"{spec.shown_path}: {found.count} leave none for {found.empty_part}; {found.needed} "
            f"are needed, or other values of {_FRACTIONS}"
        )
    together = "equal rows" if rows.groups is None else "windows of one file"
    if spec.clean_path is not None:
        together = "noisy versions of one clean " + ("row" if rows.groups is None else "file")
    sizes = {part: len(getattr(found.split, part)) for part in PARTS}
    _report_uneven(
        *(sizes, len(rows), settled(spec, found.split.calibration_fraction)),
        together=together,
    )
    return found.split


def split_images(contents: IndexArray, spec: DataSpec, seed: int) -> Split:
    """Splits images of any size by the hashes of their content, shape (N,), and the seed.

    An image stays in its part when others are added; where images are few, they are ranked by the
    hash, and each part has one at least.

    Raises:
        DataError: If there are fewer images than parts.
    """
    needed = len(_shares(spec))
    split = _by_hash(_uniform(_mix(contents.view(np.uint64), seed)), spec, needed)
    if any(not len(getattr(split, part)) for part in _shares(spec)):
        raise DataError(
            f"{spec.shown_path}: {len(np.unique(contents))} different image(s), of which "
            f"{needed} are needed: one each for {', '.join(_shares(spec))}; give more, or cut a "
            "large one into several files"
        )
    _report_uneven(
        {part: len(getattr(split, part)) for part in PARTS},
        *(len(contents), spec),
        together="equal images",
    )
    return split


def joined_by_either(first: IndexArray, second: IndexArray | None = None) -> IndexArray:
    """Returns a hash for each pair, which all pairs have in common that share a content.

    Args:
        first: Shape (N,). The hash of the content of each first view.
        second: The same of the second views, if there are any.

    Returns:
        Shape (N,). The lowest hash of all those that are joined, directly or through others.
    """
    if second is None:
        return first
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    hashes, numbers = np.unique(np.concatenate([first, second]), return_inverse=True)
    ends = numbers.reshape(2, -1)
    graph = coo_array((np.ones(len(first)), (ends[0], ends[1])), shape=(len(hashes),) * 2)
    group = connected_components(graph, directed=False)[1]
    lowest = np.unique(group, return_index=True)[1]  # hashes are sorted
    return np.asarray(hashes[lowest][group[ends[0]]], dtype=np.int64)


def is_ordered(rows: Rows) -> bool:
    """Returns whether rows are windows of series or of sounds, and not rows of their own."""
    return rows.starts is not None or rows.groups is not None


def auto_calibration_fraction(spec: DataSpec) -> float:
    """Returns what `auto` means if calibration rows are taken: a tenth, or less of little."""
    return min(_AUTO_CALIBRATION, (1 - spec.validation_fraction - spec.test_fraction) / 4)


def is_split_alike_in_blocks(count: int, spec: DataSpec) -> bool:
    """Returns whether so many rows get the same parts from `split_rows` and `split_block`.

    `split_rows` looks at few rows as a whole: whether they repeat, or leave `auto` no calibration.
    """
    is_settled = spec.calibration_fraction != "auto"
    return count > _MOST_COUNTED and (is_settled or not _leaves_none_to_calibrate(count, spec))


def _leaves_none_to_calibrate(count: int, spec: DataSpec) -> bool:
    return auto_calibration_fraction(spec) * count < _FEWEST_CALIBRATION_ROWS


def _is_small(rows: Rows, spec: DataSpec) -> bool:
    """Returns whether `auto` leaves all rows that are not held out to training."""
    if rows.groups is not None:
        return len(PARTS) - 1 <= _count_files(rows) < _FEWEST_FILES
    if is_ordered(rows):
        return False
    # A few rows that repeat are not the tenth of many rows that they look like.
    count = len(rows)
    if count <= _MOST_COUNTED:
        count = len(np.unique(hash_rows(rows.values, 0)))
    return _leaves_none_to_calibrate(count, spec)


def _count_files(rows: Rows) -> int:
    return 0 if rows.groups is None else len(np.unique(rows.groups))


def settled(spec: DataSpec, calibration_fraction: float) -> DataSpec:
    """Returns a data section with that share of calibration rows."""
    return spec.model_copy(update={"calibration_fraction": calibration_fraction})


@dataclass(frozen=True, eq=False)
class _Found:
    """A split, with what to say if one of its parts is empty.

    Attributes:
        split: The split.
        count: The number of rows in words, as `30 rows`.
        needed: The need in words, as `at least 10 different rows`.
    """

    split: Split
    count: str
    needed: str

    @property
    def empty_part(self) -> str | None:
        """The first part that should have rows and has none."""
        may_be_empty = () if self.split.calibration_fraction else ("calibration",)
        empty = [part for part in PARTS if not len(getattr(self.split, part))]
        return next((part for part in empty if part not in may_be_empty), None)


def _split(rows: Rows, spec: DataSpec, seed: int) -> _Found:
    window = rows.values.shape[-1]
    files = _count_files(rows)
    parts = len(_shares(spec))
    if rows.groups is not None and files >= parts:
        numbers = _uniform(_mix(rows.groups.view(np.uint64), seed))
        return _Found(_by_hash(numbers, spec, parts), f"{files} files", f"{parts} files")
    if rows.starts is not None:
        lengths = _lengths(rows, window)
        split = _by_time(rows.starts, lengths, window, spec)
        count, needed = _steps_found_and_needed(lengths, window, spec)
        return _Found(split, f"{files} file(s) of at most {count}" if files else count, needed)
    split = _by_hash(_uniform(hash_rows(rows.values, seed)), spec, _FEWEST_ROWS)
    different = "different rows" if spec.clean_path is None else "different clean rows"
    return _Found(split, f"{len(rows)} rows", f"at least {_FEWEST_ROWS} {different}")


def _lengths(rows: Rows, window: int) -> IndexArray:
    if rows.lengths is not None:
        return rows.lengths
    starts = rows.starts if rows.starts is not None else np.zeros(0, np.int64)
    return np.full(len(starts), int(starts.max()) + window, dtype=np.int64)


def _by_hash(numbers: NDArray[np.float64], spec: DataSpec, fewest: int) -> Split:
    """Splits rows by their hashes, which equal rows and those of one file have in common.

    Where few hashes leave a part empty, they are ranked instead, if they are not too few, and each
    part has one at least. A row that is added then changes the part of few others, as both ways
    take the parts in the same order.
    """
    split = _by_number(numbers, spec)
    ranked = np.unique(numbers)
    if all(len(getattr(split, part)) for part in _shares(spec)) or len(ranked) < fewest:
        return split
    held_out = {part: share for part, share in _shares(spec).items() if part != "train"}
    sizes = [max(1, round(len(ranked) * share)) for share in held_out.values()]
    while sum(sizes) >= len(ranked):
        sizes = [max(1, size - 1) for size in sizes]
    # None that the hash holds out is trained on: the gate tells the trained rows by it.
    held_out_by_hash = len(ranked) - len(np.unique(numbers[split.train]))
    sizes[0] += max(0, min(held_out_by_hash, len(ranked) - 1) - sum(sizes))
    borders = dict(zip(held_out, np.cumsum(sizes), strict=True))
    return _between(np.searchsorted(ranked, numbers), borders, spec)


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
    """Checks the sizes of the parts of a settled split as `split_rows` does, and logs uneven ones.

    Raises:
        DataError: If a part is empty.
    """
    count = sum(sizes.values())
    for part in _shares(spec):
        if not sizes[part]:
            enough = math.ceil(5 / min(_shares(spec).values()))
            # With that many rows the smallest part is empty for one seed in 150 (e^-5).
            raise DataError(
                f"{spec.shown_path}: {count} rows leave none for {part}; about {enough} different "
                f"rows are needed, or other values of {_FRACTIONS}"
            )
    _report_uneven(sizes, count, spec, together="equal rows")


def _report_uneven(sizes: Mapping[str, int], count: int, spec: DataSpec, *, together: str) -> None:
    """Logs a held-out part that is far from its share, because many rows went there together."""
    for part, fraction in _shares(spec).items():
        share = sizes[part] / count
        most = 0.05 + 3 * math.sqrt(fraction * (1 - fraction) / count)
        if part != "train" and abs(share - fraction) > most:
            _logger.warning(
                "%s: %.0f%% of the rows are for %s, not %.0f%%: %s stay together",
                *(spec.shown_path, 100 * share, part, 100 * fraction, together),
            )


def _shares(spec: DataSpec) -> dict[str, float]:
    """Returns the share of each part that has rows, in the order of their hashes.

    Test and validation come first, so that a row that was held out stays held out, and in its
    part, when a job that had no calibration rows takes some: they are rows that were trained on.
    """
    held_out = {"test": spec.test_fraction, "validation": spec.validation_fraction}
    if spec.calibration_share:
        held_out["calibration"] = spec.calibration_share
    return {**held_out, "train": 1 - sum(held_out.values())}


def _by_number(numbers: NDArray[np.float64], spec: DataSpec) -> Split:
    shares = _shares(spec)
    borders = dict(zip(shares, np.cumsum(list(shares.values())), strict=True))
    return _between(numbers, {part: borders[part] for part in shares if part != "train"}, spec)


def _between(
    numbers: NDArray[np.float64] | IndexArray, borders: Mapping[str, float], spec: DataSpec
) -> Split:
    """Returns the rows whose numbers are below the border of each part, and of none before it."""
    part = np.searchsorted(np.array(list(borders.values())), numbers, side="right")
    found = {name: np.flatnonzero(part == place) for place, name in enumerate(borders)}
    return Split(
        train=np.flatnonzero(part == len(borders)),
        validation=found["validation"],
        calibration=found.get("calibration", np.empty(0, dtype=np.int64)),
        test=found["test"],
        calibration_fraction=spec.calibration_share,
    )


def _by_time(starts: IndexArray, lengths: IndexArray, window: int, spec: DataSpec) -> Split:
    """Splits windows by time: train, validation, calibration, test."""
    ends = starts + window
    test_from = np.round(lengths * (1 - spec.test_fraction))
    calibration_from = np.round(lengths * (1 - spec.test_fraction - spec.calibration_share))
    trained = 1 - spec.validation_fraction - spec.test_fraction - spec.calibration_share
    validation_from = np.round(lengths * trained)
    return Split(
        train=np.flatnonzero(ends <= validation_from),
        validation=np.flatnonzero((starts >= validation_from) & (ends <= calibration_from)),
        calibration=np.flatnonzero((starts >= calibration_from) & (ends <= test_from)),
        test=np.flatnonzero(starts >= test_from),
        calibration_fraction=spec.calibration_share,
    )


def _steps_found_and_needed(lengths: IndexArray, window: int, spec: DataSpec) -> tuple[str, str]:
    stride = spec.stride or window
    needed = math.ceil((window + stride) / min(_shares(spec).values()))
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
