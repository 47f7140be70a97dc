"""Waits for training, and forwards its events to the reporter, and Ctrl-C to training."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import Protocol, TypeVar

from isthmus.errors import TrainingError
from isthmus.launch.background import Background
from isthmus.progress.events import Event, Logged, Resumed, RowsDone, Started
from isthmus.progress.reporter import (
    EpochReport,
    MetricsReporter,
    Reporter,
    ResumeReporter,
    StepReport,
    StepReporter,
)

# How long one wait for events lasts: while it does, Ray does not handle Ctrl-C.
_PATIENCE_S = 0.5
Result = TypeVar("Result")


class Line(Protocol):
    """The driver's end of the channel to training."""

    def drain(self, wait_s: float) -> list[Event]:
        """Returns the events since the last call; waits up to `wait_s` seconds for the first."""

    def request_stop(self) -> None:
        """Asks training to stop."""


def accompany(outcome: Background[Result], line: Line, reporter: Reporter) -> None:
    """Forwards events and Ctrl-C until training has ended, whether it succeeded or failed.

    `outcome` must wake the line when it ends. The first Ctrl-C asks training to stop after the
    epoch; the second is raised.

    Raises:
        TrainingError: If training reports that it cannot continue.
        KeyboardInterrupt: At the second Ctrl-C, or at the first if training has not begun.
    """
    courier = _Courier(line, reporter)
    try:
        outcome.attend(partial(courier.deliver, _PATIENCE_S), courier.request_stop)
        courier.deliver(0.0)
    except BaseException:
        line.request_stop()
        raise
    if courier.error is not None:
        raise courier.error


class _Courier:
    """Forwards the workers' events to the reporter, each epoch once and in order."""

    def __init__(self, line: Line, reporter: Reporter) -> None:
        self.error: TrainingError | None = None
        self._line = line
        self._reporter = reporter
        self._is_started = False
        self._epochs_told = 0
        # Kept between calls: Ctrl-C while one event is reported must not lose the next.
        self._events: deque[Event] = deque()

    def request_stop(self) -> None:
        self._line.request_stop()
        if not self._is_started:
            raise KeyboardInterrupt  # no training has begun that could stop

    def deliver(self, wait_s: float) -> None:
        self._events += self._line.drain(wait_s)
        while self._events:
            event = self._events.popleft()
            match event:
                case Resumed():
                    if isinstance(self._reporter, ResumeReporter):
                        self._reporter.on_resume(event.history)
                case Started():
                    self._is_started = True
                    self._reporter.on_start(event.epochs, event.rows, event.first_epoch)
                case RowsDone():
                    self._reporter.on_rows(event.epoch, event.done)
                case StepReport():
                    if isinstance(self._reporter, StepReporter):
                        self._reporter.on_step(event)
                case EpochReport() if event.epoch > self._epochs_told:
                    # A replaced worker repeats some epochs.
                    self._epochs_told = event.epoch
                    self._reporter.on_epoch(event)
                case Logged():
                    if isinstance(self._reporter, MetricsReporter):
                        self._reporter.on_metrics(event.metrics, event.step)
                case TrainingError():
                    self.error = event
