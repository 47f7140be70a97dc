"""The events that training sends to the driver, and the driver's request to stop."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Protocol

from isthmus.errors import TrainingError
from isthmus.progress.reporter import EpochReport, StepReport


@dataclass(frozen=True)
class Resumed:
    """The event that training goes on from a checkpoint, sent before `Started`.

    Attributes:
        history: The reports of the epochs that the checkpoint has behind it.
    """

    history: tuple[EpochReport, ...]


@dataclass(frozen=True)
class Started:
    """The event that the workers have started.

    Attributes:
        epochs: Number of epochs of the whole job.
        rows: Number of training rows per epoch.
        first_epoch: The epoch to be trained first, counted from 1.
    """

    epochs: int
    rows: int
    first_epoch: int


@dataclass(frozen=True)
class RowsDone:
    """The event that a part of an epoch's rows has been trained on.

    Attributes:
        epoch: The epoch, counted from 1.
        done: Number of rows trained on in this epoch so far, over all workers.
    """

    epoch: int
    done: int


@dataclass(frozen=True)
class Logged:
    """The event that a callback has logged metrics.

    Attributes:
        metrics: The metrics by name.
        step: Number of optimizer steps so far.
    """

    metrics: Mapping[str, float]
    step: int


# An error is sent, not raised, if a retry would fail in the same way.
Event = Resumed | Started | RowsDone | StepReport | EpochReport | Logged | TrainingError


class Mailbox:
    """A thread-safe queue of events for the driver, with a flag that asks training to stop."""

    def __init__(self) -> None:
        # SimpleQueue is written in C: Ctrl-C cannot corrupt it, as it could a `threading.Event`.
        self._events: SimpleQueue[Event | None] = SimpleQueue()
        self._stop = False

    def put(self, event: Event) -> bool:
        """Adds an event; returns whether the driver has asked training to stop."""
        self._events.put(event)
        return self._stop

    def wake(self) -> None:
        """Makes a waiting `drain` return without an event."""
        self._events.put(None)

    def drain(self, wait_s: float = 0.0) -> list[Event]:
        """Returns the events since the last call; waits up to `wait_s` seconds for the first."""
        found: list[Event | None] = []
        with suppress(Empty):
            found.append(self._events.get(timeout=wait_s))
            while True:
                found.append(self._events.get_nowait())
        return [event for event in found if event is not None]

    def request_stop(self) -> None:
        """Asks training to stop."""
        self._stop = True

    def is_stop_requested(self) -> bool:
        """Returns whether the driver has asked training to stop."""
        return self._stop


class Sender(Protocol):
    """The first worker's channel to the driver, for which it never waits."""

    def send(self, event: Event) -> object:
        """Sends an event to the driver."""

    def stop_was_requested(self) -> bool:
        """Returns whether the driver has asked training to stop; may be out of date by a moment."""
