"""Shows the progress of long work: as a bar on a terminal, else as a line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from isthmus.cli.terminal import err

if TYPE_CHECKING:
    from isthmus.progress.reporter import EpochReport

_SECONDS_BETWEEN_LINES = 5.0


class TrainingProgress:
    """A `progress.Reporter` that shows the epoch, losses, rows per second and remaining time."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[said]}"),
            TimeRemainingColumn(),
            console=err.console,
            disable=not err.is_terminal,
            transient=True,
        )
        self._task = self._progress.add_task("preparing", total=None, said="")
        self._rows = 1
        self._epochs = 0
        self._line_s = time.monotonic()
        self._member = ""

    def __enter__(self) -> TrainingProgress:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def on_member(self, number: int, members: int) -> None:
        """Shows that another member of an ensemble is trained from here on."""
        self._member = f" member {number} of {members}"

    def on_start(self, epochs: int, rows: int, first_epoch: int) -> None:
        """Shows that the workers have started."""
        self._epochs, self._rows = epochs, rows
        if not err.is_terminal:
            span = f"from epoch {first_epoch} to {epochs} on {rows:,} rows each"
            err.print(f"training{self._member} {span}")
        description = f"training{self._member}"
        self._progress.reset(self._task, total=epochs * rows, description=description, said="")
        self._progress.update(self._task, completed=(first_epoch - 1) * rows)

    def on_rows(self, epoch: int, done: int) -> None:
        """Moves the bar within an epoch."""
        self._progress.update(self._task, completed=(epoch - 1) * self._rows + done)

    def on_epoch(self, report: EpochReport) -> None:
        """Shows a finished epoch."""
        said = (
            f"epoch {report.epoch}/{self._epochs}  loss {report.train['loss']:.4g}  "
            f"validation {report.validation['loss']:.4g}  {report.rows_per_s:,.0f} rows/s"
        )
        self._progress.update(self._task, completed=report.epoch * self._rows, said=said)
        now_s = time.monotonic()
        if not err.is_terminal and now_s - self._line_s >= _SECONDS_BETWEEN_LINES:
            self._line_s = now_s
            err.print(said)
        if report.epoch == self._epochs:
            self._progress.update(self._task, description="evaluating")


@contextmanager
def rows_progress(verb: str) -> Iterator[Callable[[int, int | None], None]]:
    """Shows a bar over rows; yields the function that moves it to (rows done, all or `None`)."""
    with _bar(verb) as move:

        def tell(done: int, total: int | None) -> None:
            move(done, total, f"{done:,} rows" if total is None else f"{done:,}/{total:,} rows")

        yield tell


@contextmanager
def parts_progress(verb: str) -> Iterator[Callable[[int, int, int], None]]:
    """Shows a bar over parts; yields the function that moves it to (parts done, all, rows done).

    Where there is no terminal, a line is printed now and then.
    """
    line_s = time.monotonic()
    with _bar(verb) as move:

        def tell(done: int, total: int, rows: int) -> None:
            nonlocal line_s
            said = f"{done:,}/{total:,} parts, {rows:,} rows"
            move(done, total, said)
            if not err.is_terminal and time.monotonic() - line_s >= _SECONDS_BETWEEN_LINES:
                line_s = time.monotonic()
                err.print(said)

        yield tell


@contextmanager
def _bar(verb: str) -> Iterator[Callable[[int, int | None, str], None]]:
    """Yields a function that moves a bar to (done, all, what is said beside it)."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[said]}"),
        TimeRemainingColumn(),
        console=err.console,
        disable=not err.is_terminal,
        transient=True,
    ) as progress:
        task = progress.add_task(verb, total=None, said="")

        def move(done: int, total: int | None, said: str) -> None:
            progress.update(task, completed=done, total=total, said=said)

        yield move
