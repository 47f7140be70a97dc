"""Sets the aliases of both halves to the positions that the history says."""

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
"""The actor of a change in MLflow's UI, since MLflow does not say who made it."""


class Aliases:
    """The aliases of one pair together with their history."""

    def __init__(self, client: MlflowClient, name: str, settings: Settings) -> None:
        """Creates the object without reading the registry.

        Args:
            client: The client of the registry.
            name: The pair's name.
            settings: The settings that say where the registry is.
        """
        self.trail = Trail(client, name, settings)
        self._client = client
        self._settings = settings
        self._name = name

    def change(self, decide: Callable[[Head], Draft | None]) -> Entry | None:
        """Writes an event, then sets the aliases.

        Args:
            decide: Returns the event to write, given the newest run, or `None`. It is called again
                whenever another process has appended an event first.

        Returns:
            The event, or `None` if there was nothing to change.
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
        """Moves an alias, after unfinished events and changes in MLflow's UI are processed.

        Args:
            draft: The alias, its new position and the reason.
            since: The number of the alias's newest event when the decision was made, 0 if it had
                none. With `None` nothing is checked.

        Returns:
            The event, or `None` if the alias is there already.

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
        """Sets an alias as its newest open event says, which another process may be doing too.

        It serves a caller whose own move is already in the history, so that the move is complete
        when the caller returns.
        """
        head = self.trail.last_read()
        open_entries = head.open_entries(alias) if head else ()
        if open_entries:
            self.settle(open_entries[-1])

    def _refuse_overtaken(self, alias: str, since: int | None, head: Head) -> None:
        """Refuses a decision that was based on an event that is no longer the newest.

        Args:
            alias: The alias.
            since: The number of that event, 0 if there was none. With `None` nothing is checked.
            head: The newest run.

        Raises:
            Overtaken: If the alias has a newer event.
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
        """Sets an alias to its position after an event, or after a later one.

        It confirms the event and all other open events of the alias. Several processes may call
        this at once: each sets the alias, reads the history again, and repeats if the history has
        moved the alias meanwhile. The last process to set the alias has therefore read that its
        position was right.
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
        """Completes events that were abandoned, and changes in MLflow's UI to only one half.

        Args:
            alias: The alias.
            seen: The alias's position a moment ago, if it is known. It only decides whether there
                is something to do; the action itself is based on a fresh read.

        Returns:
            The event of the change in MLflow's UI, or `None` if there was none.
        """
        head = self.trail.last_read()
        actual = seen or self._standing(alias)
        if head is None and actual == NOWHERE:
            return None
        abandoned = head.open_entries(alias) if head else ()
        if not all(entry.is_abandoned for entry in abandoned):
            return None  # another process is setting the alias
        expected = head.standing(alias) if head else NOWHERE
        if actual != expected:
            entry = self.change(lambda newest: self._clicked(alias, newest))
            if entry is not None:
                return entry.event
        if abandoned:
            self._complete(abandoned[-1])
        return None

    def _complete(self, entry: Entry) -> None:
        """Carries out an abandoned event; if its version was deleted, the aliases stay put."""
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
        """Sets the decoder's alias and then the encoder's, or removes the encoder's first.

        `resolve` reads only the encoder's alias, so a reader sees either the old pair or the new
        one, never a mixture.
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
        """Reads the current position of an alias from the registry."""
        names = (encoder_name(self._name), decoder_name(self._name))
        return Standing(*(holder(self._client, name, alias) for name in names))

    def _clicked(self, alias: str, head: Head) -> Draft | None:
        """Returns what was changed in MLflow's UI, if the aliases differ from the history.

        The aliases are read after the head. If another process has appended an event meanwhile, the
        number of this draft is refused.
        """
        open_entries = head.open_entries(alias)
        if not all(entry.is_abandoned for entry in open_entries):
            return None
        actual, expected = self._standing(alias), head.standing(alias)
        strays = head.standings_since(open_entries[0]) if open_entries else frozenset({expected})
        # The process that died may have set the alias of one half only.
        if actual.version in {each.version for each in strays} and actual.decoder_version in {
            each.decoder_version for each in strays
        }:
            return None
        try:
            to = self._followed(actual, expected)
        except ModelNotFound as error:
            if expected == NOWHERE:
                return None  # not an Isthmus pair, and the history has no position to restore
            _logger.warning("%s@%s is put back: %s", self._name, alias, error)
            to = expected
        if to == expected:
            self.put(alias, expected)
            return None
        return Draft(alias, to, "page", "", PAGE)

    def _followed(self, actual: Standing, expected: Standing) -> Standing:
        """Returns the pair that was meant; if both halves' aliases moved, the encoder counts."""
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
