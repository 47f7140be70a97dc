"""Finds versions in MLflow's registry; if a version does not exist, the error says which do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from isthmus.errors import ModelNotFound, nearest
from isthmus.registry import tags
from isthmus.registry.reference import CHAMPION, Reference, decoder_name, encoder_name
from isthmus.spec import Settings
from isthmus.tracking import open_store, store_errors
from isthmus.tracking.store import is_empty_store, shown

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_MOST_NAMED = 10
GONE = frozenset({"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"})
"""MLflow's error codes for missing objects; the second is for names or numbers that are invalid."""


def open_registry(settings: Settings) -> MlflowClient:
    """Connects to a registry that should exist, without sending a request to a server yet.

    Raises:
        ModelNotFound: If the file of an embedded store does not exist. Reading does not create it.
        RegistryError: If the store cannot be reached.
    """
    if is_empty_store(settings):
        raise ModelNotFound(
            f"no models in {shown(settings.tracking_uri)} yet; train one with isthmus train "
            "JOB.yaml, or set MLFLOW_TRACKING_URI"
        )
    return open_store(settings, is_asked_first=False)


def encoder_models(client: MlflowClient) -> dict[str, Any]:
    """Returns the registered model of each pair's encoders, by the pair's name, sorted."""
    found = _all_pages(client.search_registered_models, filter_string="name LIKE '%-encoder'")
    return {
        model.name.removesuffix("-encoder"): model
        for model in sorted(found, key=lambda model: str(model.name))
    }


def pair_names(client: MlflowClient) -> list[str]:
    """Returns the names of all pairs, sorted."""
    return list(encoder_models(client))


def newest_versions(client: MlflowClient, registered_name: str, newest: int | None) -> list[Any]:
    """Returns the versions of a registered model, newest first; all if `newest` is `None`."""
    search = partial(
        client.search_model_versions,
        filter_string=f"name='{registered_name}'",
        order_by=["version_number DESC"],
    )
    return list(search(max_results=newest)) if newest else _all_pages(search)


def find_version(client: MlflowClient, reference: Reference) -> Any:
    """Returns the model version that a reference means.

    It is a version of an encoder, or a copy of either half by *Promote model*. NAME-encoder is
    searched first, then a registered model with the name NAME itself, because people can enter any
    name into *Promote model*, and what they copied may be a decoder.

    If NAME never had a champion but *Promote model* copied versions into it, NAME@champion is the
    newest copy, because whoever pressed the button meant it to be used. Afterwards the alias
    decides, which `reconcile` sets.

    Raises:
        ModelNotFound: If there is no such version. The message names those that exist.
    """
    for name in (encoder_name(reference.name), reference.name):
        found = _find(client, name, reference)
        if found is not None:
            return found
    if reference.alias == CHAMPION:
        for name in (encoder_name(reference.name), reference.name):
            newest = newest_versions(client, name, 1)
            if newest and is_new_copy(newest[0]):
                return newest[0]
    raise _not_found(client, reference)


def find_encoder(client: MlflowClient, reference: Reference) -> Any:
    """Returns the version of NAME-encoder that a reference means.

    Raises:
        ModelNotFound: If there is no such version. The message names those that exist.
    """
    found = _find(client, encoder_name(reference.name), reference)
    if found is None:
        raise _not_found(client, reference)
    return found


def holder(client: MlflowClient, registered_name: str, alias: str) -> int | None:
    """Returns the version that has an alias; `None` if none has.

    The cost does not depend on the number of versions.
    """
    found = _find(client, registered_name, Reference(registered_name, None, alias))
    return int(found.version) if found else None


def without_checks(client: MlflowClient) -> Any:
    """Returns a client of the registry whose alias calls do not read the registered model first.

    `MlflowClient` reads it, with all its versions, to refuse prompts.
    """
    from mlflow.tracking._model_registry.client import ModelRegistryClient

    return ModelRegistryClient(client._registry_uri, client.tracking_uri)


def is_copy(version: Any) -> bool:
    """Returns whether a version was copied by *Promote model*, or by `copy_model_version`.

    The two are the same.
    """
    return re.fullmatch(r"models:/.+/[0-9]+", str(version.source)) is not None


def is_new_copy(version: Any) -> bool:
    """Returns whether a version is a copy that `reconcile` has not processed yet."""
    return is_copy(version) and tags.PAIR_ID in version.tags and tags.COPY not in version.tags


def _find(client: MlflowClient, name: str, reference: Reference) -> Any:
    from mlflow.exceptions import MlflowException

    try:
        if reference.version is not None:
            return client.get_model_version(name, str(reference.version))
        return client.get_model_version_by_alias(name, reference.alias or "")
    except MlflowException as error:
        if error.error_code not in GONE:
            raise
    return None


def _not_found(client: MlflowClient, reference: Reference) -> ModelNotFound:
    name = encoder_name(reference.name)
    names = pair_names(client)
    if reference.name not in names:
        return no_model(reference.name, names, client)
    newest = [str(version.version) for version in newest_versions(client, name, _MOST_NAMED)]
    existing = ", ".join(newest) or "none"
    if reference.version is not None:
        return ModelNotFound(
            f'"{reference.name}" has no version {reference.version}; newest first it has {existing}'
        )
    return ModelNotFound(
        f'"{reference.name}" has no {reference.alias}; give a version that alias with '
        f"isthmus promote {reference.name} VERSION (newest first it has {existing})"
    )


def no_model(name: str, names: Sequence[str], client: MlflowClient) -> ModelNotFound:
    """Returns the error that there is no pair of a name, given the names of those that there are.

    It names the store if that is empty, as the pair is in another one then.
    """
    if names:
        return ModelNotFound(f'no model "{name}"; {nearest(name, names)}')
    store = shown(client.tracking_uri)
    return ModelNotFound(
        f'no model "{name}", as {store} holds none; if it is in another store, set '
        "MLFLOW_TRACKING_URI"
    )


def find_decoder(client: MlflowClient, name: str, encoder: Any) -> Any:
    """Returns the version of NAME-decoder that belongs to a version of the encoder.

    Raises:
        ModelNotFound: If it was deleted.
    """
    return _find_other(client, decoder_name(name), encoder, encoder.tags.get(tags.DECODER_VERSION))


def find_halves(client: MlflowClient, reference: Reference) -> tuple[Any, Any]:
    """Returns the versions of the encoder and the decoder that a reference means.

    Raises:
        ModelNotFound: If there is no such version. The message names those that exist.
    """
    encoder = find_encoder(client, reference)
    return encoder, find_decoder(client, reference.name, encoder)


def find_encoder_of(client: MlflowClient, name: str, decoder: Any) -> Any:
    """Returns the version of NAME-encoder that belongs to a version of the decoder.

    Raises:
        ModelNotFound: If it was deleted.
    """
    return _find_other(client, encoder_name(name), decoder, None)


def name_of_pair(pair_id: str, settings: Settings) -> str:
    """Returns the newest `NAME/VERSION` of the pair with an id.

    Raises:
        ModelNotFound: If no version is of that pair.
        RegistryError: If the registry does not answer.
    """
    client = open_registry(settings)
    with store_errors(settings.tracking_uri):
        wanted = f"tags.`{tags.PAIR_ID}` = '{pair_id}' and tags.`{tags.HALF}` = 'encoder'"
        found = client.search_model_versions(wanted)
    if not found:
        raise ModelNotFound(f"no version in the registry is of pair {pair_id}")
    newest = max(found, key=lambda each: int(each.creation_timestamp))
    return f"{newest.name.removesuffix('-encoder')}/{newest.version}"


def _find_other(client: MlflowClient, name: str, half: Any, hint: str | None) -> Any:
    """Returns the version of a registered model that belongs to the same pair as `half`.

    A version number in a tag is only a hint, since copies may have other numbers; the pair's id
    must match.
    """
    from mlflow.exceptions import MlflowException

    pair_id = half.tags.get(tags.PAIR_ID)
    if pair_id is None:
        raise ModelNotFound(
            f"{half.name} version {half.version} is no half of an Isthmus pair; choose a version "
            "that isthmus train made"
        )
    if hint is not None:
        try:
            other = client.get_model_version(name, hint)
            if other.tags.get(tags.PAIR_ID) == pair_id and not _is_same_half(half, other):
                return other
        except MlflowException as error:
            if error.error_code not in GONE:
                raise
    wanted = f"name = '{name}' and tags.`{tags.PAIR_ID}` = '{pair_id}'"
    if tags.HALF in half.tags:
        wanted += f" and tags.`{tags.HALF}` != '{half.tags[tags.HALF]}'"
    found = client.search_model_versions(wanted, max_results=1)
    if not found:
        raise ModelNotFound(
            f"{name} has no version of pair {pair_id}; it was deleted, so {half.name} version "
            f"{half.version} is half a pair: choose another version"
        )
    return found[0]


def _is_same_half(one: Any, other: Any) -> bool:
    return tags.HALF in one.tags and one.tags[tags.HALF] == other.tags.get(tags.HALF)


def _all_pages(search: Any, **arguments: Any) -> list[Any]:
    found: list[Any] = []
    token: str | None = None
    while True:
        page = search(**arguments, page_token=token)
        found += page
        token = page.token
        if not token:
            return found
