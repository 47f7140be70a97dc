"""Several files as one source, and rows chosen by their labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from isthmus.data.columns.labels import matching
from isthmus.data.outputs.output import check_folder, whole_folder
from isthmus.data.outputs.provenance import Provenance
from isthmus.data.rows import Block, FloatArray, Labels, RowSource, WriteBlock, joined
from isthmus.data.storage.files import ending_of
from isthmus.errors import DataError
from isthmus.spec import RowSchema

_SHOWN_LABELS = 20


@dataclass(frozen=True, eq=False)
class ManyRows:
    """The rows of several files, one after the other.

    Attributes:
        parts: The rows of each file.
        names: The name of each file, relative to their folder.
    """

    parts: tuple[RowSource, ...]
    names: tuple[str, ...]

    @property
    def schema(self) -> RowSchema:
        """The schema of the rows."""
        return self.parts[0].schema

    @property
    def count(self) -> int | None:
        """The number of rows, if every file says its own."""
        total = 0
        for part in self.parts:
            count = part.count
            if count is None:
                return None
            total += count
        return total

    def blocks(self, *, carry: bool = False) -> Iterator[Block]:
        """Reads the rows, with the name of the file in their index; files may have no rows."""
        has_any = False
        for number, block in _one_file_ahead([_of_file(part, carry) for part in self.parts]):
            has_any = True
            # One name, seen as many times: a copy for each row would take longer than the rows.
            file = np.broadcast_to(np.array(self.names[number]), len(block.values))
            rejected = tuple(replace(each, file=self.names[number]) for each in block.rejected)
            yield replace(
                block, part=number, index={"file": file, **block.index}, rejected=rejected
            )
        if not has_any:
            raise DataError(f"{self.names[0]} and the other files leave no row; give at least one")

    def check_output(self, output: Path) -> None:
        """Refuses a folder that holds anything but earlier results, or a file of each ending."""
        check_folder(output, self.names)
        of_ending = {ending_of(name): place for place, name in enumerate(self.names)}
        for place in of_ending.values():
            self.parts[place].check_output(output / self.names[place])

    @contextmanager
    def open_output(self, output: Path, provenance: Provenance) -> Iterator[WriteBlock]:
        """Writes the results of each file into a folder, under the name of the file."""
        with whole_folder(output, provenance) as folder, ExitStack() as open_files:
            current: tuple[int, WriteBlock] | None = None

            def write(block: Block, values: FloatArray) -> None:
                nonlocal current
                if current is None or current[0] != block.part:
                    open_files.close()
                    file = folder / self.names[block.part]
                    opened = self.parts[block.part].open_output(file, provenance)
                    current = block.part, open_files.enter_context(opened)
                current[1](block, values)

            yield write


def _of_file(part: RowSource, carry: bool) -> Iterator[Block]:
    if part.count != 0:
        yield from part.blocks(carry=carry)


def _one_file_ahead(files: Sequence[Iterator[Block]]) -> Iterator[tuple[int, Block]]:
    """Yields the blocks of all files; a thread opens the next while the caller works on one."""
    with ThreadPoolExecutor(1, thread_name_prefix="isthmus-open") as thread:
        upcoming = thread.submit(next, files[0], None)
        for number, file in enumerate(files):
            block = upcoming.result()
            if number + 1 < len(files):
                upcoming = thread.submit(next, files[number + 1], None)
            while block is not None:
                yield number, block
                block = next(file, None)


@dataclass(frozen=True, eq=False)
class KeptLabels:
    """The rows of a source with some labels, or with any others.

    A label is kept if it equals one of `keep` by value or as text: 1 keeps 1, 1.0 and "1".

    Attributes:
        inner: The source.
        keep: The labels.
        name: The name of the source for messages.
        is_others: Whether the rows with other labels are wanted instead.
    """

    inner: RowSource
    keep: Sequence[int | str]
    name: str
    is_others: bool = False

    @property
    def schema(self) -> RowSchema:
        """The schema of the rows."""
        return self.inner.schema

    @property
    def count(self) -> int | None:
        """The number of rows before any is left out."""
        return self.inner.count

    def blocks(self, *, carry: bool = False) -> Iterator[Block]:
        """Reads the rows.

        Raises:
            DataError: If no row has one of the labels.
        """
        seen: list[Labels] = []
        has_any = False
        for block in self.inner.blocks(carry=carry):
            if block.labels is None:
                raise DataError(
                    f"{self.name}: data.keep_labels needs data.labels; name what holds them"
                )
            is_kept = matching(block.labels, self.keep)
            kept = np.flatnonzero(~is_kept if self.is_others else is_kept).astype(np.int64)
            if not has_any:
                seen.append(np.unique(block.labels))
            if len(kept):
                has_any = True
                yield block if len(kept) == len(block.values) else block.take(kept)
        if not has_any and not self.is_others and seen:
            present = [str(label) for label in np.unique(joined(seen))]
            more = ", ..." if len(present) > _SHOWN_LABELS else ""
            shown = ", ".join(present[:_SHOWN_LABELS]) + more
            wanted = ", ".join(str(label) for label in self.keep)
            raise DataError(f"{self.name}: no row is labelled {wanted}; the labels are {shown}")

    def check_output(self, output: Path) -> None:
        """Refuses an output that the source could not write."""
        self.inner.check_output(output)

    @contextmanager
    def open_output(self, output: Path, provenance: Provenance) -> Iterator[WriteBlock]:
        """Writes results in the form of the source."""
        with self.inner.open_output(output, provenance) as write:
            yield write
