"""The commands about registered pairs as Python functions, which `isthmus.api` gives as well."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isthmus.quiet import quieten

if TYPE_CHECKING:
    from datetime import timedelta

    from isthmus.aliases import Event, Promotion
    from isthmus.promotion import Verdict
    from isthmus.registry import Lineage, ModelSummary, VersionSummary
    from isthmus.spec import Settings
    from isthmus.upkeep import Pruned


def models(*, all_versions: bool = False, settings: Settings | None = None) -> list[ModelSummary]:
    """Returns all pairs with their versions, newest first; by default the newest 10 of each."""
    settings = settings or default_settings()
    from isthmus import registry

    return registry.list_models(settings, None if all_versions else registry.NEWEST)


def versions(
    name: str, *, all_versions: bool = False, settings: Settings | None = None
) -> tuple[VersionSummary, ...]:
    """Returns the versions of one pair, newest first; by default the newest 10."""
    settings = settings or default_settings()
    from isthmus import registry

    return registry.list_versions(name, settings, None if all_versions else registry.NEWEST)


def promote(
    name: str,
    version: int,
    *,
    alias: str = "champion",
    why: str = "",
    force: bool = False,
    undecided: bool = False,
    settings: Settings | None = None,
) -> Promotion:
    """Gives both halves of a version an alias; to become champion, it must pass the gate.

    Args:
        name: The name of the pair.
        version: The version of the pair.
        alias: The alias; only `champion` requires the gate.
        why: The reason, for the history.
        force: Whether to promote a version that the gate refuses; requires `why`.
        undecided: Whether to promote it also where the gate cannot tell from so few rows.
        settings: The settings with the registry's address; by default from the environment.

    Raises:
        PromotionRefused: If the gate refuses the version, or is undecided; the message has the
            figures in one line.
        IsthmusError: If it fails; the message says in one line what is wrong and what to do.
    """
    settings = settings or default_settings()
    from isthmus import promotion

    return promotion.promote(
        name, version, settings, alias, why=why, force=force, undecided=undecided
    ).promotion


def gate(reference: str, *, settings: Settings | None = None) -> Verdict:
    """Returns the gate's verdict on a version, compared with today's champion; changes nothing.

    Args:
        reference: The version, `NAME/VERSION`.
        settings: The settings with the registry's address; by default from the environment.

    Raises:
        IsthmusError: If it fails; the message says in one line what is wrong and what to do.
    """
    settings = settings or default_settings()
    from isthmus import promotion

    return promotion.judge_reference(reference, settings)


def rollback(name: str, *, why: str = "", settings: Settings | None = None) -> Promotion:
    """Makes the champion before the present one champion again; a second call goes further back.

    Raises:
        IsthmusError: If it fails; the message says in one line what is wrong and what to do.
    """
    settings = settings or default_settings()
    from isthmus import aliases

    return aliases.rollback(name, settings, why=why)


def history(name: str, *, settings: Settings | None = None) -> tuple[Event, ...]:
    """Returns who gave a pair's versions their aliases, when and why; oldest first.

    Changes that were made in MLflow's page since the last time are recorded first.

    Raises:
        IsthmusError: If it fails; the message says in one line what is wrong and what to do.
    """
    settings = settings or default_settings()
    from isthmus import aliases

    aliases.reconcile(name, settings)
    return aliases.history(name, settings)


def lineage(what: str, *, settings: Settings | None = None) -> Lineage:
    """Returns where something came from and what was made from it: data, runs, pairs, outputs.

    Args:
        what: A file of results, `NAME/VERSION`, `NAME@ALIAS`, a run, or a data fingerprint.
        settings: The settings with the stores' addresses; by default from the environment.

    Raises:
        IsthmusError: If it fails; the message says in one line what is wrong and what to do.
    """
    settings = settings or default_settings()
    from isthmus import registry

    return registry.lineage(what, settings)


def delete(reference: str, *, settings: Settings | None = None) -> None:
    """Deletes both halves of a version, and their files: `delete("digits/3")`.

    A version is kept if it has an alias, has made an output on record, if another version was
    trained from it or is mapped to its latents, or if an unfinished run starts from it. History and
    lineage show the version as deleted afterwards.

    Raises:
        IsthmusError: If something needs the version; the message says in one line what.
    """
    settings = settings or default_settings()
    from isthmus import upkeep

    upkeep.delete(reference, settings)


def prune(
    name: str,
    *,
    keep: int = 20,
    older_than: timedelta | None = None,
    runs: bool = False,
    dry_run: bool = False,
    settings: Settings | None = None,
) -> Pruned:
    """Deletes the old versions of a pair that nothing needs; returns what was deleted and kept.

    Args:
        name: The name of the pair.
        keep: The number of newest versions that are kept in any case.
        older_than: The age up to which versions are kept in any case.
        runs: Whether to delete old MLflow runs too, with their artifacts and checkpoints.
        dry_run: Whether only to say what would be deleted.
        settings: The settings with the registry's address; by default from the environment.

    Raises:
        IsthmusError: If it fails; the message says in one line what is wrong and what to do.
    """
    settings = settings or default_settings()
    from isthmus import upkeep

    return upkeep.prune(
        name, settings, keep=keep, older_than=older_than, runs=runs, is_dry_run=dry_run
    )


def default_settings() -> Settings:
    """Returns the settings that the environment gives, before any library is imported."""
    quieten()
    from isthmus.spec import Settings

    return Settings.from_environment()
