"""Several files as one source, and rows chosen by their labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from isthmus.data.files import ending_of
from isthmus.data.labels import matching
from isthmus.data.output import check_folder, whole_folder
from isthmus.data.provenance import Provenance
from isthmus.data.rows import Block, FloatArray, Labels, RowSource, WriteBlock, joined
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
        """What the rows are like."""
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
        for number, (part, name) in enumerate(zip(self.parts, self.names, strict=True)):
            if part.count == 0:
                continue
            for block in part.blocks(carry=carry):
                file = np.full(len(block.values), name)
                yield replace(block, part=number, index={"file": file, **block.index})

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


@dataclass(frozen=True, eq=False)
class KeptLabels:
    """The rows of a source with some labels, or with any others.

    A label is kept if it equals one of `keep` by value or as text: 1 keeps 1, 1.0 and "1".

    Attributes:
        inner: The source.
        keep: The labels.
        name: What messages call the source.
        is_others: Whether the rows with other labels are wanted instead.
    """

    inner: RowSource
    keep: Sequence[int | str]
    name: str
    is_others: bool = False

    @property
    def schema(self) -> RowSchema:
        """What the rows are like."""
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
