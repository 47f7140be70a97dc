"""Tells the files of images or sounds that can be read from those that must be set aside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from isthmus.data.rows import Block, Rejected
from isthmus.data.storage.files import Files
from isthmus.errors import DataError

Header = TypeVar("Header")


@dataclass(frozen=True)
class SetAside:
    """The files that are set aside, of those that were given.

    Attributes:
        numbers: The position of each file that is left among those that were given.
        rejected: The files whose headers tell that they cannot be read.
    """

    numbers: tuple[int, ...]
    rejected: tuple[Rejected, ...]

    def rejection(self, position: int, files: Files, error: DataError) -> Rejected:
        """Returns the rejection of a file that is left, by its position among these."""
        return _rejection(self.numbers[position], files.names[position], error, files, position)

    def without(self, block: Block, faults: Mapping[int, Rejected]) -> Block:
        """Returns a block of one row for each file without those that have a fault."""
        if not faults:
            return block
        kept = [row for row in range(len(block.values)) if row not in faults]
        rejected = tuple(faults[row] for row in sorted(faults))
        return replace(block.take(np.array(kept, dtype=np.int64)), rejected=rejected)


@dataclass(frozen=True)
class ReadableFiles(Generic[Header]):
    """Files whose headers could be read.

    Attributes:
        files: These files.
        headers: The header of each.
        aside: The others; `None` if a file that cannot be read is an error.
    """

    files: Files
    headers: tuple[Header, ...]
    aside: SetAside | None


def read_headers(
    files: Files,
    read: Callable[[Path, str], Header],
    check: Callable[[Header, str], None] = lambda header, name: None,
    *,
    sets_aside: bool = False,
) -> ReadableFiles[Header]:
    """Reads what each file says of itself.

    Args:
        files: One file or several.
        read: Reads the header of a file, given its path and what messages call it.
        check: Raises a `DataError` if the file does not fit, given its header and its name.
        sets_aside: Whether files that cannot be read are set aside.

    Raises:
        DataError: If a file cannot be read, or if none can where they are set aside.
    """
    headers: list[Header] = []
    numbers: list[int] = []
    rejected: list[Rejected] = []
    first_error: DataError | None = None
    for position, path in enumerate(files.paths()):
        called = files.called(position)
        try:
            header = read(path, called)
            check(header, called)
        except DataError as error:
            if not sets_aside:
                raise
            first_error = first_error or error
            rejected.append(_rejection(position, files.names[position], error, files, position))
        else:
            headers.append(header)
            numbers.append(position)
    if first_error is not None and not headers:
        raise first_error
    left = replace(
        files,
        names=tuple(files.names[number] for number in numbers),
        addresses=tuple(files.addresses[number] for number in numbers),
    )
    aside = SetAside(tuple(numbers), tuple(rejected)) if sets_aside else None
    return ReadableFiles(left, tuple(headers), aside)


def _rejection(number: int, name: str, error: DataError, files: Files, position: int) -> Rejected:
    # The message begins with what the file is called; its name stands beside the reason.
    return Rejected(number, str(error).removeprefix(f"{files.called(position)}: "), name)
