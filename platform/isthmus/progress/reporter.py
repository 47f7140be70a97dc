"""The interface through which training reports its progress to run logs and progress bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True)
class EpochReport:
    """The metrics of one finished epoch, averaged over all workers.

    Attributes:
        epoch: The epoch, counted from 1.
        train: The loss and its parts on the training rows: `loss`, `reconstruction`, `kl`, ...;
            summed over a row's values, averaged over rows.
        validation: The same on the validation rows.
        learning_rate: The learning rate at the end of the epoch.
        rows_per_s: Training rows per second, over all workers.
        attempt: 1 at first, and one more after each restart or resume.
    """

    epoch: int
    train: Mapping[str, float]
    validation: Mapping[str, float]
    learning_rate: float
    rows_per_s: float
    attempt: int = 1


@dataclass(frozen=True)
class StepReport:
    """The progress within an unfinished epoch, which is reported every few seconds.

    Attributes:
        epoch: The epoch, counted from 1.
        step: The number of optimizer steps in it so far.
        steps: The number of optimizer steps in an epoch.
        done: The number of its rows that are trained on, over all workers.
        loss: The mean training loss of the epoch so far, per row, on the first worker.
    """

    epoch: int
    step: int
    steps: int
    done: int
    loss: float


class Reporter(Protocol):
    """Receives the progress of training in the driver process, in order, each epoch once."""

    def on_start(self, epochs: int, rows: int, first_epoch: int) -> None:
        """Reports that the workers have started.

        Args:
            epochs: Number of epochs of the whole job.
            rows: Number of training rows per epoch.
            first_epoch: The epoch to be trained first, counted from 1.
        """

    def on_rows(self, epoch: int, done: int) -> None:
        """Reports that `done` rows of the epoch are trained on; called a few times per second."""

    def on_epoch(self, report: EpochReport) -> None:
        """Reports a finished epoch."""


@runtime_checkable
class ResumeReporter(Protocol):
    """A reporter that also receives the earlier epochs of a resumed run, before `on_start`."""

    def on_resume(self, history: Sequence[EpochReport]) -> None:
        """Reports the epochs before the checkpoint; some may have been reported already."""


@runtime_checkable
class StepReporter(Protocol):
    """A reporter that is also told every few seconds how far an unfinished epoch is."""

    def on_step(self, report: StepReport) -> None:
        """Reports how far the epoch is."""


@runtime_checkable
class MetricsReporter(Protocol):
    """A reporter that also receives the metrics that a user's Lightning callbacks log."""

    def on_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Receives metrics by name, with the number of optimizer steps so far."""


@runtime_checkable
class EnsembleReporter(Protocol):
    """A reporter that is also told which member of an ensemble is trained next."""

    def on_member(self, number: int, members: int) -> None:
        """Reports that a further member begins, counted from 1; what follows is about it."""


class SilentReporter:
    """A reporter that reports nothing."""

    def on_start(self, epochs: int, rows: int, first_epoch: int) -> None:
        """Does nothing."""

    def on_rows(self, epoch: int, done: int) -> None:
        """Does nothing."""

    def on_epoch(self, report: EpochReport) -> None:
        """Does nothing."""


class Reporters:
    """A reporter that forwards each call to several reporters."""

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

    def on_step(self, report: StepReport) -> None:
        for reporter in self._reporters:
            if isinstance(reporter, StepReporter):
                reporter.on_step(report)

    def on_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        for reporter in self._reporters:
            if isinstance(reporter, MetricsReporter):
                reporter.on_metrics(metrics, step)
