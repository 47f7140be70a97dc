"""Shows the progress of long work: as a bar on a terminal, else as a line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from isthmus.cli.terminal import err
from isthmus.progress.telling import TrainingTeller

_SECONDS_BETWEEN_LINES = 30.0


class _TerminalBar:
    """A `progress.telling.Bar`; where there is no terminal it prints a line every half minute."""

    def __init__(self, doing: str) -> None:
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[said]}"),
            TimeRemainingColumn(),
            console=err.console,
            disable=not err.is_terminal,
            transient=True,
        )
        self._task = self.progress.add_task(doing, total=None, said="")
        self._line_s = time.monotonic()

    def begin(self, doing: str, total: int, done: int, said: str) -> None:
        """Shows that a piece of work begins."""
        if not err.is_terminal:
            err.print(f"{doing} {said}")
        self.progress.reset(self._task, total=total, description=doing, said="")
        self.progress.update(self._task, completed=done)

    def move(self, done: int, said: str | None = None, left: str = "") -> None:
        """Moves the bar; without a terminal, says how far it is every half minute."""
        self.progress.update(self._task, completed=done)
        if said is not None:
            self.progress.update(self._task, said=said)
            self.print_now_and_then(f"{said}  {left}" if left else said)

    def rename(self, doing: str) -> None:
        """Shows that the work has come to something else."""
        self.progress.update(self._task, description=doing)

    def extend(self, total: int | None) -> None:
        """Sets how much is to be done; `None` if it is not known."""
        self.progress.update(self._task, total=total)

    def say(self, said: str) -> None:
        """Sets what is said beside the bar."""
        self.progress.update(self._task, said=said)

    def print_now_and_then(self, said: str) -> None:
        """Prints a line where there is no terminal, if the last one is half a minute old."""
        now_s = time.monotonic()
        if not err.is_terminal and now_s - self._line_s >= _SECONDS_BETWEEN_LINES:
            self._line_s = now_s
            err.print(said)


class TrainingProgress(TrainingTeller):
    """A `progress.Reporter` that shows the epoch, losses, rows per second and remaining time.

    Where there is no terminal it prints a line every half minute, also within an epoch.
    """

    def __init__(self) -> None:
        bar = _TerminalBar("preparing")
        super().__init__(bar)
        self._progress = bar.progress

    def __enter__(self) -> TrainingProgress:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()


@contextmanager
def rows_progress(verb: str) -> Iterator[Callable[[int, int | None], None]]:
    """Shows a bar over rows; yields the function that moves it to (rows done, all or `None`)."""
    with _bar(verb) as move:

        def tell(done: int, total: int | None) -> None:
            move(done, total, f"{done:,} rows" if total is None else f"{done:,}/{total:,} rows")

        yield tell


@contextmanager
def parts_progress(verb: str) -> Iterator[Callable[[int, int, int], None]]:
    """Shows a bar over parts; yields the function that moves it to (parts done, all, rows done)."""
    with _bar(verb) as move:
        yield lambda done, total, rows: move(
            done, total, f"{done:,}/{total:,} parts, {rows:,} rows"
        )


@contextmanager
def _bar(verb: str) -> Iterator[Callable[[int, int | None, str], None]]:
    """Yields a function that moves a bar to (done, all, what is said beside it).

    Where there is no terminal, a line is printed now and then.
    """
    bar = _TerminalBar(verb)
    with bar.progress:

        def move(done: int, total: int | None, said: str) -> None:
            bar.extend(total)
            bar.move(done)
            bar.say(said)
            bar.print_now_and_then(f"{verb} {said}")

        yield move
