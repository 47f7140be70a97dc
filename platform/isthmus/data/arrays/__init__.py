"""The formats of arrays; each file is one, found by the endings that it names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import prod
from pathlib import Path
from typing import Any, ClassVar, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from isthmus import plugins
from isthmus.data.columns.units import Units, units_of_array
from isthmus.data.outputs.provenance import PROVENANCE_KEY
from isthmus.data.rows import Labels
from isthmus.data.storage.files import ending_of
from isthmus.errors import DataError, nearest

USUAL_KEYS = ("x", "X", "data")
# More than gzip does; what makes the same values still smaller writes each chunk of them.
_MOST_COMPRESSION = 10_000
SMALL_BYTES = 1 << 30
"""The size up to which no array does harm, whatever its file stores of it."""


class ArrayView(Protocol):
    """An array that may stay in its file, of which a slice of rows is read at a time."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the whole array."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of its numbers."""

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        """Reads rows."""


@dataclass(frozen=True, eq=False)
class LoadedArray:
    """One array of a file.

    Attributes:
        values: The array, of a real number type, with at least one row.
        key: The name, in a file of several arrays.
        labels: Shape (N,), if asked for; a set of scikit-learn's always has them.
        columns: The names of the features, if the file has any.
        units: The unit of each column, if the file states any.
    """

    values: ArrayView
    key: str | None = None
    labels: Labels | None = None
    columns: tuple[str, ...] | None = None
    units: Units | None = None

    def __len__(self) -> int:
        return self.values.shape[0]


class ArrayFormat(ABC):
    """A file of one array or of several.

    Attributes:
        address: The local path.
        name: The name of the file for messages.
    """

    ENDINGS: ClassVar[tuple[str, ...]] = ()
    """The endings of its files, in lower case."""
    PREFIXES: ClassVar[tuple[str, ...]] = ()
    """The beginnings of the addresses of its arrays, if they are no files."""

    def __init__(self, address: str, name: str) -> None:
        self.address = address
        self.name = name

    @property
    def path(self) -> Path:
        """The local file."""
        return Path(self.address)

    @abstractmethod
    def open(self, key: str | None, labels: str | None) -> LoadedArray:
        """Opens an array.

        Args:
            key: The name; by default `x`, `X`, `data`, or the only one.
            labels: The name of the array of labels.

        Raises:
            DataError: If the file is damaged, the array absent, or not of real numbers.
        """

    @abstractmethod
    def keys(self) -> tuple[str, ...]:
        """Returns the names of the file's arrays; none if it holds one array without a name.

        Raises:
            DataError: If the file is damaged.
        """


def names() -> tuple[str, ...]:
    """Returns the names of all formats, sorted."""
    return plugins.names_in(__file__)


@cache
def _formats() -> dict[str, type[ArrayFormat]]:
    found = (
        cast("type[ArrayFormat]", plugins.load(__name__, name, ArrayFormat)) for name in names()
    )
    return {sign: each for each in found for sign in (*each.ENDINGS, *each.PREFIXES)}


def endings() -> tuple[str, ...]:
    """Returns the endings of all files of arrays."""
    return tuple(sign for sign, found in _formats().items() if sign in found.ENDINGS)


def is_bundled(path: object) -> bool:
    """Returns whether a path names a set that scikit-learn ships."""
    return isinstance(path, str) and _prefix(path) is not None


def _prefix(address: str) -> str | None:
    prefixes = (prefix for each in _formats().values() for prefix in each.PREFIXES)
    return next((prefix for prefix in prefixes if address.startswith(prefix)), None)


def open_array(
    address: str, name: str, key: str | None, labels: str | None, *, key_is_needed: bool = True
) -> LoadedArray:
    """Opens an array of a file or a set of scikit-learn's.

    Args:
        address: The local path, or `sklearn:NAME`.
        name: The name for messages.
        key: The name of the array; by default `x`, `X`, `data`, or the only one.
        labels: The name of the array of labels, if they are to be read.
        key_is_needed: Whether an absent key is a fault, and not passed over.

    Raises:
        DataError: If the file is damaged, the array absent, or not of real numbers.
    """
    array = _opened(address, name)
    if key is not None and not key_is_needed and key not in array.keys():  # noqa: SIM118
        key = None
    return array.open(key, labels)


def keys(address: str, name: str) -> tuple[str, ...]:
    """Returns the names of the arrays of a file; none if it holds one array without a name.

    Args:
        address: The local path, or `sklearn:NAME`.
        name: The name for messages.

    Raises:
        DataError: If the file is damaged.
    """
    return _opened(address, name).keys()


def _opened(address: str, name: str) -> ArrayFormat:
    return _formats()[_prefix(address) or ending_of(address)](address, name)


def _chosen_key(names: Sequence[str], key: str | None, labels: str | None, name: str) -> str:
    """Returns which array of a file holds the rows.

    Raises:
        DataError: If the key is absent, or there are several arrays and none has a usual name.
    """
    if not names:
        raise DataError(f"{name}: holds no array; write it again")
    if key is not None:
        if key not in names:
            raise DataError(f'{name}: no array "{key}"; {nearest(key, names)}')
        return key
    usual = [each for each in USUAL_KEYS if each in names]
    candidates = [each for each in names if each not in (labels, PROVENANCE_KEY)]
    if usual:
        return usual[0]
    if len(candidates) == 1:
        return candidates[0]
    raise DataError(
        f"{name}: holds {len(names)} arrays ({', '.join(names)}); "
        "say which holds the rows with data.key"
    )


def checked(array: ArrayView, what: str) -> ArrayView:
    """Returns an array after refusing one that holds no rows of real numbers."""
    if array.dtype.fields is not None or array.dtype.kind not in "biuf":
        kind = "complex" if array.dtype.kind == "c" else str(array.dtype)
        raise DataError(f"{what}: holds {kind} values; only real numbers can be trained on")
    if not array.shape:
        raise DataError(f"{what}: is a single number; rows need shape (rows, features)")
    if 0 in array.shape:
        raise DataError(f"{what}: has shape {array.shape}, so holds no rows; give at least one")
    return array


def with_units(loaded: LoadedArray, said: object) -> LoadedArray:
    """Returns an array with the units of its columns.

    Args:
        loaded: The array.
        said: The attribute `units` that its file has for it, of any type; `None` if there is none.
    """
    shape = loaded.values.shape
    if said is None or len(shape) > 2:
        return loaded
    return replace(loaded, units=units_of_array(said, shape[1] if len(shape) == 2 else 1))


def refuse_unstored(
    array: ArrayView, stored_bytes: int, chunks: tuple[int, ...] | None, written: int, what: str
) -> None:
    """Refuses an array whose file stores next to nothing of what it claims to hold.

    What is not stored is read as a fill value: a file of 1 kB can claim more than a disk holds.

    Args:
        array: The array.
        stored_bytes: The bytes that its values take in the file.
        chunks: The shape of the pieces in which they are stored, if there are any.
        written: The number of pieces that are stored.
        what: The name of the array for messages.

    Raises:
        DataError: If no compression of values would explain it, and most pieces are not stored.
    """
    claimed = prod(array.shape) * array.dtype.itemsize
    if claimed <= SMALL_BYTES or claimed <= _MOST_COMPRESSION * stored_bytes:
        return
    is_in_pieces = chunks is not None and prod(chunks) * array.dtype.itemsize <= SMALL_BYTES
    pieces = prod(-(-side // each) for side, each in zip(array.shape, chunks or (), strict=False))
    if not (is_in_pieces and 2 * written >= pieces):
        raise DataError(
            f"{what}: claims shape {array.shape}, {claimed / 2**30:,.0f} GiB, and stores "
            f"{stored_bytes:,} bytes of it; write its values, or the rows that it has"
        )


def loaded_array(
    names: Sequence[str],
    array: Callable[[str], ArrayView],
    key: str | None,
    labels: str | None,
    name: str,
) -> LoadedArray:
    """Chooses the rows, and the labels if they are asked for, among the arrays of a file.

    Args:
        names: The names of the arrays.
        array: A function that returns the array of a name.
        key: The name of the rows; by default `x`, `X`, `data`, or the only one.
        labels: The name of the labels.
        name: The name of the file for messages.

    Raises:
        DataError: If an array is absent, holds no real numbers, or has not a label for each row.
    """
    key = _chosen_key(names, key, labels, name)
    values = checked(array(key), f'{name}: array "{key}"')
    if labels is None:
        return LoadedArray(values, key)
    if labels not in names:
        raise DataError(f'{name}: no array "{labels}" for data.labels; {nearest(labels, names)}')
    of_rows, rows = array(labels), values.shape[0]
    if of_rows.shape not in ((rows,), (rows, 1)):
        raise DataError(
            f'{name}: labels "{labels}" have shape {of_rows.shape}; one for each of the {rows} '
            "rows is needed"
        )
    return LoadedArray(values, key, of_rows[:].reshape(-1))
