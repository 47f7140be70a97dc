"""The events in the history of a pair's aliases, and the alias positions they lead to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from isthmus.registry.halves import NOWHERE, Standing
from isthmus.registry.owner import Owner

Source = Literal["command", "page", "gate", "rollback", "schedule"]
GRACE = timedelta(seconds=60)
"""The time that a process on another machine has between an event's intent and its `done`."""

# Events that this process failed to carry out although it still runs: run id, number and time,
# which are unique together.
_given_up: set[tuple[str, int, datetime]] = set()


@dataclass(frozen=True)
class Event:
    """A change of an alias.

    Attributes:
        number: The event's number. A pair's events are counted from 1, without gaps.
        at: The time of the change, UTC, by the clock of the machine that wrote the event.
        actor: `user@host`. For a change in MLflow's UI it is "MLflow page", since MLflow does not
            say who made it.
        source: The kind of action that changed the alias; `page` is MLflow's UI.
        alias: The alias.
        from_version: The pair's version that had the alias before; `None` if none had. It equals
            `to_version` of the alias's previous event.
        to_version: The pair's version that has the alias now; `None` if the alias was removed.
        why: The reason that a person or the gate gave. It may be empty.
        deleted: Those of both versions that do not exist any more.
    """

    number: int
    at: datetime
    actor: str
    source: Source
    alias: str
    from_version: int | None
    to_version: int | None
    why: str
    deleted: tuple[int, ...] = ()


@dataclass(frozen=True)
class Draft:
    """An event that is yet to be written."""

    alias: str
    to: Standing
    source: Source
    why: str
    actor: str | None = None


@dataclass(frozen=True)
class Entry:
    """An event together with the data that only the registry needs."""

    event: Event
    decoder_version: int | None
    writer: Owner
    run_id: str
    is_done: bool

    @property
    def standing(self) -> Standing:
        """The model versions that have the alias after the event."""
        return Standing(self.event.to_version, self.decoder_version)

    @property
    def is_abandoned(self) -> bool:
        """Whether the writer died or failed after the intent, before it set the aliases."""
        return not self.is_done and (
            self._key in _given_up or self.writer.has_given_up(self.event.at, GRACE)
        )

    def give_up(self) -> None:
        """Notes that this process wrote the intent and will not set the aliases."""
        _given_up.add(self._key)

    @property
    def _key(self) -> tuple[str, int, datetime]:
        return self.run_id, self.event.number, self.event.at


@dataclass(frozen=True)
class Head:
    """The newest run of an audit trail, as of when it was read.

    Attributes:
        run_id: The id of the MLflow run.
        start: The position of each alias before the run's first event.
        entries: The run's events, oldest first.
        first_number: The number of the run's first event.
        previous: The id of the run with the events before these; `None` for the first run.
    """

    run_id: str
    start: Mapping[str, Standing]
    entries: tuple[Entry, ...]
    first_number: int
    previous: str | None

    @property
    def next_number(self) -> int:
        """The number of the next event."""
        return self.first_number + len(self.entries)

    def standings(self) -> dict[str, Standing]:
        """Returns the position of each alias after the last event."""
        return {**self.start, **{entry.event.alias: entry.standing for entry in self.entries}}

    def standing(self, alias: str) -> Standing:
        """Returns the position of an alias after the last event."""
        return self.standings().get(alias, NOWHERE)

    def open_entries(self, alias: str) -> tuple[Entry, ...]:
        """Returns the events of an alias that are not confirmed yet."""
        return tuple(e for e in self.entries if e.event.alias == alias and not e.is_done)

    def standings_since(self, entry: Entry) -> frozenset[Standing]:
        """Returns an alias's positions before an event, after it, and after each later event."""
        alias, found = entry.event.alias, self.start.get(entry.event.alias, NOWHERE)
        since: set[Standing] = set()
        for each in self.entries:
            if each.event.number == entry.event.number:
                since.add(found)
            if each.event.alias == alias:
                found = each.standing
                if since:
                    since.add(found)
        return frozenset(since)
