"""The aliases of all pairs, read in one request, for a watcher that polls them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from isthmus.aliases.history import Trail
from isthmus.registry.halves import Halves
from isthmus.registry.lookup import open_registry
from isthmus.registry.reference import CHAMPION, Reference
from isthmus.spec import Settings
from isthmus.tracking import store_errors
from isthmus.tracking.store import is_empty_store

Position = tuple[str, str, str]
"""A half, an alias, and the model version that has the alias."""


def alias_positions(settings: Settings) -> Mapping[str, frozenset[Position]]:
    """Returns the aliases of both halves of each pair, by the pair's name.

    The result is empty if there is no store yet.

    Raises:
        RegistryError: If the registry does not answer.
    """
    if is_empty_store(settings):
        return {}
    client = open_registry(settings)
    positions: dict[str, set[Position]] = {}
    with store_errors(settings.tracking_uri):
        token: str | None = None
        while True:
            page: Any = client.search_registered_models(page_token=token)
            for model in page:
                name, _, half = model.name.rpartition("-")
                if name and half in ("encoder", "decoder"):
                    found = {(half, alias, str(at)) for alias, at in model.aliases.items()}
                    positions.setdefault(name, set()).update(found)
            token = page.token
            if not token:
                return {name: frozenset(found) for name, found in positions.items()}


def named_by_history(name: str, settings: Settings) -> Mapping[str, int]:
    """Returns the version that each alias belongs to by the pair's history.

    Another process may have written an event and not yet set the alias.

    Raises:
        ModelNotFound: If nothing was ever registered.
        RegistryError: If the registry does not answer.
    """
    client = open_registry(settings)
    with store_errors(settings.tracking_uri):
        head = Trail(client, name, settings).head()
    standings = head.standings() if head is not None else {}
    return {alias: at.version for alias, at in standings.items() if at.version is not None}


def champion_of(name: str, settings: Settings) -> int | None:
    """Returns the version that is champion now; `None` if none is.

    Raises:
        ModelNotFound: If nothing was ever registered.
        RegistryError: If the registry does not answer.
    """
    Reference.parse(name)
    client = open_registry(settings)
    with store_errors(settings.tracking_uri):
        return Halves.read(client, name).standing(CHAMPION).version
