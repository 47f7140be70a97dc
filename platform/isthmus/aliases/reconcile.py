"""Repairs a pair's halves and aliases after changes in MLflow's UI and interrupted processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isthmus.aliases.copies import mark, whole
from isthmus.aliases.events import Draft, Event, Head
from isthmus.aliases.moves import PAGE, Aliases
from isthmus.errors import ModelNotFound
from isthmus.registry.halves import NOWHERE, Halves
from isthmus.registry.lookup import is_new_copy, open_registry
from isthmus.registry.reference import CHAMPION, check_name
from isthmus.registry.versions import repaired
from isthmus.spec import Settings
from isthmus.tracking import store_errors

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


def reconcile(name: str, settings: Settings) -> tuple[Event, ...]:
    """Makes both halves agree, and records what was changed in MLflow's UI.

    A change in the UI shows as an alias that is not where the pair's history says. Events whose
    writer died before it set the aliases are completed. If *Promote model* copied one half, the
    other half is copied too; if the pair has no champion, the copy becomes champion, because
    whoever pressed the button meant it to be used. It is safe to call this at any time and from
    several processes at once: when nothing has changed, it only reads.

    Returns:
        The events of changes in the UI since the last call. Their source is `page`.

    Raises:
        ModelNotFound: If nothing was ever registered.
        RegistryError: If the registry does not answer.
    """
    check_name(name)
    client = open_registry(settings)
    with store_errors(settings.tracking_uri):
        halves = repaired(client, name, settings)
        aliases = Aliases(client, name, settings)
        head = aliases.trail.last_read()
        known = frozenset(head.standings()) if head else frozenset()
        followed = [
            aliases.follow(alias, halves.standing(alias))
            for alias in sorted(halves.aliases | known)
        ]
        followed.append(_adopt(client, name, aliases, halves, settings))
    return tuple(event for event in followed if event is not None)


def _adopt(
    client: MlflowClient, name: str, aliases: Aliases, halves: Halves, settings: Settings
) -> Event | None:
    """Completes the newest copy by *Promote model* that has not been processed yet."""
    copied = next(filter(is_new_copy, halves.newest), None)
    if copied is None:
        return None
    try:
        standing = whole(client, name, copied, settings)
    except ModelNotFound:
        return None
    source = str(copied.source).removeprefix("models:/")

    def decide(head: Head) -> Draft | None:
        is_chosen = any(each.version == standing.version for each in head.standings().values())
        if is_chosen or head.standing(CHAMPION) != NOWHERE:
            return None
        return Draft(CHAMPION, standing, "page", f"Promote model: {source}", PAGE)

    entry = aliases.change(decide)
    mark(client, copied, standing)
    return entry.event if entry else None
