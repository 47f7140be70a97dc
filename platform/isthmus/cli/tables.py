"""Prints tables that read at any width: a row that does not fit is folded, and nothing is cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from isthmus.cli.terminal import out
from isthmus.errors import printable

if TYPE_CHECKING:
    from rich.text import Text

_GAP = "  "
_NARROWEST_PROSE = 30


@dataclass
class Rows:
    """A table to print.

    Attributes:
        headers: The names of the columns. An empty name is not said where rows are folded.
        lead: The number of columns that begin a folded row: what the row is about, and its verdict.
        prose: The column whose cells are sentences, which may be wrapped; `None` if there is none.
        has_header: Whether a line with the names of the columns is printed.
    """

    headers: Sequence[str]
    lead: int = 1
    prose: int | None = None
    has_header: bool = True
    _rows: list[tuple[str, ...]] = field(default_factory=list)
    _styles: list[dict[int, str]] = field(default_factory=list)

    def add(self, *cells: str, **styles: str) -> None:
        """Adds a row.

        Args:
            *cells: The text of each column.
            **styles: The style of cells by the names of their columns: `check="red"`.
        """
        self._rows.append(tuple(printable(cell) for cell in cells))
        self._styles.append({self.headers.index(name): style for name, style in styles.items()})

    def show(self) -> None:
        """Prints the table to stdout, in lines no longer than the terminal is wide."""
        width = out.width
        widths = self._widths(width)
        if widths is None:
            lines = [line for row in range(len(self._rows)) for line in self._folded(row, width)]
        else:
            lines = self._aligned(widths)
        for line in lines:
            out.print(line)

    def _widths(self, width: int) -> list[int] | None:
        """Returns the widths of the columns; `None` if the rows do not fit beside one another."""
        from rich.cells import cell_len

        columns = range(len(self.headers))
        shown = [self.headers, *self._rows] if self.has_header else self._rows
        widths = [max((cell_len(row[column]) for row in shown), default=0) for column in columns]
        over = sum(widths) + len(_GAP) * (len(widths) - 1) - width
        if over > 0 and self.prose is not None:
            widths[self.prose] -= over
            return widths if widths[self.prose] >= _NARROWEST_PROSE else None
        return None if over > 0 else widths

    def _aligned(self, widths: Sequence[int]) -> list[Text]:
        lines: list[Text] = []
        if self.has_header:
            lines = [self._line(self.headers, widths, {})]
            lines[0].stylize("bold")
        for row, styles in zip(self._rows, self._styles, strict=True):
            parts = [[cell] for cell in row]
            if self.prose is not None:
                parts[self.prose] = _wrapped(row[self.prose], widths[self.prose])
            for number in range(max(len(part) for part in parts)):
                cells = [part[number] if number < len(part) else "" for part in parts]
                lines.append(self._line(cells, widths, styles))
        return lines

    def _line(self, cells: Sequence[str], widths: Sequence[int], styles: dict[int, str]) -> Text:
        from rich.cells import cell_len
        from rich.text import Text

        line = Text()
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True)):
            line.append(cell, styles.get(column))
            line.append(" " * (width - cell_len(cell)) + _GAP)
        line.rstrip()
        return line

    def _folded(self, number: int, width: int) -> list[Text]:
        """Returns a row as a line of what it is about, and its other cells indented beneath."""
        from rich.text import Text

        row, styles = self._rows[number], self._styles[number]
        lead = [(column, cell) for column, cell in enumerate(row[: self.lead]) if cell]
        style = next((styles[column] for column, _ in lead if column in styles), "bold")
        lines = [Text(line, style) for line in _wrapped(_GAP.join(cell for _, cell in lead), width)]
        others = [
            (column, f"{self.headers[column]} {cell}".strip() if column != self.prose else cell)
            for column, cell in enumerate(row)
            if column >= self.lead and cell
        ]
        shown = ", ".join(said for column, said in others if column != self.prose)
        prose = [said for column, said in others if column == self.prose]
        for text in [*prose, *([shown] if shown else [])]:
            lines += [Text(f"{_GAP}{line}") for line in _wrapped(text, width - len(_GAP))]
        return lines


def _wrapped(text: str, width: int) -> list[str]:
    """Returns a text in lines, broken within a word only if the word is longer than a line."""
    from rich.text import Text

    lines = Text(text).wrap(out.console, max(width, 1), overflow="fold")
    return [line.plain.rstrip() for line in lines] or [""]
