"""What training tells the driver of its progress, and how the driver asks it to stop."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import Protocol

from isthmus.errors import TrainingError
from isthmus.training.reporter import EpochReport

# Often enough for a progress bar and for Ctrl-C, seldom enough to cost nothing.
_INTERVAL_S = 0.25


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
        self._events: deque[Event] = deque()
        self._stop = False

    def put(self, event: Event) -> None:
        """Takes an event."""
        self._events.append(event)

    def drain(self) -> list[Event]:
        """Gives all that came since it was last asked."""
        return [self._events.popleft() for _ in range(len(self._events))]

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

    def send_rows(self, event: RowsDone) -> None:
        """Sends at most a few times a second, and asks by the way whether to stop."""

    def stop_was_requested(self) -> bool:
        """Whether the driver wants training to stop, as of a fraction of a second ago."""

    def ask_now(self) -> bool:
        """As `stop_was_requested`, for the end of an epoch: epochs may be long in coming."""


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
