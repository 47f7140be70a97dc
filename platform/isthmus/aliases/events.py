"""The events of a pair's history, and where they put its aliases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from isthmus.registry.halves import NOWHERE, Standing
from isthmus.registry.owner import Owner

Source = Literal["command", "page", "gate", "rollback", "schedule"]
GRACE = timedelta(seconds=60)
"""How long a process of another machine may take between an event's intent and its `done`."""

# What failed in this process, which lives on: run, number, and when, which no two share.
_given_up: set[tuple[str, int, datetime]] = set()


@dataclass(frozen=True)
class Event:
    """One change of an alias.

    Attributes:
        number: Counts a pair's events, from 1, without gaps.
        at: When, UTC, by the clock of whoever wrote it.
        actor: `user@host`; for what was clicked, the page, which does not say who it was.
        source: How it came about.
        alias: Which.
        from_version: The pair's version that had it; `None` if none had. It is the `to_version`
            of the event before.
        to_version: That has it now; `None` if it was taken away.
        why: A person's or a gate's reason; may be empty.
    """

    number: int
    at: datetime
    actor: str
    source: Source
    alias: str
    from_version: int | None
    to_version: int | None
    why: str


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
    """An event with what only the registry needs to know of it."""

    event: Event
    decoder_version: int | None
    writer: Owner
    run_id: str
    is_done: bool

    @property
    def standing(self) -> Standing:
        """Where the event puts the alias."""
        return Standing(self.event.to_version, self.decoder_version)

    @property
    def is_abandoned(self) -> bool:
        """Whether its writer died, or failed, between the intent and the deed."""
        return not self.is_done and (
            self._key in _given_up or self.writer.has_given_up(self.event.at, GRACE)
        )

    def give_up(self) -> None:
        """Says that this process wrote the intent and will not do the deed."""
        _given_up.add(self._key)

    @property
    def _key(self) -> tuple[str, int, datetime]:
        return self.run_id, self.event.number, self.event.at


@dataclass(frozen=True)
class Head:
    """The newest run of a trail, as it was when it was read.

    Attributes:
        run_id: Of MLflow.
        start: Where each alias stood before the run's first event.
        entries: The run's events, oldest first.
        first_number: Of the run's first event.
        previous: The run with the events before; `None` in the first.
    """

    run_id: str
    start: Mapping[str, Standing]
    entries: tuple[Entry, ...]
    first_number: int
    previous: str | None

    @property
    def next_number(self) -> int:
        """Of the event that comes next."""
        return self.first_number + len(self.entries)

    def standings(self) -> dict[str, Standing]:
        """Where the events put each alias."""
        return {**self.start, **{entry.event.alias: entry.standing for entry in self.entries}}

    def standing(self, alias: str) -> Standing:
        """Where the events put an alias."""
        return self.standings().get(alias, NOWHERE)

    def open_entries(self, alias: str) -> tuple[Entry, ...]:
        """The events of an alias that nobody has confirmed yet."""
        return tuple(e for e in self.entries if e.event.alias == alias and not e.is_done)

    def standings_since(self, entry: Entry) -> frozenset[Standing]:
        """Where an alias stood before an event, and where that and later ones put it."""
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
