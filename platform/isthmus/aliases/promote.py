"""Sets and removes aliases of a pair, such as the one that jobs name as `NAME@champion`.

Every change is written to the pair's history before the aliases are set; see `history`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from isthmus.aliases.copies import mark, whole
from isthmus.aliases.events import Draft, Event, Head, Source
from isthmus.aliases.history import history
from isthmus.aliases.moves import Aliases
from isthmus.errors import ModelNotFound, UsageError
from isthmus.registry.halves import NOWHERE, Standing
from isthmus.registry.lookup import find_encoder, is_new_copy, no_model, open_registry, pair_names
from isthmus.registry.reference import CHAMPION, Reference, check_name
from isthmus.registry.versions import repaired
from isthmus.spec import Settings
from isthmus.tracking import store_errors

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


@dataclass(frozen=True)
class Promotion:
    """The result of a promotion.

    Attributes:
        name: The pair's name.
        version: The version that has the alias now.
        previous: The version that had it before; `None` if none had.
        alias: The alias.
    """

    name: str
    version: int
    previous: int | None
    alias: str


def promote(
    name: str,
    version: int,
    settings: Settings,
    alias: str = CHAMPION,
    *,
    why: str = "",
    source: Source = "command",
    actor: str | None = None,
    since: int | None = None,
) -> Promotion:
    """Sets an alias of a version, on both halves.

    If the version has the alias already, nothing is written.

    Args:
        name: The pair's name.
        version: The pair's version.
        settings: The settings that say where the registry is.
        alias: The alias.
        why: The reason, for the history.
        source: The kind of action, for the history.
        actor: The name of who acts, for the history; by default the user of this process.
        since: The number of the alias's newest event when the decision was made, 0 if it had none.
            With `None` newer events are not checked for. Changes in MLflow's UI count, recorded or
            not.

    Raises:
        ModelNotFound: If there is no such version.
        UsageError: If MLflow does not accept the alias.
        Overtaken: If the alias has a newer event; then nothing is written.
        RegistryError: If the registry does not answer.
    """
    _check_alias(alias)
    reference = Reference.parse(f"{name}/{version}")
    client = open_registry(settings)
    with store_errors(settings.tracking_uri):
        target = _target_repaired(client, reference, settings)
        draft = Draft(alias, target, source, why, actor)
        entry = Aliases(client, name, settings).move(draft, since)
    return Promotion(name, version, entry.event.from_version if entry else version, alias)


def demote(
    name: str,
    settings: Settings,
    alias: str,
    *,
    why: str = "",
    source: Source = "command",
    actor: str | None = None,
    since: int | None = None,
) -> Event:
    """Removes an alias from the version that has it, on both halves.

    The arguments are those of `promote`.

    Raises:
        ModelNotFound: If no version has the alias.
        Overtaken: If the alias has an event newer than `since`; then nothing is written.
        RegistryError: If the registry does not answer.
    """
    _check_alias(alias)
    check_name(name)
    client = open_registry(settings)
    with store_errors(settings.tracking_uri):
        draft = Draft(alias, NOWHERE, source, why, actor)
        entry = Aliases(client, name, settings).move(draft, since)
    if entry is None:
        raise ModelNotFound(f'no version of "{name}" is {alias}; see isthmus models {name}')
    return entry.event


def rollback(name: str, settings: Settings, *, why: str = "") -> Promotion:
    """Makes the previous champion champion again.

    A second rollback goes further back instead of undoing the first, like an editor's undo:
    versions that were rolled back are skipped. After versions 1, 2 and 3 have been champion in
    turn, the first rollback gives 2 and the second gives 1; if 4 is promoted then, a rollback gives
    1. If the alias was removed since, the last champion becomes champion again. Versions that were
    deleted since are skipped, and the event names them.

    Raises:
        ModelNotFound: If there was no champion before.
        RegistryError: If the registry does not answer.
    """
    check_name(name)
    client = open_registry(settings)
    with store_errors(settings.tracking_uri):
        aliases = Aliases(client, name, settings)
        aliases.follow(CHAMPION)

        def decide(_: Head) -> Draft:
            events = [entry.event for entry in aliases.trail.entries()]
            target, deleted = _before(client, name, _champions(events), settings)
            passed = f"passed over, deleted since: {', '.join(deleted)}" if deleted else ""
            return Draft(CHAMPION, target, "rollback", "; ".join(filter(None, (why, passed))))

        entry = aliases.change(decide)
    assert entry is not None  # noqa: S101 (decide never returns None)
    assert entry.event.to_version is not None  # noqa: S101 (it always names a version)
    return Promotion(name, entry.event.to_version, entry.event.from_version, CHAMPION)


def champion_before(name: str, settings: Settings) -> int | None:
    """Returns the version that `rollback` would make champion; `None` if there is none.

    Raises:
        ModelNotFound: If nothing was ever registered.
        RegistryError: If the registry does not answer.
    """
    events = history(name, settings)
    deleted = {version for event in events for version in event.deleted}
    champions = _champions(events)
    earlier = [each for each in champions[:-1] if each is not None and each not in deleted]
    earlier = [each for each in earlier if each != champions[-1]]
    return earlier[-1] if earlier else None


def _target_repaired(client: MlflowClient, reference: Reference, settings: Settings) -> Standing:
    """Does the same as `_target`; repairs interrupted registrations if the version is missing."""
    try:
        return _target(client, reference, settings)
    except ModelNotFound:
        repaired(client, reference.name, settings)
    return _target(client, reference, settings)


def _target(client: MlflowClient, reference: Reference, settings: Settings) -> Standing:
    encoder = find_encoder(client, reference)
    standing = whole(client, reference.name, encoder, settings)
    if is_new_copy(encoder):
        mark(client, encoder, standing)
    return standing


def _before(
    client: MlflowClient, name: str, champions: list[int | None], settings: Settings
) -> tuple[Standing, list[str]]:
    """Returns the newest earlier champion that still exists, and those that were deleted since."""
    present = champions[-1] if champions else None
    deleted: list[str] = []
    for version in reversed(champions[:-1]):
        if version is None or version == present or str(version) in deleted:
            continue
        try:
            return _target(client, Reference(name, version, None), settings), deleted
        except ModelNotFound:
            deleted.append(str(version))
    if not champions and name not in (names := pair_names(client)):
        raise no_model(name, names, client)
    gone = f" that is still there ({', '.join(deleted)} deleted)" if deleted else ""
    raise ModelNotFound(
        f'"{name}" had no champion before {present or "now"}{gone}; see isthmus history {name}'
    )


def _check_alias(alias: str) -> None:
    is_reserved = re.fullmatch(r"v?[0-9]+|latest", alias, re.IGNORECASE)
    if is_reserved or not re.fullmatch(r"[A-Za-z0-9_-]{1,255}", alias):
        raise UsageError(
            f'"{alias}" cannot be an alias; use letters, digits, "_" and "-", at most 255, and '
            "neither a number nor latest"
        )


def _champions(events: Iterable[Event]) -> list[int | None]:
    """Returns the champions in order, the present one last, without those rolled back."""
    stack: list[int | None] = []
    for event in events:
        if event.alias != CHAMPION:
            continue
        if event.source == "rollback" and event.to_version in stack[:-1]:
            del stack[-1]
            while stack[-1] != event.to_version:
                del stack[-1]
        else:
            stack.append(event.to_version)
    return stack
