"""The line between Ray's workers and the driver, wherever they are: a mailbox in an actor.

Ray's own `report` is a barrier and is polled every two seconds; a small actor is neither. The
driver owns it, so events survive the worker that sent them.
"""

from __future__ import annotations

import threading
from typing import Any

import ray

from isthmus.progress.events import Event, Mailbox


def open_mailbox(kind: type[Mailbox] = Mailbox) -> Any:
    """Starts the actor; returns its handle, which travels to the workers."""
    # On the driver's own node: a worker's node may be lost.
    node = ray.get_runtime_context().get_node_id()
    options = {
        "num_cpus": 0,
        "label_selector": {"ray.io/node-id": node},
        "max_concurrency": 2,  # one of which may be the driver, who waits
    }
    return ray.remote(kind).options(**options).remote()


class ActorLine:
    """The driver's end: a `courier.Line`.

    Attributes:
        sender: The first worker's end, which travels to it.
    """

    def __init__(self, mailbox: Any) -> None:
        self.sender = ActorSender(mailbox)
        self._mailbox = mailbox
        self._answer: Any = None
        self._events: list[Event] = []
        self._is_closed = False
        self._lock = threading.Lock()

    def drain(self, wait_s: float = 0.0) -> list[Event]:
        """Gives all that came since it was last asked, if need be after waiting for the first."""
        # Ctrl-C while it waits must not lose what the mailbox gives then; nor is an answer from
        # before it the newest.
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
        """Ends the waiting; does nothing once the line is closed.

        The thread that waits for training may call this when the driver has left Ray: a call to
        the actor would then fail, and would start another Ray before it did.
        """
        with self._lock:
            if not self._is_closed:
                self._mailbox.wake.remote()

    def request_stop(self) -> None:
        """Asks the workers to stop; does nothing once the line is closed."""
        with self._lock:
            if not self._is_closed:
                self._mailbox.request_stop.remote()

    def close(self) -> None:
        """Sends nothing any more; the actor ends when nobody holds its handle."""
        with self._lock:
            self._is_closed = True


class ActorSender:
    """The first worker's end: an `events.Sender`."""

    def __init__(self, mailbox: Any) -> None:
        self._mailbox = mailbox
        self._answer: Any = None
        self._stop = False

    def send(self, event: Event) -> Any:
        """Sends and does not wait; gives what can be waited for."""
        return self._put(event)

    def stop_was_requested(self) -> bool:
        """Whether the driver wants training to stop, by the last answer that is here already."""
        if self._answer is not None and ray.wait([self._answer], timeout=0)[0]:
            self._stop = self._stop or bool(ray.get(self._answer))
            self._answer = None
        return self._stop

    def _put(self, what: object) -> Any:
        # The answer says whether to stop: a question of its own would be one more message.
        answer = self._mailbox.put.remote(what)
        if self._answer is None:
            self._answer = answer
        return answer
