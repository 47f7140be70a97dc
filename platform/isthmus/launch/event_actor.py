"""The channel between Ray's workers and the driver, on any nodes: a mailbox in an actor.

Ray's own `report` is a barrier and is polled every two seconds; a small actor is neither. The
driver owns the actor, so events survive the worker that sent them.
"""

from __future__ import annotations

import threading
from typing import Any

import ray

from isthmus.progress.events import Event, Mailbox


def open_mailbox(kind: type[Mailbox] = Mailbox) -> Any:
    """Starts the actor; returns its handle, which can be sent to the workers."""
    # On the driver's own node: a worker's node may be lost.
    node = ray.get_runtime_context().get_node_id()
    options = {
        "num_cpus": 0,
        "label_selector": {"ray.io/node-id": node},
        "max_concurrency": 2,  # because the driver's call may be waiting
    }
    return ray.remote(kind).options(**options).remote()


class ActorLine:
    """The driver's end of the channel, a `courier.Line`.

    Attributes:
        sender: The first worker's end, to be sent to that worker.
    """

    def __init__(self, mailbox: Any) -> None:
        self.sender = ActorSender(mailbox)
        self._mailbox = mailbox
        self._answer: Any = None
        self._events: list[Event] = []
        self._is_closed = False
        self._lock = threading.Lock()

    def drain(self, wait_s: float = 0.0) -> list[Event]:
        """Returns the events since the last call; waits up to `wait_s` seconds for the first."""
        # Ctrl-C during a wait must not lose the events that the pending call returns. They may be
        # old by now, so the mailbox is asked again.
        if self._answer is not None:
            self._fetch()
            wait_s = 0.0
        self._answer = self._mailbox.drain.remote(wait_s)
        self._fetch()
        events, self._events = self._events, []
        return events

    def _fetch(self) -> None:
        self._events += ray.get(self._answer)
        self._answer = None

    def wake(self) -> None:
        """Makes a waiting `drain` return; does nothing once the channel is closed.

        The thread that waits for training may call this after the driver has disconnected from Ray:
        a call to the actor would then fail, and would start another Ray before it did.
        """
        with self._lock:
            if not self._is_closed:
                self._mailbox.wake.remote()

    def request_stop(self) -> None:
        """Asks the workers to stop; does nothing once the channel is closed."""
        with self._lock:
            if not self._is_closed:
                self._mailbox.request_stop.remote()

    def close(self) -> None:
        """Closes the channel; the actor ends when nobody holds its handle."""
        with self._lock:
            self._is_closed = True


class ActorSender:
    """The first worker's end of the channel, an `events.Sender`."""

    def __init__(self, mailbox: Any) -> None:
        self._mailbox = mailbox
        self._answer: Any = None
        self._stop = False

    def send(self, event: Event) -> Any:
        """Sends an event without waiting; returns an object reference that can be waited for."""
        return self._put(event)

    def stop_was_requested(self) -> bool:
        """Returns whether the driver has asked to stop, by the last answer that has arrived."""
        if self._answer is not None and ray.wait([self._answer], timeout=0)[0]:
            self._stop = self._stop or bool(ray.get(self._answer))
            self._answer = None
        return self._stop

    def _put(self, what: object) -> Any:
        # The answer says whether to stop, which saves a message of its own.
        answer = self._mailbox.put.remote(what)
        if self._answer is None:
            self._answer = answer
        return answer
