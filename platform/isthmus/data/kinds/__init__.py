"""The kinds of data; each file is one, and its stem is the name in `data.kind`.

A kind reads its files, and says in `FACTS` what other rooms must know of its rows. They are read
from the source, so they are written with literals and the names of `isthmus.types` alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, cast

from isthmus import plugins
from isthmus.data.rows import RowSource
from isthmus.data.storage.files import Files
from isthmus.kinds import KindFacts
from isthmus.spec import DataSpec, RowSchema


@dataclass(frozen=True)
class UseOptions:
    """The options for opening rows that are like those of training.

    Attributes:
        resample: Whether sounds of another sample rate are resampled to the pair's.
        query: The query whose rows are read, if the input is a database; by default the one that
            the pair was trained on.
        set_aside: Whether rows that cannot be read are set aside, in `Block.rejected`, instead of
            ending the work. A step of a series that is set aside is a gap, which no window crosses.
        blends: Whether windows of sounds are put together again: they then begin half a window
            apart, whatever the stride of training, and sounds shorter than a window have one.
        let_short: Whether series that are all shorter than a window are let in, with no window.
        begins_as_training: Whether windows of series begin where those of training do, which may be
            closer together than half a window; the second view of each row does.
    """

    resample: bool = False
    query: str | None = None
    set_aside: bool = False
    let_short: bool = False
    blends: bool = False
    begins_as_training: bool = False


class Kind(ABC):
    """A kind of data: how files become rows of it."""

    ENDINGS: ClassVar[tuple[str, ...]] = ()
    """The endings of files that hold rows of this kind and of no other, in lower case."""
    SUMMARY: ClassVar[str]
    """The rows of this kind in a few words."""
    FACTS: ClassVar[KindFacts]
    """The words for these rows, and what `auto` means for them; `isthmus.kinds` gives them."""

    @classmethod
    @abstractmethod
    def open(cls, files: Files, spec: DataSpec) -> tuple[RowSource, DataSpec]:
        """Opens the rows to train on.

        Returns:
            The rows, and the spec with what the files settle: columns, window, stride.

        Raises:
            DataError: If the files hold no such rows.
        """

    @classmethod
    @abstractmethod
    def open_like(
        cls, files: Files, data: DataSpec, schema: RowSchema, options: UseOptions
    ) -> RowSource:
        """Opens rows for a trained pair.

        Args:
            files: The input.
            data: The settled data section that the pair was trained with.
            schema: The schema of its training rows.
            options: The options of the person who uses the pair.

        Raises:
            DataError: If the files hold no rows that the pair takes.
        """


def names() -> tuple[str, ...]:
    """Returns the names of all kinds, sorted."""
    return plugins.names_in(__file__)


def get(name: str) -> type[Kind]:
    """Returns the kind of that name."""
    return cast("type[Kind]", plugins.load(__name__, name, Kind))
