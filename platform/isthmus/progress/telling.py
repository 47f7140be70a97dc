"""Puts the progress of a training into words, for a bar in a terminal, a log or a notebook."""

from __future__ import annotations

import time
from typing import Protocol

from isthmus.progress.counting import counted
from isthmus.progress.reporter import EpochReport, StepReport


class Bar(Protocol):
    """A bar that shows how far a piece of work is."""

    def begin(self, doing: str, total: int, done: int, said: str) -> None:
        """Begins a piece of work.

        Args:
            doing: The verb of the work: `training`.
            total: The amount that is to be done.
            done: The amount that is done already.
            said: The subject in words.
        """

    def move(self, done: int, said: str | None = None, left: str = "") -> None:
        """Moves the bar.

        Args:
            done: The amount that is done.
            said: The words beside it from here on; `None` leaves them.
            left: The time that is left, in words, for bars that do not know it themselves.
        """

    def rename(self, doing: str) -> None:
        """Shows that the work has come to something else."""


class TrainingTeller:
    """A `progress.Reporter` that tells the epoch, losses, rows per second and remaining time."""

    def __init__(self, bar: Bar) -> None:
        self.epochs = 0
        """The number of epochs that are finished."""
        self._bar = bar
        self._rows = 1
        self._epochs = 0
        self._member = ""
        self._began_s = time.monotonic()
        self._rows_at_begin = 0

    def on_member(self, number: int, members: int) -> None:
        """Tells that another member of an ensemble is trained from here on."""
        self._member = f" ensemble member {number} of {members}"

    def on_start(self, epochs: int, rows: int, first_epoch: int) -> None:
        """Tells that the workers have started."""
        self._epochs, self._rows = epochs, rows
        self._began_s, self._rows_at_begin = time.monotonic(), (first_epoch - 1) * rows
        span = f"epochs {first_epoch} to {epochs}, each of {counted(rows, 'rows')}"
        self._bar.begin(f"training{self._member}", epochs * rows, self._rows_at_begin, span)

    def on_rows(self, epoch: int, done: int) -> None:
        """Moves the bar within an epoch."""
        self._bar.move((epoch - 1) * self._rows + done)

    def on_step(self, report: StepReport) -> None:
        """Tells how far an unfinished epoch is."""
        done = (report.epoch - 1) * self._rows + report.done
        rate, left = self._pace(done)
        said = (
            f"epoch {report.epoch}/{self._epochs}, step {report.step:,}/{report.steps:,}  "
            f"loss {report.loss:.4g}  {rate:,.0f} rows/s"
        )
        self._bar.move(done, said, left)

    def on_epoch(self, report: EpochReport) -> None:
        """Tells the losses of a finished epoch."""
        self.epochs = report.epoch
        done = report.epoch * self._rows
        _, left = self._pace(done)
        said = (
            f"epoch {report.epoch}/{self._epochs}  loss {report.train['loss']:.4g}  "
            f"validation {report.validation['loss']:.4g}  {report.rows_per_s:,.0f} rows/s"
        )
        is_last = report.epoch == self._epochs
        self._bar.move(done, said, "" if is_last else left)
        if is_last:
            self._bar.rename("evaluating")

    def _pace(self, rows: int) -> tuple[float, str]:
        """Returns the rows per second so far, and the time that is left, in words."""
        elapsed_s = max(time.monotonic() - self._began_s, 1e-6)
        rate = max(rows - self._rows_at_begin, 1) / elapsed_s
        return rate, f"{in_words((self._epochs * self._rows - rows) / rate)} left at most"


def in_words(seconds: float) -> str:
    """Returns a duration in the two units that say most: `2 h 5 min`, `40 s`."""
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
