"""The outputs of downstream jobs: a table with columns of its own, or rows like the input's.

A job names one of these schemas, or brings its own: a subclass of `OutputSchema`.
"""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

from isthmus.data import (
    Block,
    Files,
    Provenance,
    RowSource,
    check_table_output,
    open_results,
)
from isthmus.data.kinds import get as get_kind
from isthmus.data.outputs.output import whole_file
from isthmus.data.outputs.results import RESULT_ENDINGS, Columns
from isthmus.data.rows import FloatArray
from isthmus.data.storage.files import ending_of
from isthmus.errors import UsageError
from isthmus.types import DataKind

Made = TypeVar("Made")
FORMS = {"parquet": ".parquet", "csv": ".csv"}
"""The forms that parts of tables can be asked for in, with the ending of each."""


class OutputSchema(ABC, Generic[Made]):
    """The form of a job's output, whatever the form of its input is."""

    CARRIES: ClassVar[bool] = False
    """Whether columns of the input that are no features are written too."""
    BLENDS: ClassVar[bool] = False
    """Whether windows of sounds are put together to sounds again."""
    PARTS_OF: ClassVar[tuple[DataKind, ...]] = tuple(DataKind)
    """The kinds of data of which each file has a part of its own on a cluster."""

    def check_name(self, output: Path) -> None:
        """Refuses a name that no input could be written to, before the pair is loaded.

        Raises:
            DataError: Naming what is possible.
        """

    @abstractmethod
    def check(self, source: RowSource, output: Path) -> None:
        """Refuses an output that could not be written for these rows, before the work.

        Raises:
            DataError: Naming what is possible.
        """

    @abstractmethod
    def open(
        self, source: RowSource, output: Path, provenance: Provenance
    ) -> AbstractContextManager[Callable[[Block, Made], None]]:
        """Gives a function that takes each block and what was made of it.

        The output appears whole at the end of the context, or not at all if an error comes first.

        Raises:
            DataError: If the output cannot be written.
        """

    @abstractmethod
    def can_set_aside(self, files: Files, kind: DataKind) -> bool:
        """Returns whether rows that cannot be read may be missing from the output."""

    # -- parts on a cluster ---------------------------------------------------------------------

    @abstractmethod
    def check_parts(self, source: RowSource, folder: Path) -> None:
        """Refuses files of which parts in a folder could not be written, before the work.

        Raises:
            DataError: Naming what is possible.
        """

    @abstractmethod
    def part_name(self, name: str, form: str | None) -> str:
        """Returns the name of the part of an input's file.

        Args:
            name: The name of the file.
            form: One of `FORMS`, if a form is asked for.

        Raises:
            UsageError: If parts cannot have that form.
        """

    @abstractmethod
    def one_of(self, files: Files, number: int) -> Files:
        """Returns one of the files, as the input of its part."""

    @abstractmethod
    def writes_no_rows(self) -> bool:
        """Returns whether `open` can write an output without rows."""

    def copy_without_rows(self, file: Path, output: Path, provenance: Provenance) -> None:
        """Writes the part of a file without rows, if `open` cannot: the file as it is."""
        with whole_file(output, provenance) as temporary:
            shutil.copyfile(file, temporary)


class TableOutput(OutputSchema[Columns]):
    """A table with a line for each row: what names the row, and the columns that the job makes.

    It is a csv, parquet, feather or npz, by its ending. Lines have the numbers of their rows, so
    rows that cannot be read may be missing.
    """

    # Of images and sounds the table of each file would have one line, or few.
    PARTS_OF = (DataKind.TABULAR, DataKind.SERIES)

    def check_name(self, output: Path) -> None:
        """Refuses an ending that is no table's."""
        check_table_output(output)

    def check(self, source: RowSource, output: Path) -> None:
        """Refuses an ending that is no table's."""
        check_table_output(output)

    @contextmanager
    def open(
        self, source: RowSource, output: Path, provenance: Provenance
    ) -> Iterator[Callable[[Block, Columns], None]]:
        """Gives a function that writes the index of each block beside the columns made of it."""
        with open_results(output, provenance) as append:
            yield lambda block, columns: append({**block.index, **columns})

    def can_set_aside(self, files: Files, kind: DataKind) -> bool:
        """Returns `True`: each line says which row it is of."""
        return True

    def check_parts(self, source: RowSource, folder: Path) -> None:
        """Refuses nothing: a part has another ending than its file where a table needs it."""

    def part_name(self, name: str, form: str | None) -> str:
        """Returns the file's own name where a table can have that, else with another ending."""
        if form is not None and form not in FORMS:
            raise UsageError(f'no form "{form}"; parts can be {" or ".join(FORMS)}')
        ending = ending_of(name)
        if form is None:
            return name if ending in RESULT_ENDINGS else f"{name}{FORMS['parquet']}"
        return name if ending == FORMS[form] else f"{name}{FORMS[form]}"

    def one_of(self, files: Files, number: int) -> Files:
        """Returns one file as a folder of one, so that its lines name it like those of all."""
        return replace(_one(files, number), is_folder=True)

    def writes_no_rows(self) -> bool:
        """Returns `True`: the columns are known without rows."""
        return True


class RowsOutput(OutputSchema[FloatArray]):
    """Rows in the form of the input: a file for a file, a folder for a folder, or an array.

    The values that take the place of a block's may have another shape, where the form of the input
    can hold that.
    """

    CARRIES = True
    BLENDS = True

    def check(self, source: RowSource, output: Path) -> None:
        """Refuses an output that the source could not write."""
        source.check_output(output)

    def open(
        self, source: RowSource, output: Path, provenance: Provenance
    ) -> AbstractContextManager[Callable[[Block, FloatArray], None]]:
        """Gives the source's own function that writes rows in its form."""
        return source.open_output(output, provenance)

    def can_set_aside(self, files: Files, kind: DataKind) -> bool:
        """Returns whether rows are files; in a table or an array every row keeps its place."""
        endings = get_kind(kind).ENDINGS
        return bool(endings) and files.endings <= set(endings)

    def check_parts(self, source: RowSource, folder: Path) -> None:
        """Refuses files that cannot be written in their own form."""
        source.check_output(folder)

    def part_name(self, name: str, form: str | None) -> str:
        """Returns the file's own name."""
        if form is not None:
            raise UsageError(
                "--form is for tables of results, and here each part has the form of its file; "
                "leave it out"
            )
        return name

    def one_of(self, files: Files, number: int) -> Files:
        """Returns one file, for which one file is written."""
        return replace(_one(files, number), is_folder=False)

    def writes_no_rows(self) -> bool:
        """Returns `False`: what is beside the features is known from rows only."""
        return False


def _one(files: Files, number: int) -> Files:
    return replace(
        files,
        name=files.called(number) if files.is_folder else files.name,
        names=(files.names[number],),
        addresses=(files.addresses[number],),
    )
