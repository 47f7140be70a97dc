"""How the first worker tells the driver of its progress, and the driver asks it to stop.

Ray's own `report` is a barrier and is polled every two seconds; a small actor is neither. The
driver owns it, so events survive the worker that sent them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import ray

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
    """The actor: keeps events until the driver fetches them, and a flag the other way."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._stop = False

    def put(self, event: Event) -> None:
        """Takes an event."""
        self._events.append(event)

    def drain(self) -> list[Event]:
        """Gives all that came since it was last asked."""
        events, self._events = self._events, []
        return events

    def request_stop(self) -> None:
        """Puts the flag up."""
        self._stop = True

    def is_stop_requested(self) -> bool:
        """Whether the flag is up."""
        return self._stop


def open_mailbox(kind: type[Mailbox] = Mailbox) -> Any:
    """Starts the actor; returns its handle, which travels to the workers."""
    # On the driver's own node: a worker's node may be lost.
    node = ray.get_runtime_context().get_node_id()
    return ray.remote(kind).options(num_cpus=0, label_selector={"ray.io/node-id": node}).remote()


class EventSender:
    """The first worker's end. Never waits for the driver."""

    def __init__(self, mailbox: Any) -> None:
        self._mailbox = mailbox
        self._last_s = 0.0
        self._asked: Any = None
        self._stop = False

    def send(self, event: Event) -> None:
        """Sends and does not wait."""
        self._mailbox.put.remote(event)

    def send_rows(self, event: RowsDone) -> None:
        """Sends at most a few times a second, and asks by the way whether to stop."""
        now_s = time.monotonic()
        if now_s - self._last_s < _INTERVAL_S:
            return
        self._last_s = now_s
        self.send(event)
        self._ask()

    def stop_was_requested(self) -> bool:
        """Whether the driver wants training to stop, as of a fraction of a second ago."""
        return self._stop

    def ask_now(self) -> bool:
        """As `stop_was_requested`, for the end of an epoch: epochs may be long in coming."""
        self._ask()
        return self._stop

    def _ask(self) -> None:
        if self._asked is not None:
            ready, _ = ray.wait([self._asked], timeout=0)
            if not ready:
                return
            self._stop = self._stop or bool(ray.get(self._asked))
        self._asked = self._mailbox.is_stop_requested.remote()
