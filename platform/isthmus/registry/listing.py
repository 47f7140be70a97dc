"""Lists the pairs in the registry, and the versions of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from isthmus.errors import ModelNotFound
from isthmus.registry import tags
from isthmus.registry.halves import Halves
from isthmus.registry.lookup import (
    encoder_models,
    find_decoder,
    is_copy,
    newest_versions,
    no_model,
    open_registry,
    pair_names,
)
from isthmus.registry.reference import check_name, decoder_name, encoder_name
from isthmus.registry.versions import repair
from isthmus.spec import Settings
from isthmus.tracking import store_errors
from isthmus.tracking.store import is_empty_store

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

NEWEST = 10
"""The number of versions of a pair that are listed by default."""


@dataclass(frozen=True)
class VersionSummary:
    """A registered version of a pair.

    Attributes:
        name: The pair's name.
        version: The version of the encoder.
        decoder_version: The version of the decoder that belongs to it.
        pair_id: The pair's id.
        aliases: The aliases of the encoder's version, sorted.
        variant: The name of the variant.
        net: The name of the net.
        latent_dim: The number of values in a latent.
        metrics: The metrics on held-out rows.
        created: The time of registration, UTC.
        run_id: The id of the MLflow run that made it.
    """

    name: str
    version: int
    decoder_version: int
    pair_id: str
    aliases: tuple[str, ...]
    variant: str
    net: str
    latent_dim: int
    metrics: Mapping[str, float]
    created: datetime
    run_id: str


@dataclass(frozen=True)
class ModelSummary:
    """A pair's name and its newest versions, newest first."""

    name: str
    versions: tuple[VersionSummary, ...]


def list_models(settings: Settings, newest: int | None = NEWEST) -> list[ModelSummary]:
    """Returns all pairs, sorted by name; empty if nothing was ever registered.

    Args:
        settings: The settings that say where the registry is.
        newest: The largest number of versions of each pair; all if `None`.

    Raises:
        RegistryError: If the registry does not answer.
    """
    if is_empty_store(settings):
        return []
    client = open_registry(settings)
    with store_errors(settings.tracking_uri):
        found = [
            ModelSummary(name, _versions(client, name, Halves(model, None), settings, newest))
            for name, model in encoder_models(client).items()
        ]
    return [model for model in found if model.versions]


def list_versions(
    name: str, settings: Settings, newest: int | None = NEWEST
) -> tuple[VersionSummary, ...]:
    """Returns the versions of a pair, newest first.

    Args:
        name: The pair's name.
        settings: The settings that say where the registry is.
        newest: The largest number of versions; all if `None`.

    Raises:
        ModelNotFound: If there is no such pair.
        RegistryError: If the registry does not answer.
    """
    check_name(name)
    client = open_registry(settings)
    with store_errors(settings.tracking_uri):
        versions = _versions(client, name, Halves.read_encoder(client, name), settings, newest)
        names = [] if versions else pair_names(client)
    if versions or name in names:
        return versions
    raise no_model(name, names, client)


def _versions(
    client: MlflowClient, name: str, halves: Halves, settings: Settings, newest: int | None
) -> tuple[VersionSummary, ...]:
    """Reads a pair's versions in two requests, no matter how many versions there are."""
    repair(client, name, halves, settings)
    found = newest_versions(client, encoder_name(name), newest)
    decoders = newest_versions(client, decoder_name(name), newest)
    paired = {decoder.tags.get(tags.PAIR_ID) for decoder in decoders}
    # A search returns versions without their aliases, but the registered model has all aliases.
    aliases = halves.encoder.aliases if halves.encoder else {}
    return tuple(
        _summary(name, version, aliases)
        for version in found
        if tags.PAIR_ID in version.tags
        and (version.tags[tags.PAIR_ID] in paired or _has_decoder(client, name, version))
    )


def _has_decoder(client: MlflowClient, name: str, encoder: Any) -> bool:
    """Returns whether an encoder's decoder exists; true for a copy, which may have none yet."""
    try:
        find_decoder(client, name, encoder)
    except ModelNotFound:
        return is_copy(encoder)
    return True


def _summary(name: str, version: Any, aliases: Mapping[str, str]) -> VersionSummary:
    return VersionSummary(
        name=name,
        version=int(version.version),
        decoder_version=int(version.tags.get(tags.DECODER_VERSION, 0)),
        pair_id=version.tags[tags.PAIR_ID],
        aliases=tuple(sorted(a for a, v in aliases.items() if str(v) == str(version.version))),
        variant=version.tags.get(tags.VARIANT, ""),
        net=version.tags.get(tags.NET, ""),
        latent_dim=int(version.tags.get(tags.LATENT_DIM, 0)),
        metrics=tags.metrics_in(version.tags),
        created=datetime.fromtimestamp(version.creation_timestamp / 1000, UTC),
        run_id=version.run_id or "",
    )
