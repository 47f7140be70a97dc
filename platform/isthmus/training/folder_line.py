"""The line between Ray's workers and the driver where they are on one machine: a folder.

An actor would be a process more, and a message would cost it, the driver and the worker a
millisecond of Ray's own work each: on two cores that two workers have, three percent of them.
"""

from __future__ import annotations

import os
import pickle
import struct
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from isthmus.training.events import Event

# How often the driver looks: too seldom to cost anything, and sooner than a person notices.
_LOOK_S = 0.1
_EVENTS, _STOP = "events", "stop"
_LENGTH = struct.Struct("<I")


class FolderLine:
    """The driver's end: a `courier.Line`. Events outlive the worker that sent them."""

    def __init__(self) -> None:
        # Its owner's alone: what lies in it is unpickled.
        self._folder = tempfile.TemporaryDirectory(prefix="isthmus-line-")
        path = Path(self._folder.name)
        self.sender = FolderSender(path / _EVENTS, path / _STOP)
        self._file = os.open(self.sender.events, os.O_CREAT | os.O_RDONLY, 0o600)
        self._read = 0
        self._is_woken = False

    def drain(self, wait_s: float = 0.0) -> list[Event]:
        """Gives all that came since it was last asked, if need be after waiting for the first."""
        until_s = time.monotonic() + wait_s
        events = self._new_events()
        while not (events or self._is_woken or time.monotonic() >= until_s):
            time.sleep(_LOOK_S)
            events = self._new_events()
        return events

    def wake(self) -> None:
        """Ends the waiting for good: training is over."""
        self._is_woken = True

    def request_stop(self) -> None:
        """Asks the workers to stop."""
        self.sender.stop.touch()

    def close(self) -> None:
        """Removes the folder; the workers are gone."""
        os.close(self._file)
        self._folder.cleanup()

    def _new_events(self) -> list[Event]:
        new = os.pread(self._file, os.fstat(self._file).st_size - self._read, self._read)
        events, first = [], 0
        while len(new) - first >= _LENGTH.size:
            begin = first + _LENGTH.size
            end = begin + _LENGTH.unpack_from(new, first)[0]
            if end > len(new):
                break  # it is being written
            events.append(pickle.loads(new[begin:end]))  # noqa: S301 (our own worker's)
            first = end
        self._read += first
        return events


@dataclass(frozen=True)
class FolderSender:
    """The first worker's end: an `events.Sender`, which travels to it.

    Attributes:
        events: Where it writes.
        stop: Is there when the driver wants training to stop.
    """

    events: Path
    stop: Path

    def send(self, event: Event) -> None:
        """Sends."""
        pickled = pickle.dumps(event)
        with self.events.open("ab") as file:
            file.write(_LENGTH.pack(len(pickled)) + pickled)

    def stop_was_requested(self) -> bool:
        """Whether the driver wants training to stop."""
        return self.stop.exists()
