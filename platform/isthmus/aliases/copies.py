"""Completes a pair of which MLflow's *Promote model* copied only one half.

*Promote model* copies a single model version, into any registered model.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from isthmus.bundle.manifest import Half, PairManifest, read_manifest
from isthmus.errors import ModelNotFound
from isthmus.registry import tags
from isthmus.registry.fetching import fetch
from isthmus.registry.halves import Standing
from isthmus.registry.lookup import GONE, find_decoder, find_encoder_of, is_copy
from isthmus.registry.patience import beside_others
from isthmus.registry.reference import encoder_name, half_name
from isthmus.registry.versions import make_registered_model, make_version, versions_from
from isthmus.spec import Settings

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


def whole(client: MlflowClient, name: str, version: Any, settings: Settings) -> Standing:
    """Returns the model versions of the pair that a version of one half belongs to.

    If the version is a copy and its other half was not copied, this copies that too. `pair.json`
    names the other half, even if the version that was copied no longer exists.

    Args:
        client: The client of the registry.
        name: The pair's name.
        version: A version of NAME-encoder or NAME-decoder.
        settings: The settings that say where the registry is.

    Raises:
        ModelNotFound: If the other half was deleted, or the version holds the wrong half for its
            registered model.
    """
    is_encoder = version.name == encoder_name(name)
    half: Half = "encoder" if is_encoder else "decoder"
    copied: Half = version.tags.get(tags.HALF, half)
    if copied != half:
        raise ModelNotFound(
            f"{version.name} version {version.version} holds the {copied} of a pair; delete it, "
            f"and copy that to {half_name(name, copied)}"
        )
    try:
        found = (find_decoder if is_encoder else find_encoder_of)(client, name, version)
        other = int(found.version)
    except ModelNotFound:
        if not is_copy(version):
            raise
        other = _copy_other(client, name, version, settings)
    this = int(version.version)
    return Standing(this, other) if is_encoder else Standing(other, this)


def mark(client: MlflowClient, copied: Any, standing: Standing) -> None:
    """Tags a copy as seen, and a copied encoder with the version of its decoder.

    MLflow's UI does not copy the description, which holds the model card, so this copies it too.
    """
    if not copied.description and (card := _card_behind(client, copied)):
        client.update_model_version(copied.name, str(copied.version), card)
    said = {tags.COPY: str(copied.source).removeprefix("models:/")}
    if copied.tags.get(tags.HALF) == "encoder":
        said[tags.DECODER_VERSION] = str(standing.decoder_version)
    for key, value in said.items():
        write = partial(client.set_model_version_tag, copied.name, copied.version, key, value)
        beside_others(write)


def _copy_other(client: MlflowClient, name: str, version: Any, settings: Settings) -> int:
    manifest = read_manifest(fetch(client, version, settings))
    half: Half = "decoder" if version.name == encoder_name(name) else "encoder"
    make_registered_model(client, name, half)
    beside = {tags.COPY: str(version.source).removeprefix("models:/")}
    if half == "encoder":
        beside[tags.DECODER_VERSION] = str(version.version)
    card = _card_of(client, manifest, half)
    return make_version(client, half_name(name, half), half, manifest, beside, settings, card)


def _card_behind(client: MlflowClient, copied: Any) -> str | None:
    """Returns the description of the version that was copied; `None` if that was deleted."""
    from mlflow.exceptions import MlflowException

    name, _, number = str(copied.source).removeprefix("models:/").rpartition("/")
    try:
        card: str | None = client.get_model_version(name, number).description
        return card
    except MlflowException as error:
        if error.error_code not in GONE:
            raise
        return None


def _card_of(client: MlflowClient, manifest: PairManifest, half: Half) -> str | None:
    """Returns the description of a half's first registered version; `None` if that was deleted."""
    name = half_name(manifest.name, half)
    found = versions_from(client, name, f"models:/{manifest.models[half]}")
    card: str | None = None
    if found:
        card = client.get_model_version(name, str(found[0])).description
    return card
