"""A file as tables with all that it holds, and back.

A file is read in parts, each a table of all its columns; of a sound, these are its channels. What
else is needed to write the file again is its form, which the header of a compressed file holds.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pyarrow as pa

from isthmus.data import Provenance
from isthmus.spec import DataSpec, RowSchema, SpecModel

Append = Callable[[pa.Table], None]


class ExactFile(SpecModel):
    """The form of a file."""

    @property
    @abstractmethod
    def schema_of_parts(self) -> pa.Schema:
        """The names and types of the columns of a part."""

    @property
    def unit(self) -> float:
        """The factor from the unit of the columns to the unit of a pair's rows."""
        return 1.0

    @abstractmethod
    def features(self, data: DataSpec, taken: RowSchema) -> tuple[str, ...]:
        """Returns the columns that a pair takes, in its order; none if it takes others."""

    def with_ranges(self, taken: RowSchema) -> RowSchema:
        """Returns what a pair's rows were like, with a range for each of the features."""
        return taken

    @abstractmethod
    def parts(self, path: Path, called: str, data: DataSpec, rows: int) -> Iterator[pa.Table]:
        """Reads the file in parts of so many rows, and what is left.

        Raises:
            DataError: If it cannot be read.
        """

    @abstractmethod
    def open_output(self, output: Path, provenance: Provenance) -> AbstractContextManager[Append]:
        """Gives a function that writes parts; the file appears whole or not at all.

        Raises:
            DataError: If it cannot be written.
        """
