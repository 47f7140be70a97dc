"""One piece of a downstream job's work: an input, or a part of it, with a pair and an output."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from isthmus.data import Block, Files, Provenance, RowSource, UseOptions, open_files
from isthmus.data.outputs.rejected import RejectedRows
from isthmus.data.steps.series_rows import SeriesRows
from isthmus.execution.blocks import OnRows, blocks_of
from isthmus.execution.inputs import InputPart, files_of, no_rows
from isthmus.execution.provenance import how_read, provenance_of
from isthmus.execution.reference_rows import ReferenceRows, no_reference_rows
from isthmus.execution.request import Request
from isthmus.registry import Pair
from isthmus.spec.secrets import without_password

TakeBlock = Callable[[Block, OnRows | None], None]
"""A function that takes a block of rows, and the function for the progress within it."""


@dataclass(frozen=True)
class Task:
    """The pair, input and output of a job, with the options for reading the input.

    Attributes:
        pair: The loaded pair.
        source: The input, as the user wrote it.
        output: The local path of the results.
        options: The options for reading the input, such as resampling.
        on_rows: Called with (rows done, all rows) during the work.
        held_out: Returns the pair's held-out rows, which tell drift and what errors are usual.
        part: The part of the input that is worked on, if not all of it is. It may have no rows.
    """

    pair: Pair
    source: str
    output: Path
    options: UseOptions = field(default_factory=lambda: UseOptions(set_aside=True))
    on_rows: OnRows | None = None
    held_out: ReferenceRows = no_reference_rows
    part: InputPart | None = None

    @property
    def called(self) -> str:
        """The name of the input in messages, without a password."""
        return without_password(self.source)

    def files(self) -> Files:
        """Returns the files of the input, or of the part of it.

        Raises:
            DataError: If there is no such file.
        """
        return files_of(self.source, self.part)

    def open(self, options: UseOptions | None = None) -> RowSource:
        """Opens the rows of the input; `options` are the task's own by default.

        Raises:
            DataError: If the input does not hold such rows as the pair takes.
        """
        manifest = self.pair.manifest
        return open_files(manifest.data, self.files(), manifest.rows_taken, options or self.options)

    def blocks(
        self, source: RowSource, *, carry: bool = False
    ) -> Generator[tuple[Block, OnRows | None]]:
        """Reads rows in blocks, each with the function that takes the progress within it."""
        return blocks_of(source, self.on_rows, carry=carry)

    def for_each_block(
        self,
        source: RowSource,
        rejected: RejectedRows,
        take: TakeBlock,
        *,
        carry: bool = False,
        takes_none: bool = True,
    ) -> int:
        """Hands each block of rows to a function, and those that cannot be read to another file.

        Args:
            source: The opened rows.
            rejected: The file of the rows that are set aside.
            take: The function; it gets a block, and the function for the progress within it.
            carry: Whether the columns that are written beside the results are read too.
            takes_none: Whether `take` gets a block without rows if a part of an input has none.

        Returns:
            The number of rows that were taken.

        Raises:
            DataError: If the rows cannot be read, or none of a whole input is left.
        """
        is_part, rows = self.part is not None, 0
        # A table without rows refuses to be read; series without windows have a block without rows.
        is_series, empty = isinstance(source, SeriesRows), None
        if not is_part or source.count != 0 or is_series:
            with closing(self.blocks(source, carry=carry)) as blocks:
                for block, on_rows in blocks:
                    rejected.add(block.rejected)
                    if len(block.values):
                        take(block, on_rows)
                        rows += len(block.values)
                    elif is_series:
                        empty = block
        if not is_part:
            rejected.refuse_nothing_left(rows)
        elif rows == 0 and takes_none:
            manifest = self.pair.manifest
            take(empty or no_rows(manifest.data, manifest.plan.row_shape), None)
        return rows

    def provenance(self, job: str, said: Mapping[str, object]) -> Provenance:
        """Returns the provenance of the output.

        Args:
            job: The name of the job.
            said: The options of the job, for the provenance.
        """
        of_part = {} if self.part is None else self.part.noted
        entries = {**said, **how_read(self.options), **of_part}
        return provenance_of(self.pair, self.source, job=job, **entries)


def options_of(request: Request) -> UseOptions:
    """Returns what a request asks for of the input."""
    return UseOptions(resample=request.resample, query=request.query, set_aside=not request.strict)
