"""Creates the model versions of a pair's halves: both or neither, once, even if a process dies.

MLflow creates one version at a time. While only one of the two exists, the registered model of the
encoders has a tag `isthmus.pending.PAIR_ID`, which names the process that creates them. Any process
that reads the registered model and finds that this process has died completes the pair, or removes
its half. The decoder's version is created first, so that every visible encoder has its decoder.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from isthmus.bundle.manifest import HALVES, Half, PairManifest, read_manifest
from isthmus.errors import RegistryError
from isthmus.registry import tags
from isthmus.registry.card import describe
from isthmus.registry.fetching import fetch_model
from isthmus.registry.halves import Halves
from isthmus.registry.lookup import GONE
from isthmus.registry.owner import Owner
from isthmus.registry.reference import decoder_name, encoder_name, half_name
from isthmus.registry.removal import finish_removals, unless_gone
from isthmus.spec import Settings
from isthmus.tracking.store import as_default_store

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_logger = logging.getLogger(__name__)

_PENDING = "isthmus.pending."
# Two versions are created within seconds. So long a wait applies only to processes on other
# machines.
_GRACE = timedelta(minutes=5)


@dataclass(frozen=True)
class RegisteredPair:
    """A pair that is in the registry.

    Attributes:
        name: The pair's name.
        version: The version of the registered encoder, which people call the pair's version.
        decoder_version: The version of the registered decoder.
        pair_id: The id of the pair, which all its copies and outputs carry.
    """

    name: str
    version: int
    decoder_version: int
    pair_id: str

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"


def register_versions(
    client: MlflowClient, manifest: PairManifest, settings: Settings
) -> RegisteredPair:
    """Creates both versions of an uploaded pair, or returns those that exist already."""
    name = manifest.name
    halves = repaired(client, name, settings)
    existing = _existing(client, manifest)
    if existing is not None:
        return existing
    _make_registered_models(client, manifest, halves)
    pending = _announce(client, manifest)
    try:
        pair = _make_both(client, manifest, settings)
    except BaseException:
        _take_back(client, manifest, pending)
        raise
    client.delete_registered_model_tag(encoder_name(name), pending)
    return pair


def repaired(client: MlflowClient, name: str, settings: Settings) -> Halves:
    """Reads a pair's registered models, after repairing interrupted registrations."""
    halves = Halves.read(client, name)
    repair(client, name, halves, settings)
    return halves


def repair(client: MlflowClient, name: str, halves: Halves, settings: Settings) -> None:
    """Completes or removes pairs whose registration or removal died between the two versions."""
    finish_removals(client, name, halves, settings)
    left = {key: value for key, value in halves.encoder_tags.items() if key.startswith(_PENDING)}
    for key, value in left.items():
        content = json.loads(value)
        owner, since = Owner(**content["owner"]), datetime.fromisoformat(content["at"])
        if owner.has_given_up(since, _GRACE):
            _repair_one(client, name, content["models"], settings)
            client.delete_registered_model_tag(encoder_name(name), key)


def make_version(
    client: MlflowClient,
    name: str,
    half: Half,
    manifest: PairManifest,
    beside: Mapping[str, str],
    settings: Settings,
    description: str | None = None,
) -> int:
    """Creates a version of a half in a registered model, once.

    Several processes may do so at the same time, and MLflow's client retries when an answer was
    lost. Of the versions that result, the first is kept and the others are deleted.

    Args:
        client: The client of the registry.
        name: The registered model.
        half: The half.
        manifest: The pair's manifest.
        beside: More tags for the version.
        settings: The settings that say where the registry is.
        description: The version's description.

    Returns:
        The number of the version.
    """
    source = f"models:/{manifest.models[half]}"
    with as_default_store(settings.tracking_uri):
        client.create_model_version(
            name,
            source=source,
            run_id=manifest.run_id,
            model_id=manifest.models[half],
            tags={**tags.of_version(manifest, half), **beside},
            description=description,
        )
    first, *others = versions_from(client, name, source)
    for other in others:
        unless_gone(partial(client.delete_model_version, name, str(other)))
    return first


def versions_from(client: MlflowClient, name: str, source: str) -> list[int]:
    """Returns the versions of a registered model that were created from a source, oldest first."""
    found = client.search_model_versions(f"name = '{name}' and source_path = '{source}'")
    return sorted(int(version.version) for version in found)


def _existing(client: MlflowClient, manifest: PairManifest) -> RegisteredPair | None:
    """Returns the versions that an earlier attempt created for the same training run, or `None`."""
    name = manifest.name
    for encoder in client.search_model_versions(
        f"name = '{encoder_name(name)}' and run_id = '{manifest.run_id}'"
    ):
        if encoder.tags.get(tags.PAIR_ID) == manifest.pair_id:
            decoder = int(encoder.tags[tags.DECODER_VERSION])
            return RegisteredPair(name, int(encoder.version), decoder, manifest.pair_id)
    return None


def _make_registered_models(client: MlflowClient, manifest: PairManifest, halves: Halves) -> None:
    if halves.decoder is None:
        make_registered_model(client, manifest.name, "decoder")
    if halves.encoder is None:
        make_registered_model(client, manifest.name, "encoder")


def make_registered_model(client: MlflowClient, name: str, half: Half) -> None:
    """Creates the registered model for the versions of a pair's half, unless it exists."""
    from mlflow.exceptions import MlflowException

    said = {tags.PAIR_NAME: name, tags.HALF: half}
    try:
        client.create_registered_model(half_name(name, half), tags=said)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _announce(client: MlflowClient, manifest: PairManifest) -> str:
    key = f"{_PENDING}{manifest.pair_id}"
    content = {
        "owner": asdict(Owner.current()),
        "at": datetime.now(UTC).isoformat(),
        "models": dict(manifest.models),
    }
    client.set_registered_model_tag(encoder_name(manifest.name), key, json.dumps(content))
    return key


def _make_both(client: MlflowClient, manifest: PairManifest, settings: Settings) -> RegisteredPair:
    name = manifest.name
    decoder = make_version(client, decoder_name(name), "decoder", manifest, {}, settings)
    beside = {tags.DECODER_VERSION: str(decoder)}
    encoder = make_version(client, encoder_name(name), "encoder", manifest, beside, settings)
    return RegisteredPair(name, encoder, decoder, manifest.pair_id)


def _take_back(client: MlflowClient, manifest: PairManifest, pending: str) -> None:
    """Removes a pair that could not be completed; if that fails, a later `repair` does it."""
    try:
        _remove(client, manifest.name, manifest.models)
        client.delete_registered_model_tag(encoder_name(manifest.name), pending)
    except Exception:
        _logger.info("a half of pair %s is left to repair", manifest.pair_id, exc_info=True)


def _repair_one(
    client: MlflowClient, name: str, models: Mapping[Half, str], settings: Settings
) -> None:
    """Completes a pair that has only one version, or removes that version."""
    from mlflow.exceptions import MlflowException

    try:
        _complete(client, name, models, settings)
    except (RegistryError, MlflowException) as error:
        if isinstance(error, MlflowException) and error.error_code not in GONE:
            raise
        _logger.warning("half a pair of %s is removed: %s", name, error)
        _remove(client, name, models)


def _complete(
    client: MlflowClient, name: str, models: Mapping[Half, str], settings: Settings
) -> None:
    manifest = read_manifest(fetch_model(client, models["encoder"], settings))
    manifest = manifest.model_copy(update={"name": name})
    decoders = versions_from(client, decoder_name(name), f"models:/{models['decoder']}")
    encoders = versions_from(client, encoder_name(name), f"models:/{models['encoder']}")
    if not (decoders and encoders):
        _remove(client, name, {"encoder": models["encoder"]})
        pair = _make_both(client, manifest, settings)
        describe(client, manifest, {"encoder": pair.version, "decoder": pair.decoder_version})
    _logger.info("a pair of %s whose registration had died was completed", name)


def _remove(client: MlflowClient, name: str, models: Mapping[Half, str]) -> None:
    """Deletes the versions of a pair's models; the encoder first, as it makes a pair visible."""
    for half in HALVES:
        if half in models:
            registered = half_name(name, half)
            for version in versions_from(client, registered, f"models:/{models[half]}"):
                unless_gone(partial(client.delete_model_version, registered, str(version)))
