"""What the registry holds: pairs, and the versions of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from isthmus.errors import ModelNotFound, nearest
from isthmus.registry import tags
from isthmus.registry.lookup import is_empty_store, open_registry, pair_names, versions_of
from isthmus.registry.reference import encoder_name
from isthmus.spec import Settings
from isthmus.tracking import store_errors

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


@dataclass(frozen=True)
class VersionSummary:
    """One registered version of a pair.

    Attributes:
        name: Of the pair.
        version: Of the encoder.
        decoder_version: Of the decoder that belongs to it.
        pair_id: Of the pair.
        aliases: That the encoder's version has, sorted.
        variant: How it learned.
        net: What it is made of.
        latent_dim: Numbers in one latent.
        metrics: Figures on held-out rows.
        created: When, UTC.
        run_id: The MLflow run that made it.
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
    """A pair's name and its versions, newest first."""

    name: str
    versions: tuple[VersionSummary, ...]


def list_models(settings: Settings) -> list[ModelSummary]:
    """All pairs, sorted by name; none if nothing was ever trained.

    Raises:
        RegistryError: If the registry does not answer.
    """
    if is_empty_store(settings):
        return []
    client = open_registry(settings)
    with store_errors(settings.tracking_uri):
        return [ModelSummary(name, _versions(client, name)) for name in pair_names(client)]


def list_versions(name: str, settings: Settings) -> tuple[VersionSummary, ...]:
    """The versions of a pair, newest first.

    Raises:
        ModelNotFound: If there is no such pair.
        RegistryError: If the registry does not answer.
    """
    client = open_registry(settings)
    with store_errors(settings.tracking_uri):
        names = pair_names(client)
        if name not in names:
            hint = nearest(name, names) if names else "the registry is empty"
            raise ModelNotFound(f'no model "{name}"; {hint}')
        return _versions(client, name)


def _versions(client: MlflowClient, name: str) -> tuple[VersionSummary, ...]:
    # A search gives versions without their aliases; the registered model has them all.
    aliases = client.get_registered_model(encoder_name(name)).aliases
    found = versions_of(client, encoder_name(name))
    return tuple(_summary(name, version, aliases) for version in found if _is_ours(version))


def _is_ours(version: Any) -> bool:
    return tags.PAIR_ID in version.tags


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
