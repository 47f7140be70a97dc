"""Sets the aliases of both halves to what the history says."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from isthmus.aliases.copies import whole
from isthmus.aliases.events import Draft, Entry, Event, Head
from isthmus.aliases.history import Trail
from isthmus.errors import ModelNotFound, Overtaken
from isthmus.registry.halves import NOWHERE, Standing
from isthmus.registry.lookup import holder, without_checks
from isthmus.registry.patience import beside_others
from isthmus.registry.reference import decoder_name, encoder_name
from isthmus.spec import Settings

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_logger = logging.getLogger(__name__)

PAGE = "MLflow page"
"""The actor of what was clicked: MLflow does not say who it was."""


class Aliases:
    """The aliases of one pair together with their history."""

    def __init__(self, client: MlflowClient, name: str, settings: Settings) -> None:
        """Args:
        client: The registry.
        name: Of the pair.
        settings: Where the registry is.
        """
        self.trail = Trail(client, name, settings)
        self._client = client
        self._settings = settings
        self._name = name

    def change(self, decide: Callable[[Head], Draft | None]) -> Entry | None:
        """Writes an event, then sets the aliases.

        Args:
            decide: Says what happens, given the newest events; asked again whenever another
                process was quicker.

        Returns:
            The event; `None` if there was nothing to change.
        """
        entry = self.trail.append(decide)
        if entry is not None:
            try:
                self.settle(entry)
            except BaseException:
                entry.give_up()
                raise
        return entry

    def move(self, draft: Draft, since: int | None) -> Entry | None:
        """Puts an alias where a draft says, once what died or was clicked before is done.

        Args:
            draft: Which alias, where it goes, and why.
            since: As of `promote`.

        Returns:
            The event; `None` if the alias is there already.

        Raises:
            Overtaken: If the alias has an event newer than `since`.
        """
        alias = draft.alias
        self.follow(alias)

        def decide(head: Head) -> Draft | None:
            self._refuse_overtaken(alias, since, head)
            return None if head.standing(alias) == draft.to else draft

        entry = self.change(decide)
        if entry is None:
            self._finish(alias)
        return entry

    def _finish(self, alias: str) -> None:
        """Does what another process is at, for whoever finds decided what he would decide."""
        head = self.trail.last_read()
        open_entries = head.open_entries(alias) if head else ()
        if open_entries:
            self.settle(open_entries[-1])

    def _refuse_overtaken(self, alias: str, since: int | None, head: Head) -> None:
        """Stops what was decided on an event that is no longer an alias's newest.

        Args:
            alias: Which.
            since: The number of that event, 0 if there was none; `None` does not ask.
            head: The newest events.

        Raises:
            Overtaken: If there is a newer one.
        """
        newer = self.trail.newer(alias, since, head) if since is not None else None
        if newer is not None:
            to = newer.to_version
            moved = "taken away" if to is None else f"moved to version {to}"
            raise Overtaken(
                f"{self._name}@{alias} was {moved} by {newer.actor} while this was decided; see "
                f"isthmus history {self._name} and decide again"
            )

    def settle(self, entry: Entry) -> None:
        """Sets an alias to where an event puts it, or to where a later one does.

        Confirms the event, and what others left open of that alias. Many processes may do so at
        once: each writes, reads the history again, and writes again if that has gone on
        meanwhile. So whoever writes last has then read that it was right.
        """
        alias, head = entry.event.alias, self.trail.last_read()
        standing = head.standing(alias) if head else entry.standing
        while True:
            self.put(alias, standing)
            head = self.trail.head()
            newest = head.standing(alias) if head else standing
            if newest == standing:
                break
            standing = newest
        self.trail.confirm(entry)
        for other in head.open_entries(alias) if head else ():
            if other.event.number != entry.event.number:
                self.trail.confirm(other)

    def follow(self, alias: str, seen: Standing | None = None) -> Event | None:
        """Completes what died half-way, and what was clicked in the page on one half only.

        Args:
            alias: Which.
            seen: Where it was a moment ago, if that is known; what is done about it is decided
                by where it is then.

        Returns:
            The event of what was clicked; `None` if nothing was.
        """
        head = self.trail.last_read()
        actual = seen or self._standing(alias)
        if head is None and actual == NOWHERE:
            return None
        abandoned = head.open_entries(alias) if head else ()
        if not all(entry.is_abandoned for entry in abandoned):
            return None  # another process is at it
        expected = head.standing(alias) if head else NOWHERE
        if actual != expected:
            entry = self.change(lambda newest: self._clicked(alias, newest))
            if entry is not None:
                return entry.event
        if abandoned:
            self._complete(abandoned[-1])
        return None

    def _complete(self, entry: Entry) -> None:
        """Does what a dead process did not; if the version is gone, what is there stays."""
        from mlflow.exceptions import MlflowException

        try:
            self.settle(entry)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            alias, head = entry.event.alias, self.trail.last_read()
            meant = head.standing(alias) if head else entry.standing
            why = f"version {meant.version} was deleted"
            actual = self._followed(self._standing(alias), NOWHERE)
            self.change(lambda _: Draft(alias, actual, "page", why, PAGE))

    def put(self, alias: str, standing: Standing) -> None:
        """Sets the decoder's alias, then the encoder's; or takes both away, the other way round.

        `resolve` reads the encoder's alias only, so that a reader sees the old pair or the new
        one and nothing between.
        """
        encoder, decoder = encoder_name(self._name), decoder_name(self._name)
        registry = without_checks(self._client)
        take, give = registry.delete_registered_model_alias, registry.set_registered_model_alias
        if standing.version is None:
            for half in (encoder, decoder):
                if holder(self._client, half, alias) is not None:
                    beside_others(partial(take, half, alias))
        else:
            beside_others(partial(give, decoder, alias, str(standing.decoder_version)))
            beside_others(partial(give, encoder, alias, str(standing.version)))

    def _standing(self, alias: str) -> Standing:
        """Where the alias is in the registry now."""
        names = (encoder_name(self._name), decoder_name(self._name))
        return Standing(*(holder(self._client, name, alias) for name in names))

    def _clicked(self, alias: str, head: Head) -> Draft | None:
        """What somebody did in the page, if the aliases are not where the history says.

        They are read after the head: what an event behind it did would be refused its number.
        """
        open_entries = head.open_entries(alias)
        if not all(entry.is_abandoned for entry in open_entries):
            return None
        actual, expected = self._standing(alias), head.standing(alias)
        strays = head.standings_since(open_entries[0]) if open_entries else frozenset({expected})
        # The dead may have set one half and not the other.
        if actual.version in {each.version for each in strays} and actual.decoder_version in {
            each.decoder_version for each in strays
        }:
            return None
        try:
            to = self._followed(actual, expected)
        except ModelNotFound as error:
            if expected == NOWHERE:
                return None  # not ours, and nothing to put back
            _logger.warning("%s@%s is put back: %s", self._name, alias, error)
            to = expected
        if to == expected:
            self.put(alias, expected)
            return None
        return Draft(alias, to, "page", "", PAGE)

    def _followed(self, actual: Standing, expected: Standing) -> Standing:
        """The whole pair that was meant; the encoder is believed if both halves were moved."""
        client, name = self._client, self._name
        if actual.version != expected.version:
            if actual.version is None:
                return NOWHERE
            encoder = client.get_model_version(encoder_name(name), str(actual.version))
            return whole(client, name, encoder, self._settings)
        if actual.decoder_version is None:
            return NOWHERE
        decoder = client.get_model_version(decoder_name(name), str(actual.decoder_version))
        return whole(client, name, decoder, self._settings)
