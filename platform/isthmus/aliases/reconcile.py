"""Makes a pair's halves and aliases what they should be, whatever was clicked and whatever died."""

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
    """Lets each half follow the other, and records what was clicked in MLflow's page.

    A click shows as an alias that is not where the pair's history says. What a process wrote to
    the history and died before it did is done. Of what *Promote model* copied the other half is
    copied too, and if the pair has no champion, the copy is: whoever pressed the button meant it
    to be used. May be called as often as one likes, beside other processes: when all is well it
    reads, and changes nothing.

    Returns:
        The events of what was clicked since the last time; their source is `page`.

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
    """Completes the newest copy that nobody has seen yet."""
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
