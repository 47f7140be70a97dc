"""What the trials of a search tell the driver, and where they fetch what they are to do.

Light to import: the actor that holds it must not load torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from isthmus.launch.event_actor import ActorSender
from isthmus.progress.events import Event, Mailbox


@dataclass(frozen=True)
class TrialEvent:
    """An event of one trial.

    Attributes:
        number: The trial's, from 1.
        event: As a training job's; or its best weights so far.
    """

    number: int
    event: Event | Kept


@dataclass(frozen=True)
class Kept:
    """A trial's best weights so far; sent where it may be stopped, and when it ends.

    Attributes:
        value: The search's metric at the epoch that they are of.
        weights: In safetensors' format.
        progress: `Progress`, as a mapping: its own module loads torch.
    """

    value: float
    weights: bytes
    progress: Mapping[str, Any]


class TrialBoard(Mailbox):
    """The actor between the driver and all trials: a mailbox, and the tasks of the trials."""

    def __init__(self) -> None:
        super().__init__()
        self._tasks: dict[int, Any] = {}

    def put_task(self, number: int, task: Any) -> None:
        """Keeps what a trial is to do: Ray's reference to it, in a list."""
        self._tasks[number] = task

    def task(self, number: int) -> Any:
        """What a trial is to do."""
        return self._tasks[number]

    def drop_task(self, number: int) -> None:
        """Forgets a trial that is over, so that its rows can go."""
        self._tasks.pop(number, None)


class TrialSender(ActorSender):
    """A trial's line to the driver."""

    def __init__(self, board: Any, number: int) -> None:
        super().__init__(board)
        self._number = number

    def send(self, event: Event | Kept) -> Any:
        """Sends and does not wait; gives what can be waited for."""
        return self._put(TrialEvent(self._number, event))
