"""The events that trials send to the driver, and the actor that gives the trials their tasks.

This module is light to import, because the actor must not load torch.
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
        number: The trial's number, counted from 1.
        event: An event of any training job, or the trial's best weights so far.
    """

    number: int
    event: Event | Kept


@dataclass(frozen=True)
class Kept:
    """A trial's best weights so far, sent when the trial may be stopped and when it ends.

    Attributes:
        value: The search's metric at the epoch of these weights.
        weights: The weights in safetensors format.
        progress: The trial's `Progress` as a mapping, because the module of `Progress` loads torch.
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
        """Stores a trial's task: Ray's reference to it, in a list."""
        self._tasks[number] = task

    def task(self, number: int) -> Any:
        """Returns a trial's task, as `put_task` stored it."""
        return self._tasks[number]

    def drop_task(self, number: int) -> None:
        """Deletes the task of a trial that has ended, so that Ray can free its rows."""
        self._tasks.pop(number, None)


class TrialSender(ActorSender):
    """A trial's channel to the driver."""

    def __init__(self, board: Any, number: int) -> None:
        super().__init__(board)
        self._number = number

    def send(self, event: Event | Kept) -> Any:
        """Sends an event without waiting; returns an object reference that can be waited for."""
        return self._put(TrialEvent(self._number, event))
