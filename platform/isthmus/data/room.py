"""Holds rows against the free memory, before they are read or as soon as their number is known."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

from isthmus.data.many import KeptLabels
from isthmus.data.rows import RowSource
from isthmus.errors import DataError
from isthmus.kinds import facts_of
from isthmus.resources import free_memory_bytes, in_units
from isthmus.spec import DataSpec
from isthmus.types import Shape

COPIES_TO_SPLIT = 2
"""The number of copies of a row in the memory when rows are split: as read, and in its part."""
_FLOAT_BYTES = 4


@dataclass(frozen=True)
class Room:
    """The memory that rows may take.

    Attributes:
        name: The name of the source for messages.
        copies: The least number of copies of each row that will be in the memory at once.
        advice: The advice if there are too many rows.
        is_count_exact: Whether the source's count is that of the rows that are read.
        free_bytes: The free memory, before the rows are read.
    """

    name: str
    copies: int
    advice: str = "give fewer rows, or more memory"
    is_count_exact: bool = True
    free_bytes: int = field(default_factory=free_memory_bytes)

    def refuse_count(self, source: RowSource) -> None:
        """Refuses a source before it is read, if it says that its rows will not fit.

        Raises:
            DataError: If they do not fit.
        """
        if self.is_count_exact and source.count is not None:
            self.refuse(source.count, source.schema.shape)

    def refuse(self, rows: int, row_shape: Shape) -> None:
        """Refuses a number of rows that do not fit.

        Raises:
            DataError: With what they take, what is free, and what to do.
        """
        needed = self.copies * _FLOAT_BYTES * rows * prod(row_shape)
        if needed > self.free_bytes:
            raise DataError(
                f"{self.name}: {rows:,} rows of shape {row_shape} take {in_units(needed)} of "
                f"memory or more, and {in_units(self.free_bytes)} are free; {self.advice}"
            )


def room_to_train(source: RowSource, spec: DataSpec, copies: int) -> Room:
    """Returns the room for rows that are read to be trained on.

    Args:
        source: The rows.
        spec: The settled data section.
        copies: The least number of copies of each row that will be in the memory at once.
    """
    has_windows = "stride" in facts_of(source.schema.kind).fields
    return Room(
        spec.shown_path,
        copies,
        f"{'raise data.stride, ' if has_windows else ''}give fewer rows, or more memory",
        is_count_exact=is_count_exact(source, spec),
    )


def is_count_exact(source: RowSource, spec: DataSpec) -> bool:
    """Returns whether a source's count, if it has any, is that of the rows that are read."""
    return spec.missing != "drop" and not isinstance(source, KeptLabels)


def fits_when_split(size_bytes: float) -> bool:
    """Returns whether rows of a size can be read into the memory and split there."""
    return COPIES_TO_SPLIT * size_bytes <= free_memory_bytes()
