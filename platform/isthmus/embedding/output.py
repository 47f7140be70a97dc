"""The output of embedding: a table with the latent of every row, and what is made of them all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from isthmus.data import Block, Provenance, RowSource
from isthmus.data.outputs.results import Columns
from isthmus.embedding.latents_file import LatentsAsked, open_latents
from isthmus.execution.outputs import TableOutput


class LatentsOutput(TableOutput):
    """A table with a line for each row: what names the row, and its latent."""

    def __init__(self, asked: LatentsAsked | None = None) -> None:
        """Creates the schema.

        Args:
            asked: The options for writing latents, and for what is made of all of them.
        """
        self.asked = asked or LatentsAsked()

    def check_name(self, output: Path) -> None:
        """Refuses an ending that is no table's, and what cannot be written to such a table."""
        super().check_name(output)
        self.asked.check(output)

    @contextmanager
    def open(
        self, source: RowSource, output: Path, provenance: Provenance
    ) -> Iterator[Callable[[Block, Columns], None]]:
        """Gives a function that writes the index of each block beside its latents."""
        with open_latents(output, provenance, self.asked) as append:
            yield lambda block, columns: append({**block.index, **columns})

    def part_name(self, name: str, form: str | None) -> str:
        """Returns the name of the part of a file, and refuses what cannot be written to it."""
        found = super().part_name(name, form)
        self.asked.check(Path(found))
        return found
