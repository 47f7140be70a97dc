"""What training tells whoever listens: a run log, a progress bar, both, or nobody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True)
class EpochReport:
    """One finished epoch, averaged over all workers.

    Attributes:
        epoch: Epochs done, counted from 1.
        train: Loss and its parts on the training rows: `loss`, `reconstruction`, `kl`, ...;
            summed over a row's numbers, averaged over rows.
        validation: The same on the validation rows.
        learning_rate: At the end of the epoch.
        rows_per_s: Training rows a second, over all workers.
        attempt: 1, and one more after each restart or resume.
    """

    epoch: int
    train: Mapping[str, float]
    validation: Mapping[str, float]
    learning_rate: float
    rows_per_s: float
    attempt: int = 1


class Reporter(Protocol):
    """Hears of training's progress, in the driver process, in order, each epoch once."""

    def on_start(self, epochs: int, rows: int, first_epoch: int) -> None:
        """Workers are up; `epochs` in all, `rows` training rows each, `first_epoch` from 1."""

    def on_rows(self, epoch: int, done: int) -> None:
        """`done` of the epoch's training rows are through; called a few times a second."""

    def on_epoch(self, report: EpochReport) -> None:
        """An epoch is finished."""


@runtime_checkable
class ResumeReporter(Protocol):
    """A reporter that wants to know what a resumed run has behind it; before `on_start`."""

    def on_resume(self, history: Sequence[EpochReport]) -> None:
        """Training goes on from a checkpoint after these epochs; some may be known already."""


class Reporters:
    """Passes each call on to several reporters."""

    def __init__(self, *reporters: Reporter) -> None:
        self._reporters = reporters

    def on_resume(self, history: Sequence[EpochReport]) -> None:
        for reporter in self._reporters:
            if isinstance(reporter, ResumeReporter):
                reporter.on_resume(history)

    def on_start(self, epochs: int, rows: int, first_epoch: int) -> None:
        for reporter in self._reporters:
            reporter.on_start(epochs, rows, first_epoch)

    def on_rows(self, epoch: int, done: int) -> None:
        for reporter in self._reporters:
            reporter.on_rows(epoch, done)

    def on_epoch(self, report: EpochReport) -> None:
        for reporter in self._reporters:
            reporter.on_epoch(report)
