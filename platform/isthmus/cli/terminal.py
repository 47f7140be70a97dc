"""The two streams that commands write to: stdout for results, stderr for everything else."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from isthmus.errors import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

# A pipe has no width unless COLUMNS names one, and rich would take 80 columns.
_PIPE_WIDTH = 240


class Stream:
    """A rich console that is created at the first use, because importing rich takes time."""

    def __init__(self, *, stderr: bool) -> None:
        self._stderr = stderr

    @cached_property
    def console(self) -> Console:
        """The console."""
        from rich.console import Console

        console = Console(stderr=self._stderr, highlight=False, soft_wrap=True)
        if not self._has_width(console):
            console.width = _PIPE_WIDTH
        return console

    @staticmethod
    def _has_width(console: Console) -> bool:
        return console.is_terminal or "COLUMNS" in os.environ

    @property
    def width(self) -> int:
        """The number of columns of a line: that of the terminal, or the one in COLUMNS."""
        return self.console.width

    @property
    def has_width(self) -> bool:
        """Whether lines end somewhere, as those of a terminal do and those of a pipe do not."""
        return self._has_width(self.console)

    def paragraph(self, text: str) -> None:
        """Prints a text, broken between words where the lines end."""
        self.print(text, markup=False, soft_wrap=not self.has_width)

    @property
    def is_terminal(self) -> bool:
        """Whether the stream is a terminal, and not a pipe or a file."""
        return self.console.is_terminal

    def print(self, *objects: Any, **options: Any) -> None:
        """Prints as `rich.console.Console.print` does, but no characters that a terminal obeys.

        The texts of commands quote names and paths that others chose, and rich adds the colours.
        """
        shown = (
            printable(each, keep="\n\t") if isinstance(each, str) else each for each in objects
        )
        self.console.print(*shown, **options)

    def status(self, text: str) -> Status:
        """Shows a text with a spinner until the block ends; as `rich.console.Console.status`."""
        return self.console.status(text)


out = Stream(stderr=False)
err = Stream(stderr=True)


def age(moment: datetime) -> str:
    """Returns how long ago a moment was, in the largest unit that fits: `3 min`."""
    seconds = (datetime.now(UTC) - moment).total_seconds()
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
