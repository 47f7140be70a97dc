"""Finds versions in MLflow's registry, and says what there is where the one asked for is not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from isthmus.errors import ModelNotFound, nearest
from isthmus.registry import tags
from isthmus.registry.reference import Reference, decoder_name, encoder_name
from isthmus.spec import Settings
from isthmus.tracking import open_store
from isthmus.tracking.store import database_file

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


def open_registry(settings: Settings) -> MlflowClient:
    """Connects to a registry that should hold something.

    Raises:
        ModelNotFound: If an embedded store is not even there; it is not made by looking.
        RegistryError: If the store cannot be reached.
    """
    if is_empty_store(settings):
        raise ModelNotFound(
            f"no models in {settings.tracking_uri} yet; train one with isthmus train JOB.yaml, or "
            "set MLFLOW_TRACKING_URI"
        )
    return open_store(settings)


def is_empty_store(settings: Settings) -> bool:
    """Whether the store is a local file that nobody has made yet."""
    file = database_file(settings.tracking_uri)
    return file is not None and not file.exists()


def pair_names(client: MlflowClient) -> list[str]:
    """The names of all pairs, sorted."""
    found = _all_pages(client.search_registered_models, filter_string="name LIKE '%-encoder'")
    return sorted(model.name.removesuffix("-encoder") for model in found)


def versions_of(client: MlflowClient, registered_name: str) -> list[Any]:
    """All versions of a registered model, newest first."""
    found = _all_pages(client.search_model_versions, filter_string=f"name='{registered_name}'")
    return sorted(found, key=lambda version: int(version.version), reverse=True)


def find_encoder(client: MlflowClient, reference: Reference) -> Any:
    """The encoder's version that a reference means.

    Raises:
        ModelNotFound: Naming what there is.
    """
    from mlflow.exceptions import MlflowException

    name = encoder_name(reference.name)
    try:
        if reference.version is not None:
            return client.get_model_version(name, str(reference.version))
        return client.get_model_version_by_alias(name, reference.alias or "")
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
    names = pair_names(client)
    if reference.name not in names:
        hint = nearest(reference.name, names) if names else "the registry is empty"
        raise ModelNotFound(f'no model "{reference.name}"; {hint}')
    existing = ", ".join(str(version.version) for version in versions_of(client, name)[:10])
    if reference.version is not None:
        raise ModelNotFound(
            f'"{reference.name}" has no version {reference.version}; newest first it has {existing}'
        )
    raise ModelNotFound(
        f'"{reference.name}" has no {reference.alias}; give a version that alias with '
        f"isthmus promote {reference.name} VERSION (newest first it has {existing})"
    )


def find_decoder(client: MlflowClient, name: str, encoder: Any) -> Any:
    """The version of NAME-decoder that belongs to an encoder's.

    Raises:
        ModelNotFound: If it was deleted.
    """
    return _find_other(client, decoder_name(name), encoder, encoder.tags.get(tags.DECODER_VERSION))


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
            if other.tags.get(tags.PAIR_ID) == pair_id:
                return other
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
    wanted = f"name = '{name}' and tags.`{tags.PAIR_ID}` = '{pair_id}'"
    found = client.search_model_versions(wanted, max_results=1)
    if not found:
        raise ModelNotFound(
            f"{name} has no version of pair {pair_id}; it was deleted, so {half.name} version "
            f"{half.version} is half a pair: choose another version"
        )
    return found[0]


def _all_pages(search: Any, **arguments: Any) -> list[Any]:
    found: list[Any] = []
    token: str | None = None
    while True:
        page = search(**arguments, page_token=token)
        found += page
        token = page.token
        if not token:
            return found
