"""What training tells the driver of its progress, and how the driver asks it to stop."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Protocol

from isthmus.errors import TrainingError
from isthmus.training.reporter import EpochReport

# Often enough for a progress bar and for Ctrl-C, seldom enough to cost nothing.
_INTERVAL_S = 0.5


@dataclass(frozen=True)
class Started:
    """Workers are up."""

    epochs: int
    rows: int
    first_epoch: int


@dataclass(frozen=True)
class RowsDone:
    """Rows of an epoch that are through."""

    epoch: int
    done: int


# An error is sent, not raised, where another try would end the same way.
Event = Started | RowsDone | EpochReport | TrainingError


class Mailbox:
    """Keeps events until the driver fetches them, and a flag the other way; safe for threads."""

    def __init__(self) -> None:
        # Of C, so that Ctrl-C in the midst of it leaves it whole; `threading.Event` it does not.
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


class Seldom:
    """Says when it is time again."""

    def __init__(self) -> None:
        self._last_s = 0.0

    def is_due(self) -> bool:
        """Whether the last time was long enough ago; if so, this is the last time."""
        now_s = time.monotonic()
        if now_s - self._last_s < _INTERVAL_S:
            return False
        self._last_s = now_s
        return True
