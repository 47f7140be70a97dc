"""A bar in a notebook's cell: one output that is rewritten in place.

It is plain HTML, so it needs no extension, and a stored notebook holds its last state.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

_SECONDS_BETWEEN = 0.25
# What ends sooner needs no bar.
_SECONDS_UNTIL_BAR = 1.0


def in_notebook() -> bool:
    """Returns whether this process is the kernel of a notebook, which can show HTML."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


class NotebookBar:
    """A bar below the running cell. It appears with the first thing that it has to show."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._doing, self._said, self._left = "", "", ""
        self._done, self._total = 0, 0
        self._began_s = self._shown_s = time.monotonic()

    def begin(self, doing: str, total: int, done: int, said: str) -> None:
        """Shows that a piece of work begins: what is done, how far it is, and what it is about."""
        self._doing, self._total, self._done, self._said, self._left = doing, total, done, said, ""
        self._show()

    def move(self, done: int, said: str | None = None, left: str = "") -> None:
        """Moves the bar; says something else beside it, and how much time is left, if given."""
        self._done = done
        if said is not None:
            self._said, self._left = said, left
        if time.monotonic() - self._shown_s >= _SECONDS_BETWEEN:
            self._show()

    def rename(self, doing: str) -> None:
        """Shows that the work has come to something else, which has no length."""
        self._doing, self._left = doing, ""
        self._show()

    def end(self, said: str) -> None:
        """Leaves one line in the place of the bar, with the time that the work took."""
        seconds = time.monotonic() - self._began_s
        self._put(f"{said} in {seconds:.0f} s" if seconds >= 1 else said, "")

    def stop(self) -> None:
        """Leaves what was shown last, because the work ended before its end."""
        if self._handle is not None:
            self._show(" (stopped)")

    def _show(self, end: str = "") -> None:
        self._shown_s = time.monotonic()
        said = "  ".join(each for each in (self._doing, self._said, self._left) if each) + end
        limits = f' value="{self._done}" max="{self._total}"' if self._total else ""
        style = "width:14em;vertical-align:middle;margin-right:.7em"
        self._put(said, f'<progress{limits} style="{style}"></progress>')

    def _put(self, said: str, bar: str) -> None:
        style = "font-variant-numeric:tabular-nums"
        shown = {
            "text/plain": said,
            "text/html": f'<div style="{style}">{bar}{escape(said)}</div>',
        }
        if self._handle is None:
            from IPython.display import DisplayHandle

            self._handle = DisplayHandle()  # type: ignore[no-untyped-call]
            self._handle.display(shown, raw=True)
        else:
            self._handle.update(shown, raw=True)


@contextmanager
def rows_bar(doing: str, done: str) -> Iterator[Callable[[int, int | None], None]]:
    """Shows a bar over rows; yields the function that moves it to (rows done, all or `None`).

    Args:
        doing: The verb while the block lasts: `denoising`.
        done: The verb for its end: `denoised`.
    """
    bar, rows, began_s = NotebookBar(), 0, time.monotonic()

    def move(so_far: int, total: int | None) -> None:
        nonlocal rows
        if time.monotonic() - began_s < _SECONDS_UNTIL_BAR:
            return
        said = f"{so_far:,} rows" if total is None else f"{so_far:,}/{total:,} rows"
        if not rows:
            bar.begin(doing, total or 0, so_far, said)
        rows = max(so_far, 1)
        bar.move(so_far, said)

    try:
        yield move
    except BaseException:
        bar.stop()
        raise
    if rows:
        bar.end(f"{rows:,} rows {done}")
