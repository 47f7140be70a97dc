"""Sets the aliases of both halves to what the history says."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from isthmus.errors import ModelNotFound
from isthmus.registry.history import (
    NOWHERE,
    TAG_HISTORY,
    Draft,
    Entry,
    Event,
    Head,
    Standing,
    Trail,
)
from isthmus.registry.lookup import find_decoder, find_encoder_of
from isthmus.registry.reference import decoder_name, encoder_name
from isthmus.spec import Settings

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_logger = logging.getLogger(__name__)

PAGE = "MLflow page"
"""The actor of what was clicked: MLflow does not say who it was."""


@dataclass(frozen=True)
class Halves:
    """A pair's two registered models, as they are now.

    Attributes:
        encoder: MLflow's registered model; `None` if there is none.
        decoder: The same.
    """

    encoder: Any
    decoder: Any

    @classmethod
    def read(cls, client: MlflowClient, name: str) -> Halves:
        """Asks for both at once. MLflow's own `get_registered_model` reads all versions."""
        names = (encoder_name(name), decoder_name(name))
        found = client.search_registered_models(f"name IN {names}", max_results=2)
        models = {model.name: model for model in found}
        return cls(models.get(names[0]), models.get(names[1]))

    @property
    def aliases(self) -> frozenset[str]:
        """All that either half has."""
        return frozenset(_aliases(self.encoder)) | frozenset(_aliases(self.decoder))

    def standing(self, alias: str) -> Standing:
        """Where an alias is."""
        encoder, decoder = _aliases(self.encoder).get(alias), _aliases(self.decoder).get(alias)
        return Standing(int(encoder) if encoder else None, int(decoder) if decoder else None)


class Aliases:
    """The aliases of one pair together with their history."""

    def __init__(self, client: MlflowClient, name: str, settings: Settings) -> None:
        """Args:
        client: The registry; asked once, for both halves.
        name: Of the pair.
        settings: Where the registry is.
        """
        self.halves = Halves.read(client, name)
        tags = self.halves.encoder.tags if self.halves.encoder else {}
        self.trail = Trail(client, name, settings, tags.get(TAG_HISTORY))
        self._client = client
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
            self.settle(entry)
        return entry

    def settle(self, entry: Entry) -> None:
        """Sets an alias to where an event puts it, or to where a later one does; confirms it.

        Many processes may do so at once: each writes, reads the history again, and writes again
        if that has gone on meanwhile. So whoever writes last has then read that it was right.
        """
        alias, standing = entry.event.alias, entry.standing
        while True:
            self.put(alias, standing)
            head = self.trail.head()
            newest = head.standing(alias) if head else standing
            if newest == standing:
                break
            standing = newest
        self.trail.confirm(entry)

    def follow(self, alias: str) -> Event | None:
        """Completes what died half-way, and what was clicked in the page on one half only.

        Returns:
            The event of what was clicked; `None` if nothing was.
        """
        head = self.trail.head()
        if head is None and self.halves.standing(alias) == NOWHERE:
            return None
        abandoned = head.open_entries(alias) if head else ()
        if not all(entry.is_abandoned for entry in abandoned):
            return None  # another process is at it
        expected = head.standing(alias) if head else NOWHERE
        if self.halves.standing(alias) != expected:
            entry = self.change(lambda newest: self._clicked(alias, newest))
            if entry is not None:
                for each in abandoned:
                    self.trail.confirm(each)
                return entry.event
        for each in abandoned:
            self.settle(each)
        return None

    def put(self, alias: str, standing: Standing) -> None:
        """Sets the decoder's alias, then the encoder's; or takes both away, the other way round.

        `resolve` reads the encoder's alias only, so that a reader sees the old pair or the new
        one and nothing between.
        """
        client, encoder, decoder = self._client, encoder_name(self._name), decoder_name(self._name)
        if standing.version is None:
            client.delete_registered_model_alias(encoder, alias)
            if self.halves.decoder is not None:
                client.delete_registered_model_alias(decoder, alias)
        else:
            client.set_registered_model_alias(decoder, alias, str(standing.decoder_version))
            client.set_registered_model_alias(encoder, alias, str(standing.version))

    def _clicked(self, alias: str, head: Head) -> Draft | None:
        """What somebody did in the page, if the aliases are not where the history says.

        They are read after the head: what an event behind it did would be refused its number.
        """
        open_entries = head.open_entries(alias)
        if not all(entry.is_abandoned for entry in open_entries):
            return None
        self.halves = Halves.read(self._client, self._name)
        actual, expected = self.halves.standing(alias), head.standing(alias)
        strays = head.standings_since(open_entries[0]) if open_entries else frozenset({expected})
        # The dead may have set one half and not the other.
        if actual.version in {each.version for each in strays} and actual.decoder_version in {
            each.decoder_version for each in strays
        }:
            return None
        try:
            to = self._followed(actual, expected)
        except ModelNotFound as error:
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
            return Standing(actual.version, int(find_decoder(client, name, encoder).version))
        if actual.decoder_version is None:
            return NOWHERE
        decoder = client.get_model_version(decoder_name(name), str(actual.decoder_version))
        return Standing(int(find_encoder_of(client, name, decoder).version), actual.decoder_version)


def _aliases(model: Any) -> Mapping[str, Any]:
    return model.aliases if model else {}
