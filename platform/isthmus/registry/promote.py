"""Gives a pair an alias: what the jobs that ask for `NAME@champion` use from then on."""

from __future__ import annotations

import re
from dataclasses import dataclass

from isthmus.errors import UsageError
from isthmus.registry.lookup import find_decoder, find_encoder, open_registry
from isthmus.registry.reference import CHAMPION, Reference, decoder_name, encoder_name
from isthmus.spec import Settings
from isthmus.tracking import store_errors


@dataclass(frozen=True)
class Promotion:
    """What was promoted.

    Attributes:
        name: Of the pair.
        version: That has the alias now.
        previous: Version that had it before; `None` if none had.
        alias: Which.
    """

    name: str
    version: int
    previous: int | None
    alias: str


def promote(name: str, version: int, settings: Settings, alias: str = CHAMPION) -> Promotion:
    """Gives a version an alias, on both halves.

    The decoder gets it first: `resolve` reads the encoder's alias only, so that a reader sees the
    old pair or the new one and nothing between.

    Raises:
        ModelNotFound: If there is no such version.
        UsageError: If MLflow takes no such alias.
        RegistryError: If the registry does not answer.
    """
    if not re.fullmatch(r"[A-Za-z0-9._-]+", alias) or re.fullmatch(r"v?[0-9]+|latest", alias):
        raise UsageError(
            f'"{alias}" cannot be an alias; use letters, digits, ".", "_" and "-", and neither '
            "a number nor latest"
        )
    reference = Reference.parse(f"{name}/{version}")
    client = open_registry(settings)
    with store_errors(settings.tracking_uri):
        encoder = find_encoder(client, reference)
        decoder = find_decoder(client, reference, encoder)
        aliases = client.get_registered_model(encoder_name(name)).aliases
        previous = aliases.get(alias)
        client.set_registered_model_alias(decoder_name(name), alias, decoder.version)
        client.set_registered_model_alias(encoder_name(name), alias, encoder.version)
    return Promotion(name, version, int(previous) if previous else None, alias)
