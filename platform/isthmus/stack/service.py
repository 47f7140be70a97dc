"""What all servers of the stack have in common: how each is started, asked, and found by others."""

from __future__ import annotations

import signal
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from isthmus.stack.place import HOST, Place


class Service(ABC):
    """A server of the stack; one subclass for each."""

    name: ClassVar[str]
    """As in commands and in the state."""
    title: ClassVar[str]
    """As in messages."""
    requires: ClassVar[tuple[str, ...]] = ()
    """Services without which it is of no use."""
    waits: ClassVar[bool] = True
    """Whether those must be ready before it starts."""
    more_ports: ClassVar[tuple[str, ...]] = ()
    """Names of ports besides its own, which is called as the service is."""
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    """Asks it to end, whoever is connected."""
    stop_timeout_s: ClassVar[float] = 10.0
    """The longest wait for that."""

    @property
    def ports(self) -> tuple[str, ...]:
        """The names of all its ports."""
        return (self.name, *(f"{self.name}.{name}" for name in self.more_ports))

    def user(self) -> str | None:
        """Whom it runs as; `None` is who runs this."""
        return None

    def check(self, place: Place) -> None:  # noqa: B027 (most need none)
        """Raises what would keep it from starting and can be known before anything is started."""

    def prepare(self, place: Place) -> None:  # noqa: B027 (some need none)
        """Makes what it needs on disk, and leaves nothing half-made."""

    @abstractmethod
    def command(self, place: Place) -> list[str]:
        """The program with its arguments."""

    def environment(self, place: Place) -> Mapping[str, str]:
        """Its variables besides those of who runs this."""
        return {}

    @abstractmethod
    def answers(self, place: Place) -> bool:
        """Whether it answers now; asks for a second or two at most."""

    def becomes_ready(self, place: Place) -> bool:
        """Whether others can use it now; makes in it what they need, once it answers."""
        return self.answers(place)

    def address(self, place: Place) -> str:
        """Where people find it."""
        return f"http://{HOST}:{place.ports[self.name]}"

    def client_environment(self, place: Place) -> Mapping[str, str]:
        """The variables by which its users find it."""
        return {}
