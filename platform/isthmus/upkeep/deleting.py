"""Deletes one version of a pair, or all old ones that nothing needs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from isthmus.errors import ModelNotFound, UsageError
from isthmus.registry.lookup import find_encoder, open_registry, pair_names
from isthmus.registry.reference import Reference, check_name
from isthmus.registry.removal import remove_pair
from isthmus.registry.versions import repaired
from isthmus.spec import Settings
from isthmus.tracking import end_lost_runs, store_errors
from isthmus.upkeep.needs import Needs, Spared
from isthmus.upkeep.runs import old_runs, remove_run

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

KEEP = 20
"""The number of versions that `prune` keeps by default."""


@dataclass(frozen=True)
class Pruned:
    """The versions and runs that `prune` deleted, and those that it kept.

    Attributes:
        name: The pair's name.
        deleted: The versions that were deleted, oldest first, such as `digits/3`.
        spared: The versions and runs that are old enough, each with what needs it.
        runs: The names of the MLflow runs that were deleted.
        is_dry_run: Whether nothing was deleted, and `deleted` and `runs` are what would be.
    """

    name: str
    deleted: tuple[str, ...]
    spared: tuple[Spared, ...]
    runs: tuple[str, ...] = ()
    is_dry_run: bool = False


def delete(reference: str, settings: Settings, *, is_dry_run: bool = False) -> str:
    """Deletes both halves of a version and their files.

    Args:
        reference: `NAME/VERSION`.
        settings: The settings that say where the registry is.
        is_dry_run: Whether only to check that it may be deleted.

    Returns:
        The version, such as `digits/3`.

    Raises:
        UsageError: If something needs the version; the message says what.
        ModelNotFound: If there is no such version.
        RegistryError: If the registry does not answer.
    """
    parsed = Reference.parse(reference)
    if parsed.version is None:
        raise UsageError(f"{reference} is no version; write NAME/VERSION, as in {parsed.name}/3")
    client = open_registry(settings)
    with store_errors(settings.tracking_uri):
        repaired(client, parsed.name, settings)
        encoder = find_encoder(client, parsed)
        why = Needs(client, parsed.name, settings).why(encoder)
        if why is not None:
            raise UsageError(f"{Spared(str(parsed), why)}; {_advice(why, parsed)}")
        if not is_dry_run:
            remove_pair(client, parsed.name, encoder, settings)
    return str(parsed)


def _advice(why: str, reference: Reference) -> str:
    if why.startswith("it is"):
        return f"promote another version first, isthmus promote {reference.name} VERSION"
    if why.startswith("run "):
        run = why.split(",")[0].removeprefix("run ")
        return f"end that first with isthmus train --resume {run}, or --finish"
    return "delete what needs it first"


def prune(
    name: str,
    settings: Settings,
    *,
    keep: int = KEEP,
    older_than: timedelta | None = None,
    runs: bool = False,
    is_dry_run: bool = False,
) -> Pruned:
    """Deletes the old versions of a pair that nothing needs.

    Never deleted are a version with an alias, one that `rollback` would go back to, one that made
    an output on record, one that a run starts from that is not finished, and those to whose latents
    the ones of a kept version are mapped. A version that others were trained from is not needed.

    Args:
        name: The pair's name.
        settings: The settings that say where the registry is.
        keep: The number of newest versions that are kept in any case.
        older_than: The age up to which versions are kept in any case.
        runs: Whether to delete old runs too, failed ones included, with their artifacts and
            checkpoints; never one behind a version that is kept, nor one that is running.
        is_dry_run: Whether only to say what would be deleted.

    Raises:
        UsageError: If `keep` is negative.
        ModelNotFound: If there is no such pair.
        RegistryError: If the registry does not answer. What was deleted by then stays deleted, and
            another call goes on.
    """
    if keep < 0:
        raise UsageError(f"keep={keep} is negative; use 0 or more")
    check_name(name)
    client = open_registry(settings)
    before = datetime.now(UTC) - older_than if older_than is not None else None
    with store_errors(settings.tracking_uri):
        if name not in pair_names(client):
            raise ModelNotFound(f'no model "{name}"; see isthmus models')
        repaired(client, name, settings)
        needs = Needs(client, name, settings)
        doomed, spared, kept = _chosen(needs, name, keep, before)
        if not is_dry_run:
            doomed, saved = _removed(client, needs, name, doomed, kept, settings)
            spared = [*saved, *spared]
        deleted = tuple(f"{name}/{each.version}" for each in doomed)
        result = Pruned(name, deleted, tuple(spared), is_dry_run=is_dry_run)
        if not runs:
            return result
        return _with_runs(client, result, keep, before, settings)


def _chosen(
    needs: Needs, name: str, keep: int, before: datetime | None
) -> tuple[list[Any], list[Spared], set[int]]:
    """Chooses what to delete.

    Returns:
        The versions to delete, oldest first; the old ones that are needed, newest first; and the
        numbers of all that are kept for a reason of their own, and not for a map to them.
    """
    old = [each for each in needs.versions[keep:] if before is None or _created(each) <= before]
    reasons = {int(each.version): needs.why_not_pruned(each) for each in old}
    kept = {int(each.version) for each in needs.versions} - {
        number for number, why in reasons.items() if why is None
    }
    doomed: list[Any] = []
    spared: list[Spared] = []
    mapped = needs.why_mapped(kept)
    for version in old:
        number = int(version.version)
        why = reasons[number] or mapped.get(number)
        if why is None:
            doomed.append(version)
        else:
            spared.append(Spared(f"{name}/{version.version}", why))
    return doomed[::-1], spared, kept


def _removed(
    client: MlflowClient,
    needs: Needs,
    name: str,
    doomed: list[Any],
    kept: set[int],
    settings: Settings,
) -> tuple[list[Any], list[Spared]]:
    """Deletes versions, and returns those, and what a last look spared: aliases may have moved.

    The newest goes first, so that what a spared one needs is spared as well.
    """
    removed: list[Any] = []
    spared: list[Spared] = []
    mapped = needs.why_mapped(kept)
    for version in reversed(doomed):
        number = int(version.version)
        why = needs.why_itself(version)
        if why is not None:
            kept.add(number)
            mapped = needs.why_mapped(kept)
        why = why or mapped.get(number)
        if why is None:
            remove_pair(client, name, version, settings)
            removed.append(version)
        else:
            spared.append(Spared(f"{name}/{version.version}", why))
    return removed[::-1], spared


def _created(version: Any) -> datetime:
    return datetime.fromtimestamp(int(version.creation_timestamp) / 1000, UTC)


def _with_runs(
    client: MlflowClient, result: Pruned, keep: int, before: datetime | None, settings: Settings
) -> Pruned:
    """Deletes old runs as well; those of the versions that are deleted, or would be, too."""
    end_lost_runs(settings)  # those of killed processes would count as running
    doomed, spared = old_runs(client, result.name, keep, before, set(result.deleted))
    if not result.is_dry_run:
        for run in doomed:
            remove_run(client, run, settings)
    names = tuple(str(run.info.run_name or run.info.run_id) for run in doomed)
    return replace(result, runs=names, spared=(*result.spared, *spared))
