"""The base class of the stack's servers: how each is started, checked, and found by clients."""

from __future__ import annotations

import signal
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from isthmus.stack.place import HOST, Place


class Service(ABC):
    """A server of the stack; each server is a subclass."""

    name: ClassVar[str]
    """The name in commands and in the saved state."""
    title: ClassVar[str]
    """The name in messages."""
    requires: ClassVar[tuple[str, ...]] = ()
    """Names of the services that it needs."""
    waits: ClassVar[bool] = True
    """Whether it starts only after those are ready."""
    more_ports: ClassVar[tuple[str, ...]] = ()
    """Names of its additional ports; the first port has the name of the service."""
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    """The signal that asks it to end, even if clients are connected."""
    stop_timeout_s: ClassVar[float] = 10.0
    """The longest wait for its end, in seconds."""

    @property
    def ports(self) -> tuple[str, ...]:
        """The names of all its ports."""
        return (self.name, *(f"{self.name}.{name}" for name in self.more_ports))

    def user(self) -> str | None:
        """Returns the user that it runs as; `None` means the current user."""
        return None

    def check(self, place: Place) -> None:  # noqa: B027 (most need none)
        """Raises an error if something that can be known in advance would keep it from starting."""

    def prepare(self, place: Place) -> None:  # noqa: B027 (some need none)
        """Creates what it needs on disk, and leaves nothing half-made."""

    @abstractmethod
    def command(self, place: Place) -> list[str]:
        """Returns the program with its arguments."""

    def environment(self, place: Place) -> Mapping[str, str]:
        """Returns its variables besides those of this process."""
        return {}

    @abstractmethod
    def answers(self, place: Place) -> bool:
        """Returns whether it answers now, after a second or two at most."""

    def becomes_ready(self, place: Place) -> bool:
        """Returns whether clients can use it now; creates what they need in it once it answers."""
        return self.answers(place)

    def address(self, place: Place) -> str:
        """Returns the address for users."""
        return f"http://{HOST}:{place.ports[self.name]}"

    def client_environment(self, place: Place) -> Mapping[str, str]:
        """Returns the variables by which its clients find it."""
        return {}
