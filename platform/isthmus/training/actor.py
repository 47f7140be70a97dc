"""The line between a Ray worker and the driver: a mailbox in an actor.

Ray's own `report` is a barrier and is polled every two seconds; a small actor is neither. The
driver owns it, so events survive the worker that sent them.
"""

from __future__ import annotations

from typing import Any

import ray

from isthmus.training.events import Event, Mailbox, RowsDone, Seldom


def open_mailbox(kind: type[Mailbox] = Mailbox) -> Any:
    """Starts the actor; returns its handle, which travels to the workers."""
    # On the driver's own node: a worker's node may be lost.
    node = ray.get_runtime_context().get_node_id()
    return ray.remote(kind).options(num_cpus=0, label_selector={"ray.io/node-id": node}).remote()


class DriversEnd:
    """The driver's end: what it asks of the mailbox."""

    def __init__(self, mailbox: Any) -> None:
        self._mailbox = mailbox

    def drain(self) -> list[Event]:
        """Gives all that came since it was last asked."""
        events: list[Event] = ray.get(self._mailbox.drain.remote())
        return events

    def request_stop(self) -> None:
        """Asks the workers to stop."""
        self._mailbox.request_stop.remote()


class ActorSender:
    """The first worker's end: an `events.Sender`."""

    def __init__(self, mailbox: Any) -> None:
        self._mailbox = mailbox
        self._seldom = Seldom()
        self._asked: Any = None
        self._stop = False

    def send(self, event: Event) -> object:
        """Sends and does not wait."""
        return self._mailbox.put.remote(event)

    def send_rows(self, event: RowsDone) -> None:
        """Sends at most a few times a second, and asks by the way whether to stop."""
        if self._seldom.is_due():
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
