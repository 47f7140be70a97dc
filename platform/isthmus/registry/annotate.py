"""Sets and reads tags of a pair, for people who read them in MLflow's UI."""

from __future__ import annotations

from collections.abc import Mapping

from isthmus.registry import tags as names
from isthmus.registry.lookup import find_encoder, find_halves, open_registry
from isthmus.registry.reference import Reference
from isthmus.spec import Settings
from isthmus.tracking import store_errors


def annotate(reference: str, tags: Mapping[str, str], settings: Settings) -> None:
    """Sets tags on both halves of a pair.

    Raises:
        ModelNotFound: If there is no such pair.
        RegistryError: If the registry does not answer.
    """
    client = open_registry(settings)
    with store_errors(settings.tracking_uri):
        halves = find_halves(client, Reference.parse(reference))
        for key, value in tags.items():
            for version in halves:
                client.set_model_version_tag(version.name, version.version, key, value)


def annotation(reference: str, key: str, settings: Settings) -> str | None:
    """Returns the value of a tag of a pair's encoder; `None` if it has no such tag.

    Raises:
        ModelNotFound: If there is no such pair.
        RegistryError: If the registry does not answer.
    """
    client = open_registry(settings)
    with store_errors(settings.tracking_uri):
        value: str | None = find_encoder(client, Reference.parse(reference)).tags.get(key)
        return value


def is_let_by_gate(reference: str, settings: Settings) -> bool:
    """Returns whether the gate, or a person who answers for it, let a version be champion.

    Raises:
        ModelNotFound: If there is no such pair.
        RegistryError: If the registry does not answer.
    """
    client = open_registry(settings)
    with store_errors(settings.tracking_uri):
        return names.is_let_by_gate(find_encoder(client, Reference.parse(reference)).tags)
