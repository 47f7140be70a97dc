"""Gives a pair an alias, and takes it away: what the jobs that ask for `NAME@champion` use.

Every change is an event in the pair's history before it is a fact; see `history`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from isthmus.aliases.copies import mark, whole
from isthmus.aliases.events import Draft, Event, Head, Source
from isthmus.aliases.moves import Aliases
from isthmus.errors import ModelNotFound, UsageError
from isthmus.registry.halves import NOWHERE, Standing
from isthmus.registry.lookup import find_encoder, is_new_copy, open_registry
from isthmus.registry.reference import CHAMPION, Reference, check_name
from isthmus.registry.versions import repaired
from isthmus.spec import Settings
from isthmus.tracking import store_errors

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


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
    """Gives a version an alias, on both halves.

    Nothing is written if it has that alias already.

    Args:
        name: Of the pair.
        version: Of the pair.
        settings: Where the registry is.
        alias: Which.
        why: For the history.
        source: For the history.
        actor: For the history; by default who runs this process.
        since: The number of the alias's newest event that the decision was made on, 0 if it had
            none; `None` does not ask. What was clicked counts, recorded or not.

    Raises:
        ModelNotFound: If there is no such version.
        UsageError: If MLflow takes no such alias.
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
    """Takes an alias away from the version that has it, on both halves.

    The arguments are those of `promote`.

    Raises:
        ModelNotFound: If no version has it.
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
    """Makes the champion before the present one champion again.

    Twice goes further back, not to and fro: what was rolled back is forgotten, as by an editor's
    undo. After 1, 2, 3 have been champion in turn, the first rollback gives 2 and the second 1;
    if 4 is promoted then, a rollback gives 1. If nobody is champion since the alias was taken
    away, the last champion is. Versions that were deleted since are passed over; the event says
    which.

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
    assert entry is not None  # noqa: S101 (decide has always something to write)
    assert entry.event.to_version is not None  # noqa: S101 (and it is a version)
    return Promotion(name, entry.event.to_version, entry.event.from_version, CHAMPION)


def _target_repaired(client: MlflowClient, reference: Reference, settings: Settings) -> Standing:
    """As `_target`; a version that is not there may be what a process died over."""
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
    """The newest champion before the present one that is still there, and those that are not."""
    present = champions[-1] if champions else None
    deleted: list[str] = []
    for version in reversed(champions[:-1]):
        if version is None or version == present or str(version) in deleted:
            continue
        try:
            return _target(client, Reference(name, version, None), settings), deleted
        except ModelNotFound:
            deleted.append(str(version))
    gone = f" that is still there ({', '.join(deleted)} deleted)" if deleted else ""
    raise ModelNotFound(
        f'"{name}" had no champion before {present or "now"}{gone}; see isthmus history {name}'
    )


def _check_alias(alias: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9._-]+", alias) or re.fullmatch(r"v?[0-9]+|latest", alias):
        raise UsageError(
            f'"{alias}" cannot be an alias; use letters, digits, ".", "_" and "-", and neither '
            "a number nor latest"
        )


def _champions(events: Iterable[Event]) -> list[int | None]:
    """The champions that count, the present one last; what was rolled back is gone."""
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
