"""Makes a pair's aliases what they should be, whatever was clicked and whatever died half-way."""

from __future__ import annotations

from isthmus.registry.aliases import Aliases
from isthmus.registry.history import Event
from isthmus.registry.lookup import open_registry
from isthmus.registry.reference import Reference
from isthmus.spec import Settings
from isthmus.tracking import store_errors


def reconcile(name: str, settings: Settings) -> tuple[Event, ...]:
    """Lets each half follow the other, and records what was clicked in MLflow's page.

    A click shows as an alias that is not where the pair's history says. What a process wrote to
    the history and died before it did is done. May be called as often as one likes, beside other
    processes: when all is well it makes two requests and changes nothing.

    Returns:
        The events of what was clicked since the last time; their source is `page`.

    Raises:
        ModelNotFound: If nothing was ever registered.
        RegistryError: If the registry does not answer.
    """
    Reference.parse(name)
    client = open_registry(settings)
    with store_errors(settings.tracking_uri):
        aliases = Aliases(client, name, settings)
        head = aliases.trail.head()
        known = frozenset(head.standings()) if head else frozenset()
        followed = [aliases.follow(alias) for alias in sorted(aliases.halves.aliases | known)]
    return tuple(event for event in followed if event is not None)
