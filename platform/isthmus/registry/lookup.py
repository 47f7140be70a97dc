"""Finds versions in MLflow's registry, and says what there is where the one asked for is not."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any

from isthmus.errors import ModelNotFound, nearest
from isthmus.registry import tags
from isthmus.registry.reference import CHAMPION, Reference, decoder_name, encoder_name
from isthmus.spec import Settings
from isthmus.tracking import open_store
from isthmus.tracking.store import database_file

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_MOST_NAMED = 10
GONE = frozenset({"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"})
"""MLflow's codes for what is not there; the second where the name or number can be none."""


def open_registry(settings: Settings) -> MlflowClient:
    """Connects to a registry that should hold something; asks a server nothing yet.

    Raises:
        ModelNotFound: If an embedded store is not even there; it is not made by looking.
        RegistryError: If the store cannot be reached.
    """
    if is_empty_store(settings):
        raise ModelNotFound(
            f"no models in {settings.tracking_uri} yet; train one with isthmus train JOB.yaml, or "
            "set MLFLOW_TRACKING_URI"
        )
    return open_store(settings, is_asked_first=False)


def is_empty_store(settings: Settings) -> bool:
    """Whether the store is a local file that nobody has made yet."""
    file = database_file(settings.tracking_uri)
    return file is not None and not file.exists()


def encoder_models(client: MlflowClient) -> dict[str, Any]:
    """The registered model of each pair's encoders, by the pair's name, sorted."""
    found = _all_pages(client.search_registered_models, filter_string="name LIKE '%-encoder'")
    return {
        model.name.removesuffix("-encoder"): model
        for model in sorted(found, key=lambda model: str(model.name))
    }


def pair_names(client: MlflowClient) -> list[str]:
    """The names of all pairs, sorted."""
    return list(encoder_models(client))


def newest_versions(client: MlflowClient, registered_name: str, newest: int | None) -> list[Any]:
    """The versions of a registered model, newest first; all if `newest` is `None`."""
    search = partial(
        client.search_model_versions,
        filter_string=f"name='{registered_name}'",
        order_by=["version_number DESC"],
    )
    return list(search(max_results=newest)) if newest else _all_pages(search)


def find_version(client: MlflowClient, reference: Reference) -> Any:
    """The version that a reference means: of an encoder, or of what *Promote model* made of one.

    NAME-encoder is looked into first, then a registered model that is called NAME itself: people
    type any name into the page's *Promote model*, and what they copied may be a decoder.

    NAME@champion of a model that nobody ever gave a champion, but that was filled by *Promote
    model*, is its newest copy: whoever pressed the button meant it to be used. From then on the
    alias says; `reconcile` sets it.

    Raises:
        ModelNotFound: Naming what there is.
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
    """The version of NAME-encoder that a reference means.

    Raises:
        ModelNotFound: Naming what there is.
    """
    found = _find(client, encoder_name(reference.name), reference)
    if found is None:
        raise _not_found(client, reference)
    return found


def holder(client: MlflowClient, registered_name: str, alias: str) -> int | None:
    """The version that has an alias; `None` if none has. Costs the same whatever there is."""
    found = _find(client, registered_name, Reference(registered_name, None, alias))
    return int(found.version) if found else None


def without_checks(client: MlflowClient) -> Any:
    """The registry's part of a client: its alias calls do not read the registered model first.

    `MlflowClient` does, to refuse prompts, and MLflow reads all versions of a model with it.
    """
    from mlflow.tracking._model_registry.client import ModelRegistryClient

    return ModelRegistryClient(client._registry_uri, client.tracking_uri)


def is_copy(version: Any) -> bool:
    """Whether *Promote model* made a version, or `copy_model_version`, which is the same."""
    return re.fullmatch(r"models:/.+/[0-9]+", str(version.source)) is not None


def is_new_copy(version: Any) -> bool:
    """Whether `reconcile` has not seen a copy yet."""
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
        hint = nearest(reference.name, names) if names else "the registry is empty"
        return ModelNotFound(f'no model "{reference.name}"; {hint}')
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


def find_decoder(client: MlflowClient, name: str, encoder: Any) -> Any:
    """The version of NAME-decoder that belongs to an encoder's.

    Raises:
        ModelNotFound: If it was deleted.
    """
    return _find_other(client, decoder_name(name), encoder, encoder.tags.get(tags.DECODER_VERSION))


def find_halves(client: MlflowClient, reference: Reference) -> tuple[Any, Any]:
    """The versions of the encoder and the decoder that a reference means.

    Raises:
        ModelNotFound: Naming what there is.
    """
    encoder = find_encoder(client, reference)
    return encoder, find_decoder(client, reference.name, encoder)


def find_encoder_of(client: MlflowClient, name: str, decoder: Any) -> Any:
    """The version of NAME-encoder that belongs to a decoder's.

    Raises:
        ModelNotFound: If it was deleted.
    """
    return _find_other(client, encoder_name(name), decoder, None)


def _find_other(client: MlflowClient, name: str, half: Any, hint: str | None) -> Any:
    """The version of a registered model that is of the same pair as `half`.

    Versions may be numbered otherwise in a copy: a number is believed only if the pair is right.
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
