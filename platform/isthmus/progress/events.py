"""What training tells the driver of its progress, and how the driver asks it to stop."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Protocol

from isthmus.errors import TrainingError
from isthmus.progress.reporter import EpochReport


@dataclass(frozen=True)
class Started:
    """Workers are up.

    Attributes:
        epochs: All epochs of the job.
        rows: Rows that an epoch trains on.
        first_epoch: The epoch that comes next, from 1.
        history: The reports of the epochs before it, as the checkpoint has them.
    """

    epochs: int
    rows: int
    first_epoch: int
    history: tuple[EpochReport, ...] = ()


@dataclass(frozen=True)
class RowsDone:
    """Rows of an epoch that are through.

    Attributes:
        epoch: Counted from 1.
        done: Rows, over all workers.
    """

    epoch: int
    done: int


# An error is sent, not raised, where another try would end the same way.
Event = Started | RowsDone | EpochReport | TrainingError


class Mailbox:
    """Keeps events until the driver fetches them, and a flag the other way; safe for threads."""

    def __init__(self) -> None:
        # A queue written in C: Ctrl-C within it breaks nothing, as it would in `threading.Event`.
        self._events: SimpleQueue[Event | None] = SimpleQueue()
        self._stop = False

    def put(self, event: Event) -> bool:
        """Takes an event; gives whether the flag is up."""
        self._events.put(event)
        return self._stop

    def wake(self) -> None:
        """Lets whoever waits for events go on without."""
        self._events.put(None)

    def drain(self, wait_s: float = 0.0) -> list[Event]:
        """Gives all that came since it was last asked, if need be after waiting for the first."""
        found: list[Event | None] = []
        with suppress(Empty):
            found.append(self._events.get(timeout=wait_s))
            while True:
                found.append(self._events.get_nowait())
        return [event for event in found if event is not None]

    def request_stop(self) -> None:
        """Puts the flag up."""
        self._stop = True

    def is_stop_requested(self) -> bool:
        """Whether the flag is up."""
        return self._stop


class Sender(Protocol):
    """The first worker's end of the line. Never waits for the driver."""

    def send(self, event: Event) -> object:
        """Sends."""

    def stop_was_requested(self) -> bool:
        """Whether the driver wants training to stop, as of what was sent last but a moment ago."""
